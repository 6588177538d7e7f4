-- Data keys of the orgs, wrapped by a master key that is not in the database. Without them the secrets of an org cannot be read.
CREATE TABLE org_key (
    org_id     BLOB    NOT NULL REFERENCES org,
    version    INTEGER NOT NULL,
    wrapped    BLOB    NOT NULL,
    master_id  TEXT    NOT NULL,
    created_us INTEGER NOT NULL,
    retired_us INTEGER,
    PRIMARY KEY (org_id, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX org_key_retired ON org_key (retired_us) WHERE retired_us IS NOT NULL;

-- Who the holder of a key is, where it was given to one person.
ALTER TABLE api_key ADD COLUMN user_id TEXT;

-- Rebuilt, because a name is now unique for its owner: SQLite cannot drop a constraint.
CREATE TABLE connection_new (
    org_id             BLOB    NOT NULL REFERENCES org,
    id                 BLOB    NOT NULL,
    integration        TEXT    NOT NULL,
    name               TEXT    NOT NULL,
    sealed_credential  BLOB    NOT NULL,
    base_url           TEXT,
    account            TEXT    NOT NULL,
    status             TEXT    NOT NULL,
    created_us         INTEGER NOT NULL,
    updated_us         INTEGER NOT NULL,
    credential_version INTEGER NOT NULL DEFAULT 0,
    way                TEXT    NOT NULL DEFAULT 'token',
    owner_user         TEXT,
    account_name       TEXT,
    account_ref        TEXT,
    scopes             TEXT    NOT NULL DEFAULT '[]',
    expires_us         INTEGER,
    refresh_due_us     INTEGER,
    refresh_started_us INTEGER,
    refreshed_us       INTEGER,
    verified_us        INTEGER,
    reauth_since_us    INTEGER,
    status_reason      TEXT,
    PRIMARY KEY (org_id, id)
) STRICT;
INSERT INTO connection_new (org_id, id, integration, name, sealed_credential, base_url, account, status, created_us, updated_us)
    SELECT org_id, id, integration, name, sealed_credential, base_url, account, status, created_us, updated_us FROM connection;
DROP TABLE connection;
ALTER TABLE connection_new RENAME TO connection;
CREATE UNIQUE INDEX connection_name ON connection (org_id, integration, name, coalesce(owner_user, ''));
CREATE INDEX connection_refresh ON connection (refresh_due_us) WHERE refresh_due_us IS NOT NULL;

-- What an org registered at a provider. `overrides` is JSON: other addresses than the catalog's, and redirect addresses of its own.
CREATE TABLE oauth_client (
    org_id         BLOB    NOT NULL REFERENCES org,
    id             BLOB    NOT NULL,
    integration    TEXT    NOT NULL,
    client_id      TEXT    NOT NULL,
    sealed_secret  BLOB    NOT NULL,
    secret_version INTEGER NOT NULL,
    overrides      TEXT    NOT NULL,
    created_us     INTEGER NOT NULL,
    updated_us     INTEGER NOT NULL,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, integration)
) STRICT;

-- A consent that was begun. The state itself is known to the browser alone; it is good once and for ten minutes.
CREATE TABLE oauth_state (
    org_id          BLOB    NOT NULL REFERENCES org,
    state_hash      BLOB    NOT NULL UNIQUE,
    connection_id   BLOB    NOT NULL,
    integration     TEXT    NOT NULL,
    way             TEXT    NOT NULL,
    user_id         TEXT,
    sealed_verifier BLOB    NOT NULL,
    redirect_uri    TEXT    NOT NULL,
    scopes          TEXT    NOT NULL,
    account         TEXT    NOT NULL,
    browser_hash    BLOB,
    link_id         BLOB,
    created_us      INTEGER NOT NULL,
    expires_us      INTEGER NOT NULL,
    used_us         INTEGER,
    PRIMARY KEY (org_id, state_hash)
) STRICT;
CREATE INDEX oauth_state_connection ON oauth_state (org_id, connection_id);
CREATE INDEX oauth_state_expiry ON oauth_state (expires_us);

-- A link by which a person without an account here connects one; good once.
CREATE TABLE connect_link (
    org_id        BLOB    NOT NULL REFERENCES org,
    id            BLOB    NOT NULL,
    token_hash    BLOB    NOT NULL UNIQUE,
    integration   TEXT    NOT NULL,
    connection_id BLOB    NOT NULL,
    name          TEXT    NOT NULL,
    owner_user    TEXT,
    scopes        TEXT,
    created_us    INTEGER NOT NULL,
    expires_us    INTEGER NOT NULL,
    used_us       INTEGER,
    completed_us  INTEGER,
    PRIMARY KEY (org_id, id)
) STRICT;
CREATE INDEX connect_link_expiry ON connect_link (expires_us);
