CREATE TABLE node (
    id             BLOB PRIMARY KEY,
    incarnation    INTEGER NOT NULL,
    state          TEXT NOT NULL,
    name           TEXT NOT NULL,
    address        TEXT NOT NULL,
    lease_until_us INTEGER NOT NULL,
    UNIQUE (id, incarnation, state)
) STRICT, WITHOUT ROWID;

-- Who owns an entity that is awake or has unfinished work. Rows stay when it is released, so that epochs only rise.
CREATE TABLE placement (
    entity      BLOB NOT NULL,
    kind        TEXT NOT NULL,
    node_id     BLOB,
    incarnation INTEGER,
    epoch       INTEGER NOT NULL,
    PRIMARY KEY (entity, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX placement_node ON placement (node_id);
