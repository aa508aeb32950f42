"""Rollups of the lake: which hours are summed up, from how many rows, and in which file."""

import sqlalchemy as sa
from alembic import op

revision = "r0003"
down_revision = "r0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; the release before does not know it and reads rows as ever."""
    op.create_table(
        "lake_rollups",
        sa.Column("hour", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("definition", sa.Integer(), nullable=False),
        sa.Column("predictions", sa.BigInteger(), nullable=False),
        sa.Column("outcomes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hour"),
    )
    op.create_index("ix_lake_rollups_day", "lake_rollups", ["day"])


def downgrade() -> None:
    """Take it away: everything in it can be computed anew, as long as the rows are kept."""
    op.drop_index("ix_lake_rollups_day", "lake_rollups")
    op.drop_table("lake_rollups")
