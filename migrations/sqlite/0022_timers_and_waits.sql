-- How often a timer was due in vain: whoever cannot take it is told again later and later, and the row does not stand at the head for ever.
ALTER TABLE timer ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;

-- What an event has to say for a wait, so that one is found without reading the others. `match_shape` names what is compared (a JSON list of
-- pointers into the payload, and "source"), `match_hash` is a hash of what these must be. Null: written before there were shapes; the runtime
-- fills it in, and reads such rows until then.
ALTER TABLE event_wait ADD COLUMN match_shape TEXT;
ALTER TABLE event_wait ADD COLUMN match_hash INTEGER;
CREATE INDEX event_wait_match ON event_wait (org_id, event, match_shape, match_hash, run_id, step);
CREATE INDEX event_wait_unhashed ON event_wait (run_id, step) WHERE match_shape IS NULL;
DROP INDEX event_wait_event;
-- For what nodes remember of who listens.
CREATE INDEX event_wait_result ON event_wait (org_id) WHERE event IN ('run.completed', 'run.failed', 'run.cancelled');

-- Who listens to other employees' results, for the commit that has the end of a run: patterns that may mean an employee, which are compared one
-- by one, and for what nodes remember, those that name one.
CREATE INDEX subscription_result_pattern ON subscription (org_id, source)
    WHERE substr(source, length(source)) = '*'
      AND substr(substr(source, 1, length(source) - 1), 1, 9) = substr('employee:', 1, length(source) - 1);
CREATE INDEX subscription_result ON subscription (org_id, source) WHERE substr(source, 1, 9) = 'employee:';

-- Named waits that were ended: whoever is in one goes on, a page at a time, over restarts.
CREATE TABLE wait_end (
    org_id   BLOB    NOT NULL REFERENCES org,
    event    TEXT    NOT NULL,
    asked_us INTEGER NOT NULL,
    PRIMARY KEY (org_id, event)
) STRICT, WITHOUT ROWID;
