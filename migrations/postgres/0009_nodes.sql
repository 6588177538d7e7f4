-- The unique key makes incarnation and state key columns: whoever changes one of them waits for every transaction that holds
-- FOR KEY SHARE on the row, which is what fences a node. The heartbeat changes no key column and waits for nobody.
CREATE TABLE node (
    id             UUID   PRIMARY KEY,
    incarnation    BIGINT NOT NULL,
    state          TEXT   NOT NULL,
    name           TEXT   NOT NULL,
    address        TEXT   NOT NULL,
    lease_until_us BIGINT NOT NULL,
    UNIQUE (id, incarnation, state)
) WITH (fillfactor = 50);
GRANT SELECT, INSERT, UPDATE, DELETE ON node TO tenure_engine;

-- Who owns an entity that is awake or has unfinished work. Rows stay when it is released, so that epochs only rise.
CREATE TABLE placement (
    entity      UUID   NOT NULL,
    kind        TEXT   NOT NULL,
    node_id     UUID,
    incarnation BIGINT,
    epoch       BIGINT NOT NULL,
    PRIMARY KEY (entity, kind)
);
CREATE INDEX placement_node ON placement (node_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON placement TO tenure_engine;
