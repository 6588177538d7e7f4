CREATE TABLE effect (
    org_id          BLOB NOT NULL,
    id              BLOB NOT NULL,
    run_id          BLOB NOT NULL,
    step            TEXT NOT NULL,
    key             BLOB NOT NULL,
    capability      TEXT NOT NULL,
    integration     TEXT NOT NULL,
    connection_id   BLOB,
    args_hash       BLOB NOT NULL,
    args            TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    status          TEXT NOT NULL,
    attempts        INTEGER NOT NULL,
    epoch           INTEGER NOT NULL,
    intended_us     INTEGER NOT NULL,
    sent_us         INTEGER,
    settled_us      INTEGER,
    response        TEXT,
    error           TEXT,
    note            TEXT,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, key)
) STRICT;
CREATE INDEX effect_run ON effect (run_id);
CREATE INDEX effect_unsettled ON effect (org_id, id) WHERE status IN ('intended', 'sent', 'ambiguous');
