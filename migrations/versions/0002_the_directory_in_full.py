"""The directory in full: groups, org units, history, removals held for approval, push, resumable runs."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = """
-- The order in which Google was asked: what was read later is fresher, whatever any clock says.
CREATE SEQUENCE directory_reads;

ALTER TABLE people
    DROP CONSTRAINT people_status_check,
    ADD CONSTRAINT people_status_check
        CHECK (status IN ('active', 'guest', 'suspended', 'archived', 'deleted', 'purged')),
    ADD cost_center        text NOT NULL DEFAULT '',
    ADD fixed_aliases      jsonb NOT NULL DEFAULT '[]',   -- Google's own, which nobody can take away
    ADD emails             jsonb NOT NULL DEFAULT '[]',
    ADD custom_schemas     jsonb NOT NULL DEFAULT '{}',   -- as Google sent them
    ADD is_delegated_admin boolean NOT NULL DEFAULT false,
    ADD enforced_2sv       boolean NOT NULL DEFAULT false,
    ADD photo_etag         text NOT NULL DEFAULT '',
    ADD archived_at        timestamptz,
    ADD deleted_at         timestamptz,
    ADD digest             bytea NOT NULL DEFAULT '',     -- of the bytes Google sent: equal means unchanged
    ADD read_at            bigint NOT NULL DEFAULT 0;     -- of directory_reads, when that answer had arrived
ALTER TABLE people ALTER locations TYPE jsonb USING to_jsonb(locations);
UPDATE people SET deleted_at = removed_at WHERE removed_at IS NOT NULL;
CREATE INDEX people_aliases ON people USING gin (aliases);
CREATE INDEX people_status ON people (status, sort_name, google_id) WHERE status <> 'active';
CREATE INDEX people_org_unit ON people (org_unit text_pattern_ops);
CREATE INDEX people_first_seen ON people (first_seen_at);
CREATE INDEX people_admins ON people (sort_name, google_id) WHERE is_admin OR is_delegated_admin;
-- All that a search looks at, in an eighth of the table's pages: words of one or two letters, which have no
-- trigrams, and very common ones are found by reading through it. An entry of an index holds 2.7 kB at most,
-- so the few whose text is longer are read from the table.
CREATE INDEX people_scan ON people (status) INCLUDE (google_id, search_text)
    WHERE octet_length(search_text) < 2000;
CREATE INDEX people_scan_long ON people (status) WHERE octet_length(search_text) >= 2000;
-- Sign-ins move all day: without an index of theirs, and with room on the page, such a row moves in place.
DROP INDEX people_last_login;
ALTER TABLE people SET (fillfactor = 90);

DROP TABLE people_listing;
DROP INDEX people_syncs_running, people_syncs_waiting;
ALTER TABLE people_syncs
    ADD kind            text NOT NULL DEFAULT 'people' CHECK (kind IN ('people', 'groups')),
    ADD is_full         boolean NOT NULL DEFAULT false,
    ADD resumed         bigint,                            -- the run that broke off and this one went on with
    ADD first_read      bigint,                            -- of directory_reads, when the listing began
    ADD calls           integer NOT NULL DEFAULT 0,
    ADD faults          jsonb NOT NULL DEFAULT '{}',       -- Google's reason → how often
    ADD waited_seconds  double precision NOT NULL DEFAULT 0,
    ADD chains          integer NOT NULL DEFAULT 0,
    ADD is_proven       boolean NOT NULL DEFAULT false,    -- the listing showed that nobody was missing
    ADD missed          integer NOT NULL DEFAULT 0,        -- there by Google's word, though not listed
    ADD drift           integer NOT NULL DEFAULT 0,        -- changes that push should have told and had not
    ADD held            integer NOT NULL DEFAULT 0,
    ADD members_added   integer NOT NULL DEFAULT 0,
    ADD members_removed integer NOT NULL DEFAULT 0;
-- One run of a kind at a time, and one of a sort waiting behind it; the database itself says so.
CREATE UNIQUE INDEX people_syncs_running ON people_syncs (kind) WHERE status = 'running';
CREATE UNIQUE INDEX people_syncs_waiting ON people_syncs (kind, dry_run) WHERE status = 'waiting';

-- How far each chain of pages has come, so that another worker goes on where one was lost.
CREATE TABLE people_chains (
    sync_id    bigint NOT NULL REFERENCES people_syncs (id) ON DELETE CASCADE,
    name       text NOT NULL,
    next_token text NOT NULL DEFAULT '',
    is_done    boolean NOT NULL DEFAULT false,
    is_census  boolean NOT NULL DEFAULT false,
    pages      integer NOT NULL DEFAULT 0,
    began_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sync_id, name)
);
CREATE TABLE people_pages (
    sync_id    bigint NOT NULL REFERENCES people_syncs (id) ON DELETE CASCADE,
    chain      text NOT NULL,
    number     integer NOT NULL,
    is_census  boolean NOT NULL,
    asked      bigint NOT NULL,                            -- of directory_reads, before it was asked for
    google_ids text[] NOT NULL,
    PRIMARY KEY (sync_id, chain, number)
);

CREATE TABLE people_changes (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    google_id text NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    kinds     text[] NOT NULL,
    source    text NOT NULL CHECK (source IN ('listing', 'push', 'confirmed', 'released', 'groups')),
    sync_id   bigint,
    by_email  text NOT NULL DEFAULT '',
    name      text NOT NULL,                               -- as it was afterwards, for the company's timeline
    email     text NOT NULL,
    fields    jsonb NOT NULL DEFAULT '{}'                  -- column → [before, after]
);
CREATE INDEX people_changes_person ON people_changes (google_id, id);
CREATE INDEX people_changes_at ON people_changes (at);
CREATE INDEX people_changes_sync ON people_changes (sync_id) WHERE sync_id IS NOT NULL;
CREATE INDEX people_changes_kinds ON people_changes USING gin (kinds);

-- Removals too many to be believed unasked: staged until an administrator decides.
CREATE TABLE people_removals (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sync_id    bigint,                                     -- NULL where push told of them
    staged_at  timestamptz NOT NULL DEFAULT now(),
    reason     text NOT NULL,
    status     text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'released', 'rejected', 'gone')),
    total      integer NOT NULL,
    removed    integer NOT NULL DEFAULT 0,
    decided_at timestamptz,
    decided_by text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX people_removals_waiting ON people_removals ((true)) WHERE status = 'waiting';
CREATE TABLE people_removal_entries (
    removal_id bigint NOT NULL REFERENCES people_removals (id) ON DELETE CASCADE,
    google_id  text NOT NULL,
    absence    text NOT NULL CHECK (absence IN ('deleted', 'unknown')),
    deleted_at timestamptz,
    read_at    bigint NOT NULL,                            -- of directory_reads, when Google was asked
    PRIMARY KEY (removal_id, google_id)
);
CREATE INDEX people_removal_entries_person ON people_removal_entries (google_id);

-- Whom to ask Google about again, each once however often they are named.
CREATE TABLE people_rereads (
    google_id text PRIMARY KEY,
    wish      bigint NOT NULL,                             -- of directory_reads: outlives an earlier answer
    because   text NOT NULL,
    asked_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE push_channels (
    id              text PRIMARY KEY,
    event           text NOT NULL,
    resource_id     text NOT NULL DEFAULT '',
    token_hash      bytea NOT NULL,
    opened_at       timestamptz NOT NULL DEFAULT now(),
    live_since      timestamptz NOT NULL DEFAULT now(),    -- of the channels it replaced without a gap
    expires_at      timestamptz,
    confirmed_at    timestamptz,                           -- Google's first message, `sync`, has come
    last_message_at timestamptz,
    messages        integer NOT NULL DEFAULT 0,
    is_trusted      boolean NOT NULL DEFAULT true,         -- false: it kept something from us
    stopped_at      timestamptz
);
CREATE INDEX push_channels_open ON push_channels (event) WHERE stopped_at IS NULL;

CREATE TABLE org_units (
    id          text PRIMARY KEY,
    path        text NOT NULL,
    name        text NOT NULL,
    description text NOT NULL,
    parent_path text NOT NULL
);
CREATE INDEX org_units_path ON org_units (path);

CREATE TABLE groups (
    google_id       text PRIMARY KEY,
    email           text NOT NULL,
    name            text NOT NULL,
    description     text NOT NULL,
    aliases         text[] NOT NULL,
    direct_members  integer NOT NULL,                      -- as Google counts them
    sort_name       text NOT NULL,
    search_text     text NOT NULL,
    etag            text NOT NULL,                         -- when it moves, the members are read sooner
    members_due     boolean NOT NULL DEFAULT true,
    members_short   integer,                               -- how many a reading showed that was not believed
    members_read_at timestamptz,
    first_seen_at   timestamptz NOT NULL DEFAULT now(),
    changed_at      timestamptz NOT NULL DEFAULT now(),
    removed_at      timestamptz
);
CREATE INDEX groups_name ON groups (sort_name, google_id);
CREATE INDEX groups_search ON groups USING gin (search_text gin_trgm_ops);

CREATE TABLE group_members (
    group_id  text NOT NULL REFERENCES groups (google_id) ON DELETE CASCADE,
    member_id text NOT NULL,
    kind      text NOT NULL CHECK (kind IN ('user', 'group', 'customer', 'other')),
    email     text NOT NULL,
    role      text NOT NULL,
    PRIMARY KEY (group_id, member_id)
);
CREATE INDEX group_members_member ON group_members (member_id);

ALTER TABLE proofs ALTER held DROP NOT NULL;               -- NULL: the promise does not apply here

-- Somebody the directory no longer has, or keeps out: the account stays, and opens nothing.
ALTER TABLE accounts
    ADD suspended_at      timestamptz,
    ADD suspended_because text NOT NULL DEFAULT '';
"""


def upgrade() -> None:
    op.execute(TABLES)
