CREATE TABLE approval (
    org_id         BLOB NOT NULL,
    id             BLOB NOT NULL,
    run_id         BLOB NOT NULL,
    employee_id    BLOB NOT NULL,
    step           TEXT NOT NULL,
    title          TEXT NOT NULL,
    arguments      TEXT NOT NULL,
    arguments_hash BLOB NOT NULL,
    status         TEXT NOT NULL,
    asked_us       INTEGER NOT NULL,
    expires_us     INTEGER,
    decided_us     INTEGER,
    decided_by     TEXT,
    comment        TEXT,
    PRIMARY KEY (org_id, id)
) STRICT;
CREATE INDEX approval_run ON approval (run_id);
CREATE INDEX approval_pending ON approval (org_id, id) WHERE status = 'pending';

CREATE TABLE timer (
    org_id      BLOB NOT NULL,
    owner       BLOB NOT NULL,
    key         TEXT NOT NULL,
    employee_id BLOB NOT NULL,
    due_us      INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX timer_due ON timer (due_us);

CREATE TABLE event_wait (
    org_id      BLOB NOT NULL,
    run_id      BLOB NOT NULL,
    step        TEXT NOT NULL,
    employee_id BLOB NOT NULL,
    event       TEXT NOT NULL,
    source      TEXT,
    matches     TEXT NOT NULL,
    since_us    INTEGER NOT NULL,
    until_us    INTEGER,
    PRIMARY KEY (run_id, step)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_wait_event ON event_wait (org_id, event);
