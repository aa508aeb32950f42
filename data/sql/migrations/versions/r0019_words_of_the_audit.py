"""Words in the reasons of an audit of millions of entries are found by an index."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError

revision = "r0019"
down_revision = "r0018"
branch_labels = None
depends_on = None

_INDEX = "ix_audit_entries_reason"


def upgrade() -> None:
    """Add the index; on a PostgreSQL without the extension pg_trgm, or that lets this user add none, do without."""
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        op.create_index(_INDEX, "audit_entries", ["at", "audit_id", "reason"])
        return
    try:
        with connection.begin_nested():
            connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
    except DBAPIError:
        return
    # It may lie in a schema that this user does not look into.
    visible = sa.text("SELECT 1 FROM pg_opclass WHERE opcname = 'gin_trgm_ops' AND pg_opclass_is_visible(oid)")
    if connection.scalar(visible) is None:
        return
    op.create_index(_INDEX, "audit_entries", ["reason"], postgresql_using="gin", postgresql_ops={"reason": "gin_trgm_ops"})


def downgrade() -> None:
    """Take it away; the extension stays, because others may use it."""
    op.drop_index(_INDEX, "audit_entries", if_exists=True)
