-- The user through whose own account the call would go that is asked about; null: through the org's. Who may see the call may see the question.
ALTER TABLE approval ADD COLUMN owner_user TEXT;

-- Questions of before: the connection stands in what is asked. Where two users have one of that name it is one of theirs; admins see all.
UPDATE approval SET owner_user = (
    SELECT min(c.owner_user) FROM connection c
    WHERE c.org_id = approval.org_id AND c.owner_user IS NOT NULL
      AND instr(approval.arguments, '","name":' || json_quote(c.name) || '},"input":') > 0
)
WHERE asked_by IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM connection c
    WHERE c.org_id = approval.org_id AND c.owner_user IS NULL
      AND instr(approval.arguments, '","name":' || json_quote(c.name) || '},"input":') > 0
);
