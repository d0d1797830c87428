"""The audit log as a chain: each entry sealed to the one before, and none ever changed or removed."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = """
-- By what somebody acted: browser, token:NAME, command line; empty for Muster itself.
ALTER TABLE audit_log ADD via text NOT NULL DEFAULT '';

CREATE INDEX audit_log_newest ON audit_log (id DESC);
CREATE INDEX audit_log_account ON audit_log (account_id, id DESC);
CREATE INDEX audit_log_subject ON audit_log (subject, id DESC);
CREATE INDEX audit_log_action ON audit_log (action, id DESC);
CREATE INDEX audit_log_request ON audit_log (request_id) WHERE request_id <> '';
CREATE INDEX audit_log_email ON audit_log USING gin (lower(email) gin_trgm_ops);

-- One seal for each entry, in the order of their commits, without a gap: a table of its own, so that an
-- entry is never updated.
CREATE TABLE audit_seals (
    number   bigint PRIMARY KEY,
    audit_id bigint NOT NULL UNIQUE REFERENCES audit_log (id),
    hash     bytea NOT NULL
);

-- Heads of the chain that were found whole: what is before them cannot be cut off unseen.
CREATE TABLE audit_verifications (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    number  bigint NOT NULL,
    hash    bytea NOT NULL,
    is_full boolean NOT NULL,
    took_ms integer NOT NULL
);

-- The same bytes whatever time zone, locale or date style the session has.
CREATE FUNCTION audit_hash(previous bytea, number bigint, entry audit_log) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
    SELECT sha256(previous || convert_to(jsonb_build_array(
        number, entry.id, (extract(epoch FROM entry.at) * 1000000)::bigint, entry.account_id, entry.email,
        entry.action, entry.subject, entry.before, entry.after, entry.request_id, entry.address, entry.via
    )::text, 'UTF8'))
$$;

-- As the owner, since the app's role may not write seals by itself. The lock is taken as the transaction
-- commits, not before: whoever else wants to seal waits for that moment only.
CREATE FUNCTION seal_audit_entry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    head audit_seals;
BEGIN
    PERFORM pg_advisory_xact_lock(7003);
    SELECT * INTO head FROM audit_seals ORDER BY number DESC LIMIT 1;
    INSERT INTO audit_seals (number, audit_id, hash) VALUES (
        coalesce(head.number, 0) + 1, NEW.id,
        audit_hash(coalesce(head.hash, ''::bytea), coalesce(head.number, 0) + 1, NEW)
    );
    RETURN NULL;
END
$$;

-- The clock is the server's, and a proof is of a head that there is: the portal's own role, in the wrong
-- hands, may add entries and proofs, but not date them, nor make a proof up.
CREATE FUNCTION date_audit_addition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.at := clock_timestamp();
    RETURN NEW;
END
$$;

CREATE FUNCTION check_audit_verification() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    NEW.at := clock_timestamp();
    IF NEW.number <> 0 AND NOT EXISTS (
        SELECT FROM audit_seals WHERE audit_seals.number = NEW.number AND audit_seals.hash = NEW.hash
    ) THEN
        RAISE EXCEPTION 'there is no such head of the audit log' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;

DO $$
DECLARE
    entry audit_log;
    head  bytea := '';
    place bigint := 0;
BEGIN
    FOR entry IN SELECT * FROM audit_log ORDER BY id LOOP
        place := place + 1;
        head := audit_hash(head, place, entry);
        INSERT INTO audit_seals (number, audit_id, hash) VALUES (place, entry.id, head);
    END LOOP;
END
$$;

CREATE TRIGGER date_audit_entry BEFORE INSERT ON audit_log
    FOR EACH ROW EXECUTE FUNCTION date_audit_addition();
CREATE TRIGGER check_audit_verification BEFORE INSERT ON audit_verifications
    FOR EACH ROW EXECUTE FUNCTION check_audit_verification();
CREATE CONSTRAINT TRIGGER seal_audit_entry AFTER INSERT ON audit_log
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION seal_audit_entry();
"""

APPEND_ONLY = "audit_log", "audit_seals", "audit_verifications"


def upgrade() -> None:
    op.execute(TABLES)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()"
        )
