-- What the probe found of a connection's health, and when it asks again; null: that is still to be chosen.
ALTER TABLE connection ADD COLUMN health TEXT NOT NULL DEFAULT 'unknown';
ALTER TABLE connection ADD COLUMN health_us INTEGER;
ALTER TABLE connection ADD COLUMN health_error TEXT;
ALTER TABLE connection ADD COLUMN probe_due_us INTEGER;
CREATE INDEX connection_probe ON connection (probe_due_us) WHERE status = 'active';

-- Dead grants of which somebody is told, one row a way. The link in the message is sealed until the message has left.
CREATE TABLE connection_notice (
    org_id             BLOB    NOT NULL REFERENCES org,
    connection_id      BLOB    NOT NULL,
    credential_version INTEGER NOT NULL,
    way                TEXT    NOT NULL,
    status             TEXT    NOT NULL,
    link_id            BLOB,
    sealed_link        BLOB    NOT NULL,
    message            TEXT,
    attempts           INTEGER NOT NULL,
    due_us             INTEGER NOT NULL,
    error              TEXT,
    created_us         INTEGER NOT NULL,
    PRIMARY KEY (org_id, connection_id, credential_version, way)
) STRICT;
CREATE INDEX connection_notice_due ON connection_notice (due_us) WHERE status = 'telling';
