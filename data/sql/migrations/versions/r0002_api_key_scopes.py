"""API keys get scopes, limits, a time of last use, and rotations.

Every column may be empty, and empty means what a key meant before: all that its role may, everybody's limit. So the release
before this one goes on reading and writing keys while both run.
"""

import sqlalchemy as sa
from alembic import op

revision = "r0002"
down_revision = "r0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("api_keys", sa.Column("scopes", sa.JSON(), nullable=True))
    op.add_column("api_keys", sa.Column("rate_per_s", sa.Float(), nullable=True))
    op.add_column("api_keys", sa.Column("burst", sa.BigInteger(), nullable=True))
    op.add_column("api_keys", sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("api_keys", sa.Column("series_id", sa.String(length=32), nullable=True))
    op.add_column("api_keys", sa.Column("successor_id", sa.String(length=32), nullable=True))


def downgrade() -> None:
    """Take the columns away; keys that were restricted may then do all that their role may, so revoke those before."""
    for column in ("successor_id", "series_id", "last_used_at", "burst", "rate_per_s", "scopes"):
        op.drop_column("api_keys", column)
