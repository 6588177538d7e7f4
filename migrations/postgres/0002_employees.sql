-- Bodies by content hash. `used_us` is raised when a body is stored again, so that retention cannot race with its reuse.
CREATE TABLE blob (
    org_id  UUID   NOT NULL,
    hash    BYTEA  NOT NULL,
    body    BYTEA  NOT NULL,
    used_us BIGINT NOT NULL,
    PRIMARY KEY (org_id, hash)
);
ALTER TABLE blob ALTER body SET STORAGE EXTERNAL; -- it is compressed already
SELECT tenant_table('blob', 'SELECT, INSERT, UPDATE');

-- Who needs a body: a run or an employee. A body without a row here is deleted by retention.
CREATE TABLE blob_ref (
    org_id UUID  NOT NULL,
    owner  UUID  NOT NULL,
    hash   BYTEA NOT NULL,
    PRIMARY KEY (owner, hash)
);
CREATE INDEX blob_ref_hash ON blob_ref (org_id, hash);
SELECT tenant_table('blob_ref', 'SELECT, INSERT');

CREATE TABLE employee (
    org_id     UUID   NOT NULL REFERENCES org,
    id         UUID   NOT NULL,
    name       TEXT   NOT NULL,
    version    INT    NOT NULL,
    status     TEXT   NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX employee_name ON employee (org_id, name) WHERE status <> 'dismissed';
CREATE INDEX employee_page ON employee (org_id, id);
SELECT tenant_table('employee', 'SELECT, INSERT, UPDATE');

CREATE TABLE employee_version (
    org_id      UUID   NOT NULL,
    employee_id UUID   NOT NULL REFERENCES employee,
    version     INT    NOT NULL,
    spec_hash   BYTEA  NOT NULL,
    created_us  BIGINT NOT NULL,
    created_by  TEXT   NOT NULL,
    PRIMARY KEY (employee_id, version)
);
SELECT tenant_table('employee_version', 'SELECT, INSERT');

CREATE TABLE subscription (
    org_id           UUID NOT NULL,
    employee_id      UUID NOT NULL REFERENCES employee,
    position         INT  NOT NULL,
    source           TEXT NOT NULL,
    event            TEXT,
    when_expr        TEXT,
    skill            TEXT,
    conversation_key TEXT,
    PRIMARY KEY (employee_id, position)
);
CREATE INDEX subscription_source ON subscription (org_id, source);
SELECT tenant_table('subscription', 'SELECT, INSERT, DELETE');

-- Events of the org that belong to no run, in the same order as the journal.
CREATE TABLE org_event (
    org_id     UUID   NOT NULL,
    commit_pos BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    id         UUID   NOT NULL,
    kind       TEXT   NOT NULL,
    body       TEXT   NOT NULL,
    at_us      BIGINT NOT NULL,
    PRIMARY KEY (org_id, commit_pos, id)
);
SELECT tenant_table('org_event', 'SELECT, INSERT');
