-- What a node says of itself. `roles` and `takes` (the kinds of entities that it takes) are JSON lists.
ALTER TABLE node ADD COLUMN build  TEXT    NOT NULL DEFAULT '';
ALTER TABLE node ADD COLUMN zone   TEXT    NOT NULL DEFAULT '';
ALTER TABLE node ADD COLUMN weight INTEGER NOT NULL DEFAULT 100;
ALTER TABLE node ADD COLUMN roles  TEXT    NOT NULL DEFAULT '[]';
ALTER TABLE node ADD COLUMN takes  TEXT    NOT NULL DEFAULT '[]';
ALTER TABLE node ADD COLUMN url    TEXT    NOT NULL DEFAULT '';

-- The last incarnation that was given to any node.
CREATE TABLE incarnation (last INTEGER NOT NULL) STRICT;
INSERT INTO incarnation
    SELECT max(coalesce((SELECT max(incarnation) FROM node), 0), coalesce((SELECT max(incarnation) FROM placement), 0));
