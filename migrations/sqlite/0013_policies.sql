-- What an org lets its employees and clients call, a rule a row (JSON). What a rule means is checked when it is written.
CREATE TABLE policy (
    org_id     BLOB NOT NULL REFERENCES org,
    id         BLOB NOT NULL,
    name       TEXT NOT NULL,
    rule       TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, name)
) STRICT;

-- Who asked, where it is the call of a client and no step of a run.
ALTER TABLE approval ADD COLUMN asked_by TEXT;
CREATE INDEX approval_of_calls ON approval (expires_us) WHERE status = 'pending' AND asked_by IS NOT NULL;

-- To whom the account belongs through which it went, if to one user: the write is theirs to see.
ALTER TABLE effect ADD COLUMN owner_user TEXT;
