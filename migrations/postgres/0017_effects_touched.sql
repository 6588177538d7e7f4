-- When a write was touched last: what nobody has touched for long is looked after. Older rows have none, and go by when they were sent.
ALTER TABLE effect ADD COLUMN touched_us BIGINT;
