"""Accounts, people, their syncs, workers, proofs, the audit record."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE accounts (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    google_id    text UNIQUE,           -- NULL until somebody invited signs in; the key from then on
    email        text NOT NULL,
    name         text NOT NULL DEFAULT '',
    role         text NOT NULL DEFAULT 'member' CHECK (role IN ('member', 'sales', 'admin')),
    created_at   timestamptz NOT NULL DEFAULT now(),
    signed_in_at timestamptz
);
-- An invitation is known by its address; an account is not, since addresses are reissued.
CREATE UNIQUE INDEX accounts_invited ON accounts (lower(email)) WHERE google_id IS NULL;
CREATE INDEX accounts_email ON accounts (lower(email));

CREATE TABLE audit_log (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    account_id bigint REFERENCES accounts (id),
    email      text NOT NULL,
    action     text NOT NULL,
    subject    text NOT NULL,
    before     jsonb,
    after      jsonb,
    request_id text NOT NULL DEFAULT '',
    address    text NOT NULL DEFAULT ''
);
CREATE INDEX audit_log_at ON audit_log (at);

CREATE TABLE people (
    google_id        text PRIMARY KEY,
    email            text NOT NULL,
    name             text NOT NULL,
    given_name       text NOT NULL,
    family_name      text NOT NULL,
    sort_name        text NOT NULL,     -- folded and unaccented, since the server sorts by code point
    search_text      text NOT NULL,
    status           text NOT NULL CHECK (status IN ('active', 'suspended', 'archived', 'deleted')),
    title            text NOT NULL,
    department       text NOT NULL,
    org_unit         text NOT NULL,
    employee_id      text NOT NULL,
    manager_email    text NOT NULL,
    aliases          text[] NOT NULL,
    phones           jsonb NOT NULL,
    locations        text[] NOT NULL,
    is_admin         boolean NOT NULL,
    is_guest         boolean NOT NULL,
    enrolled_2sv     boolean NOT NULL,
    suspended_reason text NOT NULL,
    suspended_at     timestamptz,
    joined_at        timestamptz,
    last_login_at    timestamptz,
    fingerprint      bytea NOT NULL,    -- of the columns above, so that an unchanged person is not written
    first_seen_at    timestamptz NOT NULL DEFAULT now(),
    changed_at       timestamptz NOT NULL DEFAULT now(),
    removed_at       timestamptz
);
CREATE INDEX people_search ON people USING gin (search_text gin_trgm_ops);
CREATE INDEX people_name ON people (sort_name, google_id);
CREATE INDEX people_email ON people (email, google_id);
CREATE INDEX people_department ON people (department, google_id);
-- As the list orders them: no date comes before every date.
CREATE INDEX people_joined ON people (COALESCE(joined_at, '-infinity'), google_id);
CREATE INDEX people_last_login ON people (COALESCE(last_login_at, '-infinity'), google_id);
CREATE INDEX people_manager ON people (manager_email) WHERE manager_email <> '';

CREATE TABLE people_syncs (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    status      text NOT NULL CHECK (status IN ('waiting', 'running', 'finished', 'failed', 'refused')),
    reason      text,
    asked_by    text NOT NULL,
    dry_run     boolean NOT NULL DEFAULT false,
    asked_at    timestamptz NOT NULL DEFAULT now(),
    started_at  timestamptz,
    finished_at timestamptz,
    beat_at     timestamptz,
    expected    integer,
    pages       integer NOT NULL DEFAULT 0,
    seen        integer NOT NULL DEFAULT 0,
    created     integer NOT NULL DEFAULT 0,
    updated     integer NOT NULL DEFAULT 0,
    unchanged   integer NOT NULL DEFAULT 0,
    removed     integer NOT NULL DEFAULT 0,
    retried     integer NOT NULL DEFAULT 0
);
-- One run at a time, and one of a kind waiting behind it; the database itself says so.
CREATE UNIQUE INDEX people_syncs_running ON people_syncs ((true)) WHERE status = 'running';
CREATE UNIQUE INDEX people_syncs_waiting ON people_syncs (dry_run) WHERE status = 'waiting';

-- Whom a listing has shown so far. Unlogged: a crash of the server only means listing anew.
CREATE UNLOGGED TABLE people_listing (
    sync_id   bigint NOT NULL,
    google_id text NOT NULL,
    PRIMARY KEY (sync_id, google_id)
);

CREATE TABLE workers (
    id           text PRIMARY KEY,
    host         text NOT NULL,
    pid          integer NOT NULL,
    version      text NOT NULL,
    queues       text[] NOT NULL,
    memory_bytes bigint NOT NULL,
    running      integer NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    seen_at      timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE proofs (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    row      text NOT NULL,
    held     boolean NOT NULL,
    evidence text NOT NULL,
    took_ms  integer NOT NULL,
    version  text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX proofs_latest ON proofs (row, at DESC);
"""


def upgrade() -> None:
    op.execute(TABLES)
