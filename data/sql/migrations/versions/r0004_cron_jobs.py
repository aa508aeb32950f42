"""Jobs may run at times of the day instead of at an interval."""

import sqlalchemy as sa
from alembic import op

revision = "r0004"
down_revision = "r0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; empty means an interval."""
    op.add_column("job_schedules", sa.Column("cron", sa.String(length=64), nullable=True))


def downgrade() -> None:
    """Take it away; workers write their schedules anew when they start."""
    op.drop_column("job_schedules", "cron")
