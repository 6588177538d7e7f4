-- What is known now. Owners are found by their beginning, so they are ordered by bytes. A forgotten key keeps its row without a value, so that its versions go on counting.
CREATE TABLE memory (
    org_id  UUID   NOT NULL,
    layer   TEXT   NOT NULL,
    owner   TEXT   COLLATE "C" NOT NULL,
    key     TEXT   NOT NULL,
    version BIGINT NOT NULL,
    value   TEXT,
    run_id  UUID,
    step    TEXT,
    source  TEXT   NOT NULL,
    at_us   BIGINT NOT NULL,
    PRIMARY KEY (org_id, layer, owner, key)
);
SELECT tenant_table('memory', 'SELECT, INSERT, UPDATE');

-- What a key was before version `version + 1` replaced it: enough to undo a run without any row of another run.
CREATE TABLE memory_history (
    org_id      UUID   NOT NULL,
    layer       TEXT   NOT NULL,
    owner       TEXT   COLLATE "C" NOT NULL,
    key         TEXT   NOT NULL,
    version     BIGINT NOT NULL,
    value       TEXT,
    run_id      UUID,
    step        TEXT,
    source      TEXT   NOT NULL,
    at_us       BIGINT NOT NULL,
    replaced_by UUID,
    PRIMARY KEY (org_id, layer, owner, key, version)
);
CREATE INDEX memory_history_run ON memory_history (replaced_by);
SELECT tenant_table('memory_history', 'SELECT, INSERT');
