CREATE TABLE approval (
    org_id         UUID   NOT NULL,
    id             UUID   NOT NULL,
    run_id         UUID   NOT NULL,
    employee_id    UUID   NOT NULL,
    step           TEXT   NOT NULL,
    title          TEXT   NOT NULL,
    arguments      TEXT   NOT NULL,
    arguments_hash BYTEA  NOT NULL,
    status         TEXT   NOT NULL,
    asked_us       BIGINT NOT NULL,
    expires_us     BIGINT,
    decided_us     BIGINT,
    decided_by     TEXT,
    comment        TEXT,
    PRIMARY KEY (org_id, id)
);
CREATE INDEX approval_run ON approval (run_id);
CREATE INDEX approval_pending ON approval (org_id, id) WHERE status = 'pending';
SELECT tenant_table('approval', 'SELECT');

CREATE TABLE timer (
    org_id      UUID   NOT NULL,
    owner       UUID   NOT NULL,
    key         TEXT   NOT NULL,
    employee_id UUID   NOT NULL,
    due_us      BIGINT NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE INDEX timer_due ON timer (due_us);
SELECT tenant_table('timer', 'SELECT');

CREATE TABLE event_wait (
    org_id      UUID   NOT NULL,
    run_id      UUID   NOT NULL,
    step        TEXT   NOT NULL,
    employee_id UUID   NOT NULL,
    event       TEXT   NOT NULL,
    source      TEXT,
    matches     TEXT   NOT NULL,
    since_us    BIGINT NOT NULL,
    until_us    BIGINT,
    PRIMARY KEY (run_id, step)
);
CREATE INDEX event_wait_event ON event_wait (org_id, event);
SELECT tenant_table('event_wait', 'SELECT');
