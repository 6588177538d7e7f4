-- The order in which events became durable, whatever the clock says: a count of commits.
ALTER TABLE inbox ADD COLUMN arrival INTEGER NOT NULL DEFAULT 0;

-- By conversation, the first that is pending: what is given next.
DROP INDEX inbox_pending;
CREATE INDEX inbox_pending ON inbox (org_id, arrival, id) WHERE verdict = 'pending';
CREATE INDEX inbox_pending_talk ON inbox (org_id, conversation_key, arrival, id) WHERE verdict = 'pending' AND conversation_key IS NOT NULL;

-- What is kept to recognise repetitions is kept from its last sight.
CREATE INDEX inbox_last ON inbox (org_id, last_us) WHERE verdict <> 'pending';
ALTER TABLE dedupe ADD COLUMN last_us INTEGER NOT NULL DEFAULT 0;
UPDATE dedupe SET last_us = at_us;
-- 1: the run was deleted, and its key is still seen.
ALTER TABLE dedupe ADD COLUMN outlived INTEGER NOT NULL DEFAULT 0;
CREATE INDEX dedupe_outlived ON dedupe (org_id, last_us) WHERE outlived = 1;
