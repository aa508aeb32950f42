"""What versions were held against before they were staged."""

import sqlalchemy as sa
from alembic import op

revision = "r0012"
down_revision = "r0011"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add both tables; the release before does not know them and stages whatever is registered."""
    op.create_table(
        "validations",
        sa.Column("validation_id", sa.String(length=32), nullable=False),
        sa.Column("model_name", sa.String(length=128), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("is_passed", sa.Boolean(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("cause", sa.String(length=16), nullable=False),
        sa.Column("by", sa.String(length=128), nullable=False),
        sa.Column("about", sa.JSON(), nullable=False),
        sa.Column("battery", sa.JSON(), nullable=False),
        sa.Column("ranking", sa.JSON(), nullable=False),
        sa.Column("card", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("validation_id", name="pk_validations"),
    )
    op.create_index("ix_validations_model_version_at", "validations", ["model_name", "model_version", "at"])
    op.create_table(
        "validation_requests",
        sa.Column("model_name", sa.String(length=128), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("asked_at", TIME, nullable=False),
        sa.Column("by", sa.String(length=128), nullable=False),
        sa.Column("job", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model_name", "model_version", name="pk_validation_requests"),
    )


def downgrade() -> None:
    """Take them away; what was decided by them is in the audit."""
    op.drop_table("validation_requests")
    op.drop_index("ix_validations_model_version_at", "validations")
    op.drop_table("validations")
