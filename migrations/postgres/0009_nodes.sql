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

-- Share-locks the node's row and sees it alive with this incarnation, or fails with TN001. A function, so that it travels in one round trip
-- with the BEGIN of the transaction that it guards.
CREATE FUNCTION tenure_fence(of_node UUID, of_incarnation BIGINT) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM node WHERE id = of_node AND incarnation = of_incarnation AND state = 'alive' FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'node % is fenced', of_node USING ERRCODE = 'TN001';
    END IF;
END $$;
REVOKE EXECUTE ON FUNCTION tenure_fence FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenure_fence TO tenure_engine;

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
