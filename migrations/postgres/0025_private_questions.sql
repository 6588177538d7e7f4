-- The user through whose own account the call would go that is asked about; null: through the org's. Who may see the call may see the question.
ALTER TABLE approval ADD COLUMN owner_user TEXT;

-- Questions of before: the connection stands in what is asked. Where two users have one of that name it is one of theirs; admins see all.
-- Row-level security holds for the owner of the tables as well, who need not be a superuser.
ALTER TABLE approval NO FORCE ROW LEVEL SECURITY;
ALTER TABLE connection NO FORCE ROW LEVEL SECURITY;
UPDATE approval a SET owner_user = (
    SELECT min(c.owner_user) FROM connection c
    WHERE c.org_id = a.org_id AND c.owner_user IS NOT NULL
      AND strpos(a.arguments, '","name":' || to_json(c.name)::text || '},"input":') > 0
)
WHERE a.asked_by IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM connection c
    WHERE c.org_id = a.org_id AND c.owner_user IS NULL
      AND strpos(a.arguments, '","name":' || to_json(c.name)::text || '},"input":') > 0
);
ALTER TABLE approval FORCE ROW LEVEL SECURITY;
ALTER TABLE connection FORCE ROW LEVEL SECURITY;
