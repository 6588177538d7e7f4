-- What was chosen of the endpoint's scheme, JSON.
ALTER TABLE hook ADD COLUMN options TEXT NOT NULL DEFAULT '{}';

-- Channels, keywords and senders, JSON; null: all.
ALTER TABLE subscription ADD COLUMN filter TEXT;

-- Everything that arrived from outside. One row an event: `deliveries` counts how often it came, `replays` how often it was given again.
CREATE TABLE inbox (
    org_id           BLOB NOT NULL,
    id               BLOB NOT NULL,
    source           TEXT NOT NULL,
    scheme           TEXT NOT NULL,
    external_id      TEXT NOT NULL,
    kind             TEXT,
    conversation_key TEXT,
    received_us      INTEGER NOT NULL,
    headers          TEXT NOT NULL,
    payload          TEXT NOT NULL,
    verdict          TEXT NOT NULL,
    detail           TEXT,
    triggered        TEXT NOT NULL,
    deliveries       INTEGER NOT NULL,
    last_us          INTEGER NOT NULL,
    replays          INTEGER NOT NULL,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, source, external_id)
) STRICT;
CREATE INDEX inbox_pending ON inbox (id) WHERE verdict = 'pending';

-- Outside systems that are asked for news. `next_due_us` is the timer, `cursor` how far has been read.
CREATE TABLE poll_source (
    org_id       BLOB NOT NULL REFERENCES org,
    id           BLOB NOT NULL,
    name         TEXT NOT NULL,
    capability   TEXT NOT NULL,
    connection   TEXT,
    arguments    TEXT NOT NULL,
    rule         TEXT NOT NULL,
    every_us     INTEGER NOT NULL,
    status       TEXT NOT NULL,
    cursor       TEXT,
    next_due_us  INTEGER NOT NULL,
    last_us      INTEGER,
    error        TEXT,
    created_us   INTEGER NOT NULL,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, name)
) STRICT;
CREATE INDEX poll_source_due ON poll_source (next_due_us) WHERE status = 'active';

-- Who somebody is outside, for example a user of Slack.
CREATE TABLE person (
    org_id      BLOB NOT NULL REFERENCES org,
    provider    TEXT NOT NULL,
    external_id TEXT NOT NULL,
    user_name   TEXT NOT NULL,
    role        TEXT NOT NULL,
    PRIMARY KEY (org_id, provider, external_id)
) STRICT;

-- Approvals that were asked outside: where the message is, and whether it shows the outcome.
CREATE TABLE approval_notice (
    org_id      BLOB NOT NULL,
    approval_id BLOB NOT NULL,
    status      TEXT NOT NULL,
    channel     TEXT,
    ts          TEXT,
    message     TEXT,
    attempts    INTEGER NOT NULL,
    due_us      INTEGER NOT NULL,
    error       TEXT,
    PRIMARY KEY (org_id, approval_id)
) STRICT;
CREATE INDEX approval_notice_open ON approval_notice (org_id, due_us) WHERE status IN ('asking', 'asked');
