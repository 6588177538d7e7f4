-- Of the payload that a key came with first, where its sender has to keep to it; absent in rows of before.
ALTER TABLE dedupe ADD COLUMN payload_hash BLOB;
