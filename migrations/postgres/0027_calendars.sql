-- What cron cannot say is JSON in `recurrence`; `cron` is empty then. `calendar` names the calendar that says which days are worked.
-- A schedule that could not be fired is tried again at `retry_us`, so that it does not stand before those that can.
ALTER TABLE schedule ADD COLUMN recurrence TEXT;
ALTER TABLE schedule ADD COLUMN calendar TEXT;
ALTER TABLE schedule ADD COLUMN retry_us BIGINT;
ALTER TABLE schedule ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
DROP INDEX schedule_due;
CREATE INDEX schedule_attempt ON schedule ((coalesce(retry_us, next_due_us)), id) WHERE status = 'active';
CREATE INDEX schedule_of_calendar ON schedule (org_id, calendar, id) WHERE calendar IS NOT NULL;

-- How many due times a row stands for: the first one sums up what a long outage left behind.
ALTER TABLE schedule_fire ADD COLUMN times BIGINT NOT NULL DEFAULT 1;

-- Which days an org works, by name; the body is JSON.
CREATE TABLE calendar (
    org_id     UUID   NOT NULL REFERENCES org,
    name       TEXT   NOT NULL,
    body       TEXT   NOT NULL,
    updated_us BIGINT NOT NULL,
    PRIMARY KEY (org_id, name)
);
SELECT tenant_table('calendar', 'SELECT, INSERT, UPDATE, DELETE');
