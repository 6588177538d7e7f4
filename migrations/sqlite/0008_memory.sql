-- What is known now. A forgotten key keeps its row without a value, so that its versions go on counting.
CREATE TABLE memory (
    org_id  BLOB NOT NULL,
    layer   TEXT NOT NULL,
    owner   TEXT NOT NULL,
    key     TEXT NOT NULL,
    version INTEGER NOT NULL,
    value   TEXT,
    run_id  BLOB,
    step    TEXT,
    source  TEXT NOT NULL,
    at_us   INTEGER NOT NULL,
    PRIMARY KEY (org_id, layer, owner, key)
) STRICT, WITHOUT ROWID;

-- What a key was before version `version + 1` replaced it: enough to undo a run without any row of another run.
CREATE TABLE memory_history (
    org_id      BLOB NOT NULL,
    layer       TEXT NOT NULL,
    owner       TEXT NOT NULL,
    key         TEXT NOT NULL,
    version     INTEGER NOT NULL,
    value       TEXT,
    run_id      BLOB,
    step        TEXT,
    source      TEXT NOT NULL,
    at_us       INTEGER NOT NULL,
    replaced_by BLOB,
    PRIMARY KEY (org_id, layer, owner, key, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX memory_history_run ON memory_history (replaced_by);
