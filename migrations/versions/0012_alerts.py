"""Alerts: how each subject stands, what people were told and on which channel, and what is kept quiet."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TABLES = """
-- One for each time that something began to fail and was seen to; `subject` is a row or a rule.
CREATE TABLE alerts (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject         text NOT NULL,
    severity        text NOT NULL,
    failing_since   timestamptz NOT NULL,
    opened_at       timestamptz NOT NULL,
    closed_at       timestamptz,
    told_at         timestamptz,              -- when people last heard of it
    evidence        text NOT NULL,            -- the latest that showed it failing
    is_flapping     boolean NOT NULL DEFAULT false,
    acknowledged_at timestamptz,
    acknowledged_by text NOT NULL DEFAULT '',
    note            text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX alerts_open ON alerts (subject) WHERE closed_at IS NULL;
CREATE INDEX alerts_latest ON alerts (opened_at DESC, id DESC);
CREATE INDEX alerts_of ON alerts (subject, opened_at DESC);

-- What is counted of each subject from look to look, so that a restart neither forgets nor repeats.
CREATE TABLE alert_standings (
    subject       text PRIMARY KEY,
    failures      int NOT NULL,
    successes     int NOT NULL,
    failing_since timestamptz,
    openings      timestamptz[] NOT NULL DEFAULT '{}',
    seen_at       timestamptz NOT NULL      -- of the proof that was counted last: each counts once
);

CREATE TABLE alert_events (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id bigint NOT NULL REFERENCES alerts ON DELETE CASCADE,
    at       timestamptz NOT NULL DEFAULT now(),
    what     text NOT NULL,
    who      text NOT NULL DEFAULT '',
    words    text NOT NULL DEFAULT ''
);
CREATE INDEX alert_events_of ON alert_events (alert_id, id);

-- Silences and maintenance windows; `subjects` are rows, rules, or groups of the checklist.
CREATE TABLE alert_quiets (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind      text NOT NULL,                  -- silence | maintenance
    subjects  text[] NOT NULL,
    reason    text NOT NULL,
    made_by   text NOT NULL,
    made_at   timestamptz NOT NULL DEFAULT now(),
    starts_at timestamptz NOT NULL,
    ends_at   timestamptz NOT NULL,
    ended_by  text NOT NULL DEFAULT '',
    CHECK (ends_at >= starts_at)
);
CREATE INDEX alert_quiets_last ON alert_quiets (ends_at DESC, id DESC);

-- What people are to be told, and how far it came on each channel.
CREATE TABLE notices (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id bigint REFERENCES alerts ON DELETE CASCADE,
    kind     text NOT NULL,                   -- opened | reminder | recovered | canary | test
    tone     text NOT NULL,
    title    text NOT NULL,
    body     text NOT NULL,
    at       timestamptz NOT NULL
);
CREATE INDEX notices_of ON notices (alert_id, id);
CREATE INDEX notices_kind ON notices (kind, at DESC);
CREATE TABLE deliveries (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    notice_id   bigint NOT NULL REFERENCES notices ON DELETE CASCADE,
    channel     text NOT NULL,                -- a digest of its address: the address itself is a secret
    name        text NOT NULL,
    tries       int NOT NULL DEFAULT 0,
    last_error  text NOT NULL DEFAULT '',
    next_try_at timestamptz NOT NULL,
    taken_until timestamptz,                  -- whoever sends it has until then
    accepted_at timestamptz,
    given_up_at timestamptz,
    UNIQUE (notice_id, channel)
);
CREATE INDEX deliveries_due ON deliveries (next_try_at) WHERE accepted_at IS NULL AND given_up_at IS NULL;

-- That somebody watches, and that the outside was told so. One row.
CREATE TABLE alert_watch (
    is_one           boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    looked_at        timestamptz,
    looked_by        text NOT NULL DEFAULT '',
    pinged_at        timestamptz,
    ping_accepted_at timestamptz,
    ping_error       text NOT NULL DEFAULT ''
);

-- What the web processes answered, by the minute: the worker that watches does not see their counters.
CREATE TABLE web_minutes (
    minute   timestamptz NOT NULL,
    process  text NOT NULL,
    requests int NOT NULL,
    faults   int NOT NULL,
    refused_sign_ins int NOT NULL,
    PRIMARY KEY (minute, process)
);
"""


def upgrade() -> None:
    op.execute(TABLES)
