-- Roles are made before the first migration (`persistence::migrate`): tenure_app serves requests of one org, tenure_engine serves all.

-- Puts a table under row-level security. `app` are the privileges that request paths need; the engine gets all four.
CREATE FUNCTION tenant_table(name regclass, app text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    own constant text := '(org_id = (SELECT nullif(current_setting(''app.org_id'', true), '''')::uuid))';
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant ON %s TO tenure_app USING %s WITH CHECK %s', name, own, own);
    EXECUTE format('CREATE POLICY engine ON %s TO tenure_engine USING (true) WITH CHECK (true)', name);
    EXECUTE format('GRANT %s ON %s TO tenure_app', app, name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO tenure_engine', name);
END $$;
REVOKE EXECUTE ON FUNCTION tenant_table FROM PUBLIC;

CREATE TABLE org (
    org_id     UUID   PRIMARY KEY,
    name       TEXT   NOT NULL UNIQUE,
    settings   TEXT   NOT NULL,
    created_us BIGINT NOT NULL
);
SELECT tenant_table('org', 'SELECT, UPDATE');

CREATE TABLE api_key (
    org_id     UUID   NOT NULL REFERENCES org,
    id         UUID   NOT NULL,
    hash       BYTEA  NOT NULL UNIQUE,
    role       TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    created_us BIGINT NOT NULL,
    revoked_us BIGINT,
    PRIMARY KEY (org_id, id)
);
SELECT tenant_table('api_key', 'SELECT, INSERT, UPDATE');
