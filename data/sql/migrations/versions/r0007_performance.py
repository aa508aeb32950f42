"""Verdicts on live performance, and calibrations of served versions."""

import sqlalchemy as sa
from alembic import op

revision = "r0007"
down_revision = "r0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both tables; the release before does not know them and serves versions as they were trained."""
    op.create_table(
        "performance_checks",
        sa.Column("check_id", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model_name", sa.String(length=128), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(length=32), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("check_id", name="pk_performance_checks"),
    )
    op.create_index("ix_performance_checks_at", "performance_checks", ["at"])
    op.create_index("ix_performance_checks_model_name", "performance_checks", ["model_name", "model_version", "at"])
    op.create_table(
        "calibrations",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("model_name", sa.String(length=128), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("factors", sa.JSON(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fitted_agents", sa.Integer(), nullable=False),
        sa.Column("holdout_agents", sa.Integer(), nullable=False),
        sa.Column("nominal_coverage", sa.Float(), nullable=False),
        sa.Column("coverage_before", sa.Float(), nullable=False),
        sa.Column("coverage_after", sa.Float(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_calibrations"),
    )
    op.create_index("ix_calibrations_state", "calibrations", ["state"])


def downgrade() -> None:
    """Take them away: verdicts are made anew, and versions are served as they were trained."""
    op.drop_index("ix_calibrations_state", "calibrations")
    op.drop_table("calibrations")
    op.drop_index("ix_performance_checks_model_name", "performance_checks")
    op.drop_index("ix_performance_checks_at", "performance_checks")
    op.drop_table("performance_checks")
