"""A drift check keeps what it says of all traffic beside what it says at once, so that neither hides the other."""

import sqlalchemy as sa
from alembic import op

revision = "r0014"
down_revision = "r0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; empty in checks of the release before."""
    op.add_column("drift_checks", sa.Column("traffic_verdict", sa.String(32), nullable=True))


def downgrade() -> None:
    """Take it away."""
    op.drop_column("drift_checks", "traffic_verdict")
