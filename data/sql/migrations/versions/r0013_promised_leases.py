"""A lease says when it was promised, so that who wants it need not guess from settings of their own."""

import sqlalchemy as sa
from alembic import op

revision = "r0013"
down_revision = "r0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; empty where the release before has made the row, which is over when it expires and not before."""
    op.add_column("job_leases", sa.Column("promised_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Take it away."""
    op.drop_column("job_leases", "promised_at")
