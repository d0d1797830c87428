"""Roles granted to accounts and to groups, and the tokens of programs."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = """
-- Everybody is a member; what is here adds to it. Which roles there are is said in access/roles.py: a
-- role that a release does not know grants nothing.
CREATE TABLE account_roles (
    account_id bigint NOT NULL REFERENCES accounts (id),
    role       text NOT NULL,
    granted_by text NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, role)
);
CREATE INDEX account_roles_role ON account_roles (role);
INSERT INTO account_roles (account_id, role, granted_by)
SELECT id, role, 'an earlier release' FROM accounts WHERE role <> 'member';
ALTER TABLE accounts DROP COLUMN role;

-- By Google's id of the group: its address may be given to another.
CREATE TABLE group_roles (
    group_id   text NOT NULL,
    role       text NOT NULL,
    granted_by text NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_id, role)
);

-- Whose rights changed and may still be cached; NULL: anybody's. Written with the change itself, and
-- removed by the worker once the cache has been told.
CREATE TABLE rights_changes (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint,
    at         timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_tokens (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id    bigint NOT NULL REFERENCES accounts (id),
    name          text NOT NULL,
    digest        bytea NOT NULL UNIQUE,    -- SHA-256 of 256 random bits: nothing to guess, so no salt
    last_four     text NOT NULL,
    scopes        text[] NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    last_used_at  timestamptz,
    last_used_by  text NOT NULL DEFAULT '', -- the address
    revoked_at    timestamptz
);
CREATE INDEX api_tokens_account ON api_tokens (account_id);
"""


def upgrade() -> None:
    op.execute(TABLES)
