-- Until when a key is good (NULL: until it is revoked), when it was used last (to the minute; NULL: never), and how it ends, so that
-- people can tell their keys apart (NULL: made before that was kept).
ALTER TABLE api_key ADD COLUMN expires_us BIGINT;
ALTER TABLE api_key ADD COLUMN last_used_us BIGINT;
ALTER TABLE api_key ADD COLUMN tail TEXT;
