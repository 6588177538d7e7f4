CREATE TABLE schedule (
    org_id      UUID   NOT NULL,
    id          UUID   NOT NULL,
    employee_id UUID   NOT NULL REFERENCES employee,
    name        TEXT   NOT NULL,
    cron        TEXT   NOT NULL,
    time_zone   TEXT   NOT NULL,
    overlap     TEXT   NOT NULL,
    misfire     TEXT   NOT NULL,
    payload     TEXT   NOT NULL,
    status      TEXT   NOT NULL,
    next_due_us BIGINT,
    last_due_us BIGINT,
    last_run_id UUID,
    PRIMARY KEY (org_id, id),
    UNIQUE (employee_id, name)
);
CREATE INDEX schedule_due ON schedule (next_due_us) WHERE status = 'active';
SELECT tenant_table('schedule', 'SELECT, INSERT, UPDATE, DELETE');

-- Every time that a schedule was due and what became of it.
CREATE TABLE schedule_fire (
    org_id      UUID   NOT NULL,
    schedule_id UUID   NOT NULL,
    due_us      BIGINT NOT NULL,
    outcome     TEXT   NOT NULL,
    run_id      UUID,
    at_us       BIGINT NOT NULL,
    PRIMARY KEY (schedule_id, due_us)
);
SELECT tenant_table('schedule_fire', 'SELECT');
