CREATE TABLE effect (
    org_id          UUID   NOT NULL,
    id              UUID   NOT NULL,
    run_id          UUID   NOT NULL,
    step            TEXT   NOT NULL,
    key             BYTEA  NOT NULL,
    capability      TEXT   NOT NULL,
    integration     TEXT   NOT NULL,
    connection_id   UUID,
    args_hash       BYTEA  NOT NULL,
    args            TEXT   NOT NULL,
    idempotency_key TEXT   NOT NULL,
    status          TEXT   NOT NULL,
    attempts        INT    NOT NULL,
    epoch           BIGINT NOT NULL,
    intended_us     BIGINT NOT NULL,
    sent_us         BIGINT,
    settled_us      BIGINT,
    response        TEXT,
    error           TEXT,
    note            TEXT,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, key)
);
CREATE INDEX effect_run ON effect (run_id);
CREATE INDEX effect_unsettled ON effect (org_id, id) WHERE status IN ('intended', 'sent', 'ambiguous');
SELECT tenant_table('effect', 'SELECT');
