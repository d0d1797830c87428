"""Customers: the copy of HubSpot's records, what was changed in them, and what waits to be written there."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = """
-- The order in which HubSpot was asked: what was asked for later is fresher, whatever any clock says.
CREATE SEQUENCE crm_reads;

CREATE TABLE crm_records (
    kind          text NOT NULL CHECK (kind IN ('deals', 'contacts', 'companies')),
    id            text NOT NULL,                 -- HubSpot's hs_object_id
    fields        jsonb NOT NULL,                -- property → text, as HubSpot holds it; none is empty
    name          text NOT NULL,
    sort_name     text NOT NULL,                 -- folded, since the server sorts by code point
    search_text   text NOT NULL,
    owner_id      text NOT NULL DEFAULT '',
    pipeline_id   text NOT NULL DEFAULT '',
    stage_id      text NOT NULL DEFAULT '',
    amount        numeric(20, 2),                -- of a deal; NULL where it is empty or no number
    currency      text NOT NULL DEFAULT '',
    closes_on     date,                          -- of a deal
    is_closed     boolean NOT NULL DEFAULT false,
    is_won        boolean NOT NULL DEFAULT false,
    email         text NOT NULL DEFAULT '',      -- of a contact, folded
    domain        text NOT NULL DEFAULT '',      -- of a company, folded
    lifecycle     text NOT NULL GENERATED ALWAYS AS (COALESCE(fields ->> 'lifecyclestage', '')) STORED,
    lead_status   text NOT NULL GENERATED ALWAYS AS (COALESCE(fields ->> 'hs_lead_status', '')) STORED,
    industry      text NOT NULL GENERATED ALWAYS AS (COALESCE(fields ->> 'industry', '')) STORED,
    contacted_at  timestamptz,                   -- of a deal: notes_last_contacted
    created_at    timestamptz NOT NULL,          -- HubSpot's
    modified_at   timestamptz NOT NULL,          -- HubSpot's
    read_at       bigint NOT NULL,               -- of crm_reads, before HubSpot was asked for this by id
    searched_at   bigint NOT NULL DEFAULT 0,     -- the same of a search that told of it, and may be behind
    ties_read_at  bigint NOT NULL DEFAULT 0,     -- the same of its associations, where that changed them
    seen_at       timestamptz NOT NULL DEFAULT now(), -- when HubSpot last said what stands here
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    changed_at    timestamptz NOT NULL DEFAULT now(),
    archived_at   timestamptz,                   -- archived, deleted or merged into another: not in any list
    merged_into   text,                          -- where its id leads
    PRIMARY KEY (kind, id)
);
-- One for each kind: of a single one every word's finds would have to be told apart by kind.
CREATE INDEX crm_deals_search ON crm_records USING gin (search_text gin_trgm_ops)
    WHERE kind = 'deals' AND archived_at IS NULL;
CREATE INDEX crm_contacts_search ON crm_records USING gin (search_text gin_trgm_ops)
    WHERE kind = 'contacts' AND archived_at IS NULL;
CREATE INDEX crm_companies_search ON crm_records USING gin (search_text gin_trgm_ops)
    WHERE kind = 'companies' AND archived_at IS NULL;
CREATE INDEX crm_records_name ON crm_records (kind, sort_name, id) WHERE archived_at IS NULL;
CREATE INDEX crm_records_modified ON crm_records (kind, modified_at, id) WHERE archived_at IS NULL;
CREATE INDEX crm_records_created ON crm_records (kind, created_at, id) WHERE archived_at IS NULL;
CREATE INDEX crm_records_owner ON crm_records (owner_id, kind) WHERE archived_at IS NULL;
CREATE INDEX crm_records_merged ON crm_records (kind, merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX crm_records_email ON crm_records (email) WHERE email <> '';
CREATE INDEX crm_records_domain ON crm_records (domain) WHERE domain <> '';
-- As lists order them: no amount comes below every amount, no date before every date.
CREATE INDEX crm_deals_amount ON crm_records (COALESCE(amount, '-1000000000000'), id)
    WHERE kind = 'deals' AND archived_at IS NULL;
CREATE INDEX crm_deals_closes ON crm_records (COALESCE(closes_on, '-infinity'), id)
    WHERE kind = 'deals' AND archived_at IS NULL;
-- All that is counted by, in a third of the table's pages: for words that many records hold, and for words
-- of one or two letters, which have no trigram of their own. An index's row has no room for the longest.
CREATE INDEX crm_records_scan ON crm_records (kind, owner_id)
    INCLUDE (id, pipeline_id, stage_id, amount, currency, is_closed, is_won, closes_on, created_at,
             modified_at, search_text)
    WHERE archived_at IS NULL AND octet_length(search_text) < 2000;
CREATE INDEX crm_records_scan_long ON crm_records (kind)
    WHERE archived_at IS NULL AND octet_length(search_text) >= 2000;
CREATE STATISTICS crm_records_length ON (octet_length(search_text)) FROM crm_records;
-- The board's columns from the top, and all that sums are made of.
CREATE INDEX crm_deals_stage ON crm_records (pipeline_id, stage_id, modified_at, id)
    INCLUDE (owner_id, amount, currency, is_closed, is_won) WHERE kind = 'deals' AND archived_at IS NULL;
-- What is filtered by, with whose it is, since tabs count that.
CREATE INDEX crm_contacts_lifecycle ON crm_records (lifecycle, owner_id)
    WHERE kind = 'contacts' AND archived_at IS NULL;
CREATE INDEX crm_contacts_lead_status ON crm_records (lead_status, owner_id)
    WHERE kind = 'contacts' AND archived_at IS NULL;
CREATE INDEX crm_companies_industry ON crm_records (industry, owner_id)
    WHERE kind = 'companies' AND archived_at IS NULL;

-- Each association once, in the direction deals → contacts, deals → companies, contacts → companies.
CREATE TABLE crm_associations (
    from_kind text NOT NULL,
    from_id   text NOT NULL,
    to_kind   text NOT NULL,
    to_id     text NOT NULL,
    label     text NOT NULL DEFAULT '',
    read_at   bigint NOT NULL DEFAULT 0,         -- of crm_reads, before HubSpot was asked and told of it
    PRIMARY KEY (from_kind, from_id, to_kind, to_id)
);
CREATE INDEX crm_associations_to ON crm_associations (to_kind, to_id, from_kind);

CREATE TABLE crm_owners (
    id          text PRIMARY KEY,                -- what owns records; HubSpot's user id does not
    user_id     text NOT NULL DEFAULT '',
    email       text NOT NULL DEFAULT '',        -- folded
    name        text NOT NULL,
    team        text NOT NULL DEFAULT '',
    is_queue    boolean NOT NULL DEFAULT false,
    is_archived boolean NOT NULL DEFAULT false,  -- deactivated in HubSpot
    is_gone     boolean NOT NULL DEFAULT false,  -- HubSpot lists them no more
    seen_at     timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE crm_stages (
    pipeline_id text NOT NULL,
    id          text NOT NULL,
    pipeline    text NOT NULL,
    label       text NOT NULL,
    place       integer NOT NULL,                -- over all pipelines, as HubSpot orders them
    probability double precision NOT NULL,
    is_closed   boolean NOT NULL,
    is_won      boolean NOT NULL,
    is_gone     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (pipeline_id, id)
);
CREATE TABLE crm_properties (
    kind         text NOT NULL,
    name         text NOT NULL,
    label        text NOT NULL,
    type         text NOT NULL,
    choices      jsonb NOT NULL,                 -- [{value, label}] in HubSpot's order
    is_read_only boolean NOT NULL,
    PRIMARY KEY (kind, name)
);

-- Field by field: what changed, when we learned of it, how, and by whom where we know.
CREATE TABLE crm_changes (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind      text NOT NULL,
    record_id text NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    what      text NOT NULL CHECK (what IN ('created', 'changed', 'archived', 'restored', 'merged')),
    source    text NOT NULL CHECK (source IN ('sync', 'webhook', 'edit', 'refresh')),
    by_email  text NOT NULL DEFAULT '',
    fields    jsonb NOT NULL DEFAULT '{}'        -- property → [before, after]
);
CREATE INDEX crm_changes_record ON crm_changes (kind, record_id, id);
CREATE INDEX crm_changes_at ON crm_changes (at);

CREATE TABLE crm_syncs (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    status         text NOT NULL CHECK (status IN ('waiting', 'running', 'finished', 'failed', 'refused')),
    reason         text,
    asked_by       text NOT NULL,
    is_full        boolean NOT NULL DEFAULT false,  -- everything is listed and compared, not only what moved
    dry_run        boolean NOT NULL DEFAULT false,
    resumed        bigint,                          -- the run that broke off and whose pages it took over
    asked_at       timestamptz NOT NULL DEFAULT now(),
    started_at     timestamptz,
    began_at       timestamptz,                     -- before the first of its pages was asked for
    first_read     bigint,                          -- of crm_reads, at began_at
    finished_at    timestamptz,
    beat_at        timestamptz,
    step           text NOT NULL DEFAULT '',        -- what it is at, in words
    expected       integer,
    pages          integer NOT NULL DEFAULT 0,
    seen           integer NOT NULL DEFAULT 0,
    created        integer NOT NULL DEFAULT 0,
    updated        integer NOT NULL DEFAULT 0,
    unchanged      integer NOT NULL DEFAULT 0,
    archived       integer NOT NULL DEFAULT 0,
    restored       integer NOT NULL DEFAULT 0,
    merged         integer NOT NULL DEFAULT 0,
    associations   integer NOT NULL DEFAULT 0,      -- made or ended
    missed         integer NOT NULL DEFAULT 0,      -- in no page, though there by HubSpot's word on each
    drift          integer NOT NULL DEFAULT 0,      -- found by listing everything, and should have been known
    calls          integer NOT NULL DEFAULT 0,
    retried        integer NOT NULL DEFAULT 0,
    faults         jsonb NOT NULL DEFAULT '{}',     -- HubSpot's reason → how often
    waited_seconds double precision NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX crm_syncs_running ON crm_syncs ((true)) WHERE status = 'running';
CREATE UNIQUE INDEX crm_syncs_waiting ON crm_syncs (dry_run) WHERE status = 'waiting';
-- Up to when changes of a kind are known, and how far an interrupted listing of all came.
CREATE TABLE crm_cursors (
    kind        text PRIMARY KEY,
    known_until timestamptz,
    archived_known_until timestamptz,               -- the same of archivings, which move no time of a change
    listed_to   text NOT NULL DEFAULT '',
    is_listed   boolean NOT NULL DEFAULT false,
    listing     bigint                              -- the run whose listing of all broke off there
);
-- Whom the pages of a listing of all showed.
CREATE TABLE crm_pages (
    sync_id bigint NOT NULL,
    kind    text NOT NULL,
    ids     text[] NOT NULL
);
CREATE INDEX crm_pages_sync ON crm_pages (sync_id, kind);

-- Which records to ask HubSpot about again, each once however often it is named.
CREATE TABLE crm_rereads (
    kind      text NOT NULL,
    record_id text NOT NULL,
    wish      bigint NOT NULL,                      -- of crm_reads: outlives an earlier answer
    because   text NOT NULL,
    asked_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, record_id)
);
-- Signatures of webhooks that were taken, for as long as their time is accepted.
CREATE TABLE crm_hooks (
    signature bytea PRIMARY KEY,
    events    integer NOT NULL,
    sent_at   timestamptz NOT NULL,
    at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX crm_hooks_at ON crm_hooks (at);

-- An act on many records at once: previewed, done one by one, and undone on demand.
CREATE TABLE crm_bulks (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text NOT NULL,                       -- '' where it is on several kinds
    what       text NOT NULL CHECK (what IN ('edit', 'reassign', 'undo')),
    words      text NOT NULL,                       -- as people read it
    query      text NOT NULL DEFAULT '',            -- the list it was made from, as in its address
    fields     jsonb NOT NULL DEFAULT '{}',         -- property → value; of an undo each record has its own
    of_bulk    bigint REFERENCES crm_bulks (id),    -- which an undo takes back
    total      integer NOT NULL,
    asked_at   timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz,
    cancelled_by text NOT NULL DEFAULT '',          -- who had what was left of it dropped
    account_id bigint REFERENCES accounts (id),
    by_email   text NOT NULL,
    address    text NOT NULL DEFAULT '',
    request_id text NOT NULL DEFAULT ''
);
CREATE INDEX crm_bulks_live ON crm_bulks (id) WHERE ended_at IS NULL;
-- One undo of each.
CREATE UNIQUE INDEX crm_bulks_undone ON crm_bulks (of_bulk) WHERE of_bulk IS NOT NULL;

-- What is to be written to HubSpot. `before` is what whoever asked had in front of them.
CREATE TABLE crm_edits (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind           text NOT NULL,
    record_id      text,                            -- NULL for a creation that is not done yet
    bulk_id        bigint REFERENCES crm_bulks (id),
    fields         jsonb NOT NULL,                  -- property → value
    before         jsonb NOT NULL DEFAULT '{}',     -- property → value
    ties           jsonb NOT NULL DEFAULT '[]',     -- of a creation: [kind, id] of what it belongs to
    status         text NOT NULL DEFAULT 'waiting'
        CHECK (status IN ('waiting', 'sending', 'unknown', 'done', 'conflict', 'refused', 'withdrawn')),
    attempts       integer NOT NULL DEFAULT 0,
    next_at        timestamptz NOT NULL DEFAULT now(),
    held_until     timestamptz,                     -- somebody is writing it till then
    sent_at        timestamptz,                     -- a write was begun, and nobody knows yet what came of it
    written        jsonb NOT NULL DEFAULT '{}',     -- property → [before, after], as HubSpot took it
    problem        text NOT NULL DEFAULT '',
    problem_fields jsonb NOT NULL DEFAULT '{}',     -- property → what is wrong, in words
    theirs         jsonb NOT NULL DEFAULT '{}',     -- of a conflict: property → what HubSpot has
    correlation_id text NOT NULL DEFAULT '',        -- HubSpot's, of the last failure
    creation_key   text UNIQUE,                     -- of the form, so that sending it twice creates one
    asked_at       timestamptz NOT NULL DEFAULT now(),
    ended_at       timestamptz,
    account_id     bigint REFERENCES accounts (id),
    by_email       text NOT NULL,
    address        text NOT NULL DEFAULT '',
    request_id     text NOT NULL DEFAULT ''
);
CREATE INDEX crm_edits_open ON crm_edits (next_at) WHERE status IN ('waiting', 'sending', 'unknown');
CREATE INDEX crm_edits_record ON crm_edits (kind, record_id, id);
CREATE INDEX crm_edits_bulk ON crm_edits (bulk_id, id) WHERE bulk_id IS NOT NULL;

CREATE TABLE crm_views (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts (id),
    kind       text NOT NULL,
    name       text NOT NULL,
    query      text NOT NULL,                       -- as in the address of the list
    is_shared  boolean NOT NULL DEFAULT false,
    made_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (account_id, kind, name)
);

-- What was asked of HubSpot, by day and by what it was for.
CREATE TABLE crm_calls (
    day     date NOT NULL,
    feature text NOT NULL,
    calls   integer NOT NULL DEFAULT 0,
    retried integer NOT NULL DEFAULT 0,
    PRIMARY KEY (day, feature)
);
-- What HubSpot last said of the day's allowance, in the one row there is.
CREATE TABLE crm_allowance (
    is_only       boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    daily_limit   integer NOT NULL,
    daily_left    integer NOT NULL,
    said_at       timestamptz NOT NULL DEFAULT now()
);
"""


def upgrade() -> None:
    op.execute(TABLES)
