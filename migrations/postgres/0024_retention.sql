-- By what rows that belong to no run are found when they are too old.
CREATE INDEX schedule_fire_age ON schedule_fire (org_id, at_us);
CREATE INDEX org_event_age ON org_event (org_id, at_us);
CREATE INDEX memory_history_age ON memory_history (org_id, at_us) WHERE replaced_by IS NULL;
CREATE INDEX approval_of_calls_age ON approval (org_id, decided_us) WHERE asked_by IS NOT NULL;
CREATE INDEX placement_of_calls ON placement (entity) WHERE kind = 'proxied';
