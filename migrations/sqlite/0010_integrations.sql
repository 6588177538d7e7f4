-- Integrations that an org has added to the catalog for itself. What one means is checked when it is written and compiled when it is read.
CREATE TABLE org_integration (
    org_id     BLOB NOT NULL REFERENCES org,
    id         TEXT NOT NULL,
    definition TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    PRIMARY KEY (org_id, id)
) STRICT;
