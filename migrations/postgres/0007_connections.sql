-- The path of a hook names no org, so source and endpoint are unique over all orgs; the endpoint cannot be guessed.
CREATE TABLE hook (
    org_id         UUID   NOT NULL REFERENCES org,
    id             UUID   NOT NULL,
    source         TEXT   NOT NULL,
    endpoint       TEXT   NOT NULL,
    scheme         TEXT   NOT NULL,
    sealed_secrets BYTEA  NOT NULL,
    event_type     TEXT,
    created_us     BIGINT NOT NULL,
    PRIMARY KEY (org_id, id),
    UNIQUE (source, endpoint)
);
SELECT tenant_table('hook', 'SELECT, INSERT, UPDATE, DELETE');

CREATE TABLE connection (
    org_id            UUID   NOT NULL REFERENCES org,
    id                UUID   NOT NULL,
    integration       TEXT   NOT NULL,
    name              TEXT   NOT NULL,
    sealed_credential BYTEA  NOT NULL,
    base_url          TEXT,
    account           TEXT NOT NULL,
    status            TEXT   NOT NULL,
    created_us        BIGINT NOT NULL,
    updated_us        BIGINT NOT NULL,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, integration, name)
);
SELECT tenant_table('connection', 'SELECT, INSERT, UPDATE, DELETE');
