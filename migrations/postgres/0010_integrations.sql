-- Integrations that an org has added to the catalog for itself. What one means is checked when it is written and compiled when it is read.
CREATE TABLE org_integration (
    org_id     UUID   NOT NULL REFERENCES org,
    id         TEXT   NOT NULL,
    definition TEXT   NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    PRIMARY KEY (org_id, id)
);
SELECT tenant_table('org_integration', 'SELECT, INSERT, UPDATE, DELETE');
