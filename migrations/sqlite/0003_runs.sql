-- What lists and filters need of a run; payload and result are in its journal only.
-- status: 0 accepted, 1 running, 2 waiting, 3 completed, 4 failed, 5 cancelled.
CREATE TABLE run (
    org_id           BLOB NOT NULL,
    id               BLOB NOT NULL,
    employee_id      BLOB NOT NULL,
    accepted_us      INTEGER NOT NULL,
    finished_us      INTEGER,
    version          INTEGER NOT NULL,
    status           INTEGER NOT NULL,
    trigger_type     INTEGER NOT NULL,
    source           TEXT NOT NULL,
    conversation_key TEXT,
    waiting_on       TEXT,
    error            TEXT,
    PRIMARY KEY (org_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_employee ON run (org_id, employee_id, id);
-- Not by status: a run that changes from running to waiting then changes no index.
CREATE INDEX run_unfinished ON run (employee_id, id) WHERE finished_us IS NULL;

-- A row is what one run appended in one transaction: facts `seq` to `seq + count - 1`.
-- A reader sees one order by (commit_pos, run_id, seq) and there is one writer, which counts its commits in `commit_counter`.
-- With a rowid, because rows of a kilobyte would overflow the pages of a table without one.
CREATE TABLE journal (
    org_id     BLOB NOT NULL,
    run_id     BLOB NOT NULL,
    commit_pos INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    count      INTEGER NOT NULL,
    body       BLOB NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT;
CREATE INDEX journal_order ON journal (org_id, commit_pos);

CREATE TABLE dedupe (
    org_id BLOB NOT NULL,
    source TEXT NOT NULL,
    key    TEXT NOT NULL,
    run_id BLOB NOT NULL,
    at_us  INTEGER NOT NULL,
    PRIMARY KEY (org_id, source, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX dedupe_run ON dedupe (run_id);

CREATE TABLE snapshot (
    org_id BLOB NOT NULL,
    kind   TEXT NOT NULL,
    entity BLOB NOT NULL,
    epoch  INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    body   BLOB NOT NULL,
    at_us  INTEGER NOT NULL,
    PRIMARY KEY (entity, kind)
) STRICT;
