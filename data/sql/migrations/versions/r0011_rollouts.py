"""Rollouts."""

import sqlalchemy as sa
from alembic import op

revision = "r0011"
down_revision = "r0010"
branch_labels = None
depends_on = None

ACTIVE = sa.text("state IN ('running', 'paused')")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the table; the release before does not know it, and sees the experiments that rollouts begin."""
    op.create_table(
        "rollouts",
        sa.Column("rollout_id", sa.String(length=32), nullable=False),
        sa.Column("model_name", sa.String(length=128), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", name="pk_rollouts"),
    )
    op.create_index("ix_rollouts_created_at", "rollouts", ["created_at"])
    op.create_index("uq_rollouts_active_model", "rollouts", ["model_name"], unique=True, sqlite_where=ACTIVE, postgresql_where=ACTIVE)


def downgrade() -> None:
    """Take it away; what was changed is in the audit, and what is being compared goes on as an experiment."""
    op.drop_index("uq_rollouts_active_model", "rollouts")
    op.drop_index("ix_rollouts_created_at", "rollouts")
    op.drop_table("rollouts")
