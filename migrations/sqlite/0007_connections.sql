-- The path of a hook names no org, so source and endpoint are unique over all orgs; the endpoint cannot be guessed.
CREATE TABLE hook (
    org_id         BLOB NOT NULL REFERENCES org,
    id             BLOB NOT NULL,
    source         TEXT NOT NULL,
    endpoint       TEXT NOT NULL,
    scheme         TEXT NOT NULL,
    sealed_secrets BLOB NOT NULL,
    event_type     TEXT,
    created_us     INTEGER NOT NULL,
    PRIMARY KEY (org_id, id),
    UNIQUE (source, endpoint)
) STRICT;

CREATE TABLE connection (
    org_id            BLOB NOT NULL REFERENCES org,
    id                BLOB NOT NULL,
    integration       TEXT NOT NULL,
    name              TEXT NOT NULL,
    sealed_credential BLOB NOT NULL,
    base_url          TEXT,
    account           TEXT NOT NULL,
    status            TEXT NOT NULL,
    created_us        INTEGER NOT NULL,
    updated_us        INTEGER NOT NULL,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, integration, name)
) STRICT;
