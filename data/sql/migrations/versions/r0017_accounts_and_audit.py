"""When people signed in last; and an audit of millions of entries is found by actor, action and what they begin with."""

import sqlalchemy as sa
from alembic import op

revision = "r0017"
down_revision = "r0015"
branch_labels = None
depends_on = None

_COLUMNS = ("actor", "action")


def upgrade() -> None:
    """Add the column, empty until the next sign-in, and the indices."""
    op.add_column("users", sa.Column("last_signed_in_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_index("ix_audit_entries_subject_at", "audit_entries")
    for column in ("subject", *_COLUMNS):
        op.create_index(f"ix_audit_entries_{column}_at", "audit_entries", [column, "at"], postgresql_ops={column: "text_pattern_ops"})


def downgrade() -> None:
    """Take them away."""
    for column in ("subject", *_COLUMNS):
        op.drop_index(f"ix_audit_entries_{column}_at", "audit_entries")
    op.create_index("ix_audit_entries_subject_at", "audit_entries", ["subject", "at"])
    op.drop_column("users", "last_signed_in_at")
