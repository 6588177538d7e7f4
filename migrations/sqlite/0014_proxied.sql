-- Writes by proxy, and the questions about them, have no run with which they would be deleted: they are found by when they were settled.
CREATE INDEX effect_proxied ON effect (org_id, settled_us) WHERE step IN ('0.0.0.0', '0.0.1.0');
