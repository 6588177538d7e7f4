-- The order in which events became durable, whatever the clocks of their nodes say: the number of the transaction. One that was acknowledged
-- has a lower one than all that are sent after that.
ALTER TABLE inbox ADD COLUMN arrival BIGINT NOT NULL DEFAULT 0;
ALTER TABLE inbox ALTER COLUMN arrival SET DEFAULT (pg_current_xact_id()::text::bigint);

-- By conversation, the first that is pending: what is given next.
DROP INDEX inbox_pending;
CREATE INDEX inbox_pending ON inbox (org_id, arrival, id) WHERE verdict = 'pending';
CREATE INDEX inbox_pending_talk ON inbox (org_id, conversation_key, arrival, id) WHERE verdict = 'pending' AND conversation_key IS NOT NULL;

-- What is kept to recognise repetitions is kept from its last sight.
CREATE INDEX inbox_last ON inbox (org_id, last_us) WHERE verdict <> 'pending';
ALTER TABLE dedupe ADD COLUMN last_us BIGINT NOT NULL DEFAULT 0;
-- Row-level security holds for the owner of the table as well, who need not be a superuser.
ALTER TABLE dedupe NO FORCE ROW LEVEL SECURITY;
UPDATE dedupe SET last_us = at_us;
ALTER TABLE dedupe FORCE ROW LEVEL SECURITY;
-- 1: the run was deleted, and its key is still seen.
ALTER TABLE dedupe ADD COLUMN outlived SMALLINT NOT NULL DEFAULT 0;
CREATE INDEX dedupe_outlived ON dedupe (org_id, last_us) WHERE outlived = 1;
