-- What a node says of itself. `roles` and `takes` (the kinds of entities that it takes) are JSON lists.
ALTER TABLE node
    ADD COLUMN build  TEXT   NOT NULL DEFAULT '',
    ADD COLUMN zone   TEXT   NOT NULL DEFAULT '',
    ADD COLUMN weight BIGINT NOT NULL DEFAULT 100,
    ADD COLUMN roles  TEXT   NOT NULL DEFAULT '[]',
    ADD COLUMN takes  TEXT   NOT NULL DEFAULT '[]',
    ADD COLUMN url    TEXT   NOT NULL DEFAULT '';

-- The last incarnation that was given to any node. A table and not a sequence, whose numbers could come in another order than the commits.
CREATE TABLE incarnation (last BIGINT NOT NULL);
INSERT INTO incarnation
    SELECT greatest(coalesce((SELECT max(incarnation) FROM node), 0), coalesce((SELECT max(incarnation) FROM placement), 0));
GRANT SELECT, UPDATE ON incarnation TO tenure_engine;

-- Share-locks the node's row and sees it in service with this incarnation, or fails with TN001. A node that drains is in service: it
-- finishes what it has. Requests prove the same as the engine, without a right to the table.
CREATE OR REPLACE FUNCTION tenure_fence(of_node UUID, of_incarnation BIGINT) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM 1 FROM node WHERE id = of_node AND incarnation = of_incarnation AND state <> 'dead' FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'node % is fenced', of_node USING ERRCODE = 'TN001';
    END IF;
END $$;
GRANT EXECUTE ON FUNCTION tenure_fence TO tenure_app;

-- Whether a node is in service with this incarnation. Volatile, so that it sees what was committed until now: a claim that waited for a
-- placement may find it with an owner that is younger than the claim's own snapshot.
CREATE FUNCTION tenure_in_service(of_node UUID, of_incarnation BIGINT) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN EXISTS (SELECT 1 FROM node WHERE id = of_node AND incarnation = of_incarnation AND state <> 'dead');
END $$;
REVOKE EXECUTE ON FUNCTION tenure_in_service FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenure_in_service TO tenure_engine;

-- The caller's search path would let it put a table of its own in place of `node`.
DO $$ BEGIN
    EXECUTE format('ALTER FUNCTION tenure_fence(uuid, bigint) SET search_path = %I, pg_temp', current_schema());
END $$;
