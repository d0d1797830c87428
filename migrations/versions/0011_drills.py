"""What drills have shown, and proofs of what was seen earlier."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE drills (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name     text NOT NULL,
    held     boolean NOT NULL,
    evidence text NOT NULL,
    figures  jsonb NOT NULL,  -- as `muster drill --json` prints them
    took_ms  bigint NOT NULL,
    version  text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE proofs ADD COLUMN seen_at timestamptz;  -- NULL: when it was looked
"""


def upgrade() -> None:
    op.execute(TABLES)
