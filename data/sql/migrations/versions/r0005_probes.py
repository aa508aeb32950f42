"""What probes found, by minutes; when jobs are due next, and which of them somebody has paused."""

import sqlalchemy as sa
from alembic import op

revision = "r0005"
down_revision = "r0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add table and columns; the release before knows neither and runs paused jobs as ever."""
    op.create_table(
        "probe_minutes",
        sa.Column("minute", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("good", sa.Integer(), nullable=False),
        sa.Column("probes", sa.Integer(), nullable=False),
        sa.Column("slowest_ms", sa.Float(), nullable=True),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("minute"),
    )
    op.add_column("job_schedules", sa.Column("next_due_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("job_schedules", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("job_schedules", sa.Column("paused_by", sa.String(length=128), nullable=True))
    op.add_column("job_schedules", sa.Column("pause_reason", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take them away; the record of availability is lost."""
    for name in ("pause_reason", "paused_by", "paused_at", "next_due_at"):
        op.drop_column("job_schedules", name)
    op.drop_table("probe_minutes")
