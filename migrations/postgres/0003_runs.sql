-- What lists and filters need of a run; payload and result are in its journal only.
-- status: 0 accepted, 1 running, 2 waiting, 3 completed, 4 failed, 5 cancelled.
CREATE TABLE run (
    org_id           UUID     NOT NULL,
    id               UUID     NOT NULL,
    employee_id      UUID     NOT NULL,
    accepted_us      BIGINT   NOT NULL,
    finished_us      BIGINT,
    version          INT      NOT NULL,
    status           SMALLINT NOT NULL,
    trigger_type     SMALLINT NOT NULL,
    source           TEXT     NOT NULL,
    conversation_key TEXT,
    waiting_on       TEXT,
    error            TEXT,
    PRIMARY KEY (org_id, id)
) WITH (fillfactor = 90);
CREATE INDEX run_employee ON run (org_id, employee_id, id);
-- Not by status: a run that changes from running to waiting then changes no index.
CREATE INDEX run_unfinished ON run (employee_id, id) WHERE finished_us IS NULL;
SELECT tenant_table('run', 'SELECT');

-- A row is what one run appended in one transaction: facts `seq` to `seq + count - 1`.
-- A reader sees one order by (commit_pos, run_id, seq) and must stay below the oldest transaction that is still open.
CREATE TABLE journal (
    org_id     UUID   NOT NULL,
    run_id     UUID   NOT NULL,
    commit_pos BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    seq        INT    NOT NULL,
    count      INT    NOT NULL,
    body       BYTEA  NOT NULL,
    PRIMARY KEY (run_id, seq)
) WITH (toast_tuple_target = 8160);
ALTER TABLE journal ALTER body SET STORAGE MAIN; -- small bodies stay in the row; they are compressed already
CREATE INDEX journal_order ON journal (org_id, commit_pos);
SELECT tenant_table('journal', 'SELECT');

CREATE TABLE dedupe (
    org_id UUID   NOT NULL,
    source TEXT   NOT NULL,
    key    TEXT   NOT NULL,
    run_id UUID   NOT NULL,
    at_us  BIGINT NOT NULL,
    PRIMARY KEY (org_id, source, key)
);
CREATE INDEX dedupe_run ON dedupe (run_id);
SELECT tenant_table('dedupe', 'SELECT');

CREATE TABLE snapshot (
    org_id UUID   NOT NULL,
    kind   TEXT   NOT NULL,
    entity UUID   NOT NULL,
    epoch  BIGINT NOT NULL,
    seq    BIGINT NOT NULL,
    body   BYTEA  NOT NULL,
    at_us  BIGINT NOT NULL,
    PRIMARY KEY (entity, kind)
);
ALTER TABLE snapshot ALTER body SET STORAGE EXTERNAL;
SELECT tenant_table('snapshot', 'SELECT');
