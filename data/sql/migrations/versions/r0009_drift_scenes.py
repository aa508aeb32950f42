"""Drift checks hold verdicts by scene and findings on quality; what operators choose for them has a table."""

import sqlalchemy as sa
from alembic import op

revision = "r0009"
down_revision = "r0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both columns, empty for older checks, and the table."""
    op.add_column("drift_checks", sa.Column("scenes", sa.JSON(), nullable=True))
    op.add_column("drift_checks", sa.Column("quality", sa.JSON(), nullable=True))
    op.create_table(
        "drift_settings",
        sa.Column("setting_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("setting_id", name="pk_drift_settings"),
    )


def downgrade() -> None:
    """Take them away; the reference is the configured one again."""
    op.drop_table("drift_settings")
    op.drop_column("drift_checks", "quality")
    op.drop_column("drift_checks", "scenes")
