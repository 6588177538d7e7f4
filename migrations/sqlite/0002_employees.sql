-- Bodies by content hash. `used_us` is raised when a body is stored again, so that retention cannot race with its reuse.
CREATE TABLE blob (
    org_id  BLOB NOT NULL,
    hash    BLOB NOT NULL,
    body    BLOB NOT NULL,
    used_us INTEGER NOT NULL,
    PRIMARY KEY (org_id, hash)
) STRICT;

-- Who needs a body: a run or an employee. A body without a row here is deleted by retention.
CREATE TABLE blob_ref (
    org_id BLOB NOT NULL,
    owner  BLOB NOT NULL,
    hash   BLOB NOT NULL,
    PRIMARY KEY (owner, hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_ref_hash ON blob_ref (org_id, hash);

CREATE TABLE employee (
    org_id     BLOB NOT NULL REFERENCES org,
    id         BLOB NOT NULL,
    name       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    status     TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    PRIMARY KEY (id)
) STRICT;
CREATE UNIQUE INDEX employee_name ON employee (org_id, name) WHERE status <> 'dismissed';
CREATE INDEX employee_page ON employee (org_id, id);

CREATE TABLE employee_version (
    org_id      BLOB NOT NULL,
    employee_id BLOB NOT NULL REFERENCES employee,
    version     INTEGER NOT NULL,
    spec_hash   BLOB NOT NULL,
    created_us  INTEGER NOT NULL,
    created_by  TEXT NOT NULL,
    PRIMARY KEY (employee_id, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE subscription (
    org_id           BLOB NOT NULL,
    employee_id      BLOB NOT NULL REFERENCES employee,
    position         INTEGER NOT NULL,
    source           TEXT NOT NULL,
    event            TEXT,
    when_expr        TEXT,
    skill            TEXT,
    conversation_key TEXT,
    PRIMARY KEY (employee_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX subscription_source ON subscription (org_id, source);

-- The number of the last commit that appended to the journal or to `org_event`.
CREATE TABLE commit_counter (
    id  INTEGER PRIMARY KEY CHECK (id = 1),
    pos INTEGER NOT NULL
) STRICT;
INSERT INTO commit_counter (id, pos) VALUES (1, 0);

-- Events of the org that belong to no run, in the same order as the journal.
CREATE TABLE org_event (
    org_id     BLOB NOT NULL,
    commit_pos INTEGER NOT NULL,
    id         BLOB NOT NULL,
    kind       TEXT NOT NULL,
    body       TEXT NOT NULL,
    at_us      INTEGER NOT NULL,
    PRIMARY KEY (org_id, commit_pos, id)
) STRICT, WITHOUT ROWID;
