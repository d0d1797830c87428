"""What browsers report of pages that broke their own rules."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = """
-- One row for each kind of report, however often it comes.
CREATE TABLE browser_reports (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    directive  text NOT NULL,
    blocked    text NOT NULL,   -- scheme and host alone: a query may hold anything
    page       text NOT NULL,   -- the path
    source     text NOT NULL,   -- path and line
    browser    text NOT NULL,
    times      bigint NOT NULL DEFAULT 1,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (directive, blocked, page, source, browser)
);
CREATE INDEX browser_reports_last ON browser_reports (last_seen DESC, id DESC);
"""


def upgrade() -> None:
    op.execute(TABLES)
