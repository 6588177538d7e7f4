-- What lists are asked for, where little fits. None of these has the status of a run in it, not even as a condition: a run that changes from
-- running to waiting is to change no index. What failed or was cancelled has an error; beginnings of texts, as in PostgreSQL, where a row
-- of an index has a limit.
UPDATE run SET error = 'null' WHERE status IN (4, 5) AND error IS NULL;
CREATE INDEX run_error ON run (org_id, id) WHERE error IS NOT NULL;
CREATE INDEX run_open ON run (org_id, id) WHERE finished_us IS NULL;
CREATE INDEX run_conversation ON run (org_id, substr(conversation_key, 1, 200), id) WHERE conversation_key IS NOT NULL;
CREATE INDEX run_source ON run (org_id, substr(source, 1, 200), id) WHERE source <> 'api';
CREATE INDEX effect_failed ON effect (org_id, id) WHERE status = 'failed';
CREATE INDEX effect_reconciled ON effect (org_id, id) WHERE status = 'reconciled';
CREATE INDEX effect_integration ON effect (org_id, integration, id);
CREATE INDEX employee_there ON employee (org_id, id) WHERE status <> 'dismissed';
