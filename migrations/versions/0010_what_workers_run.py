"""What each worker runs, and how much of which queue at once."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE workers
    ADD COLUMN concurrency jsonb NOT NULL DEFAULT '{}',  -- queue → jobs at once
    ADD COLUMN jobs        jsonb NOT NULL DEFAULT '[]';  -- queue, name, job_id, since of those that run
"""


def upgrade() -> None:
    op.execute(TABLES)
