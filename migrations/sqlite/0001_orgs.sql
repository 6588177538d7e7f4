CREATE TABLE org (
    org_id     BLOB PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    settings   TEXT NOT NULL,
    created_us INTEGER NOT NULL
) STRICT;

CREATE TABLE api_key (
    org_id     BLOB NOT NULL REFERENCES org,
    id         BLOB NOT NULL,
    hash       BLOB NOT NULL UNIQUE,
    role       TEXT NOT NULL,
    name       TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    revoked_us INTEGER,
    PRIMARY KEY (org_id, id)
) STRICT;
