-- What the probe found of a connection's health, and when it asks again; null: that is still to be chosen.
ALTER TABLE connection
    ADD COLUMN health       TEXT NOT NULL DEFAULT 'unknown',
    ADD COLUMN health_us    BIGINT,
    ADD COLUMN health_error TEXT,
    ADD COLUMN probe_due_us BIGINT;
CREATE INDEX connection_probe ON connection (probe_due_us) WHERE status = 'active';

-- Dead grants of which somebody is told, one row a way. The link in the message is sealed until the message has left.
CREATE TABLE connection_notice (
    org_id             UUID   NOT NULL REFERENCES org,
    connection_id      UUID   NOT NULL,
    credential_version BIGINT NOT NULL,
    way                TEXT   NOT NULL,
    status             TEXT   NOT NULL,
    link_id            UUID,
    sealed_link        BYTEA  NOT NULL,
    message            TEXT,
    attempts           BIGINT NOT NULL,
    due_us             BIGINT NOT NULL,
    error              TEXT,
    created_us         BIGINT NOT NULL,
    PRIMARY KEY (org_id, connection_id, credential_version, way)
);
CREATE INDEX connection_notice_due ON connection_notice (due_us) WHERE status = 'telling';
SELECT tenant_table('connection_notice', 'SELECT, INSERT, UPDATE, DELETE');
