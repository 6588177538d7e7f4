CREATE TABLE schedule (
    org_id      BLOB NOT NULL,
    id          BLOB NOT NULL,
    employee_id BLOB NOT NULL REFERENCES employee,
    name        TEXT NOT NULL,
    cron        TEXT NOT NULL,
    time_zone   TEXT NOT NULL,
    overlap     TEXT NOT NULL,
    misfire     TEXT NOT NULL,
    payload     TEXT NOT NULL,
    status      TEXT NOT NULL,
    next_due_us INTEGER,
    last_due_us INTEGER,
    last_run_id BLOB,
    PRIMARY KEY (org_id, id),
    UNIQUE (employee_id, name)
) STRICT;
CREATE INDEX schedule_due ON schedule (next_due_us) WHERE status = 'active';

-- Every time that a schedule was due and what became of it.
CREATE TABLE schedule_fire (
    org_id      BLOB NOT NULL,
    schedule_id BLOB NOT NULL,
    due_us      INTEGER NOT NULL,
    outcome     TEXT NOT NULL,
    run_id      BLOB,
    at_us       INTEGER NOT NULL,
    PRIMARY KEY (schedule_id, due_us)
) STRICT, WITHOUT ROWID;
