"""What metrics said each day, and indexes for what they and the lists behind them ask."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = """
-- The figures of metrics at the end of each day: what is deleted or changed since cannot be counted later.
CREATE TABLE metric_snapshots (
    day    date NOT NULL,
    metric text NOT NULL,
    name   text NOT NULL,                        -- of the figure
    place  smallint NOT NULL,                    -- among the metric's; the first is the one it is known by
    unit   text NOT NULL,
    value  double precision NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (metric, name, day)
);
CREATE INDEX metric_snapshots_first ON metric_snapshots (day, metric) WHERE place = 0;

-- All that is asked of open deals, without a look at the deals themselves.
CREATE INDEX crm_deals_open ON crm_records (owner_id)
    INCLUDE (pipeline_id, stage_id, currency, amount, modified_at, contacted_at)
    WHERE kind = 'deals' AND archived_at IS NULL AND NOT is_closed;
CREATE INDEX people_removed ON people (removed_at) WHERE removed_at IS NOT NULL;
"""


def upgrade() -> None:
    op.execute(TABLES)
