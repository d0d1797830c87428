"""Proofs that could not be tried say which row comes first."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE proofs ADD COLUMN mend_first text")  # NULL: the row's own remedy is the one
