"""Busts of the cache, written with what they are about."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = """
-- What was changed and may still be cached. Busted by whoever wrote it, and again by the worker, which
-- removes it once `until` has passed: a write to an outside system may take effect late.
CREATE TABLE cache_busts (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tags  text[] NOT NULL,
    at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    until timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""


def upgrade() -> None:
    op.execute(TABLES)
