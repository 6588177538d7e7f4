-- Data keys of the orgs, wrapped by a master key that is not in the database. Without them the secrets of an org cannot be read.
CREATE TABLE org_key (
    org_id     UUID   NOT NULL REFERENCES org,
    version    BIGINT NOT NULL,
    wrapped    BYTEA  NOT NULL,
    master_id  TEXT   NOT NULL,
    created_us BIGINT NOT NULL,
    retired_us BIGINT,
    PRIMARY KEY (org_id, version)
);
CREATE INDEX org_key_retired ON org_key (retired_us) WHERE retired_us IS NOT NULL;
SELECT tenant_table('org_key', 'SELECT, INSERT, UPDATE, DELETE');

-- Who the holder of a key is, where it was given to one person.
ALTER TABLE api_key ADD COLUMN user_id TEXT;

-- A name is now unique for its owner.
ALTER TABLE connection
    DROP CONSTRAINT connection_org_id_integration_name_key,
    ADD COLUMN credential_version BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN way                TEXT   NOT NULL DEFAULT 'token',
    ADD COLUMN owner_user         TEXT,
    ADD COLUMN account_name       TEXT,
    ADD COLUMN account_ref        TEXT,
    ADD COLUMN scopes             TEXT   NOT NULL DEFAULT '[]',
    ADD COLUMN expires_us         BIGINT,
    ADD COLUMN refresh_due_us     BIGINT,
    ADD COLUMN refresh_started_us BIGINT,
    ADD COLUMN refreshed_us       BIGINT,
    ADD COLUMN verified_us        BIGINT,
    ADD COLUMN reauth_since_us    BIGINT,
    ADD COLUMN status_reason      TEXT;
CREATE UNIQUE INDEX connection_name ON connection (org_id, integration, name, coalesce(owner_user, ''));
CREATE INDEX connection_refresh ON connection (refresh_due_us) WHERE refresh_due_us IS NOT NULL;

-- What an org registered at a provider. `overrides` is JSON: other addresses than the catalog's, and redirect addresses of its own.
CREATE TABLE oauth_client (
    org_id         UUID   NOT NULL REFERENCES org,
    id             UUID   NOT NULL,
    integration    TEXT   NOT NULL,
    client_id      TEXT   NOT NULL,
    sealed_secret  BYTEA  NOT NULL,
    secret_version BIGINT NOT NULL,
    overrides      TEXT   NOT NULL,
    created_us     BIGINT NOT NULL,
    updated_us     BIGINT NOT NULL,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, integration)
);
SELECT tenant_table('oauth_client', 'SELECT, INSERT, UPDATE, DELETE');

-- A consent that was begun. The state itself is known to the browser alone; it is good once and for ten minutes.
CREATE TABLE oauth_state (
    org_id          UUID   NOT NULL REFERENCES org,
    state_hash      BYTEA  NOT NULL UNIQUE,
    connection_id   UUID   NOT NULL,
    integration     TEXT   NOT NULL,
    way             TEXT   NOT NULL,
    user_id         TEXT,
    sealed_verifier BYTEA  NOT NULL,
    redirect_uri    TEXT   NOT NULL,
    scopes          TEXT   NOT NULL,
    account         TEXT   NOT NULL,
    browser_hash    BYTEA,
    link_id         UUID,
    created_us      BIGINT NOT NULL,
    expires_us      BIGINT NOT NULL,
    used_us         BIGINT,
    PRIMARY KEY (org_id, state_hash)
);
CREATE INDEX oauth_state_connection ON oauth_state (org_id, connection_id);
CREATE INDEX oauth_state_expiry ON oauth_state (expires_us);
SELECT tenant_table('oauth_state', 'SELECT, INSERT, UPDATE, DELETE');

-- A link by which a person without an account here connects one; good once.
CREATE TABLE connect_link (
    org_id        UUID   NOT NULL REFERENCES org,
    id            UUID   NOT NULL,
    token_hash    BYTEA  NOT NULL UNIQUE,
    integration   TEXT   NOT NULL,
    connection_id UUID   NOT NULL,
    name          TEXT   NOT NULL,
    owner_user    TEXT,
    scopes        TEXT,
    created_us    BIGINT NOT NULL,
    expires_us    BIGINT NOT NULL,
    used_us       BIGINT,
    completed_us  BIGINT,
    PRIMARY KEY (org_id, id)
);
CREATE INDEX connect_link_expiry ON connect_link (expires_us);
SELECT tenant_table('connect_link', 'SELECT, INSERT, UPDATE, DELETE');
