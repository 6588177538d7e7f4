-- Writes by proxy have no run with which they would be deleted: they are found by when they were settled.
CREATE INDEX effect_proxied ON effect (org_id, settled_us) WHERE step = '0.0.0.0';
