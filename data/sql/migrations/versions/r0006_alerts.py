"""Alerts, silences, and the outbox of notifications."""

import sqlalchemy as sa
from alembic import op

revision = "r0006"
down_revision = "r0005"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the tables; the release before knows none of them."""
    op.create_table(
        "alerts",
        sa.Column("alert_id", sa.String(length=32), primary_key=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("rule", sa.String(length=256), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("value", sa.Float()),
        sa.Column("condition", sa.String(length=64)),
        sa.Column("opened_at", TIME),
        sa.Column("clear_at", TIME),
        sa.Column("acknowledged_at", TIME),
        sa.Column("acknowledged_by", sa.String(length=128)),
        sa.Column("assigned_to", sa.String(length=128)),
        sa.Column("escalated_at", TIME),
        sa.Column("resolved_at", TIME),
        sa.Column("resolved_by", sa.String(length=128)),
        sa.Column("silence_id", sa.String(length=32)),
        sa.Column("runbook", sa.Text()),
        sa.Column("link", sa.Text()),
        sa.Column("marks", sa.JSON(), nullable=False),
        sa.Column("is_end_untold", sa.Boolean(), nullable=False),
    )
    op.create_index("ix_alerts_state_resolved_at", "alerts", ["state", "resolved_at"])
    is_unresolved = sa.text("state != 'resolved'")
    op.create_index(
        "uq_alerts_unresolved_fingerprint",
        "alerts",
        ["fingerprint"],
        unique=True,
        sqlite_where=is_unresolved,
        postgresql_where=is_unresolved,
    )
    op.create_table(
        "silences",
        sa.Column("silence_id", sa.String(length=32), primary_key=True),
        sa.Column("matchers", sa.JSON(), nullable=False),
        sa.Column("starts_at", TIME, nullable=False),
        sa.Column("ends_at", TIME, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
    )
    op.create_index("ix_silences_ends_at", "silences", ["ends_at"])
    op.create_table(
        "notifications",
        sa.Column("notification_id", sa.String(length=32), primary_key=True),
        sa.Column("receiver", sa.String(length=64), nullable=False),
        sa.Column("occasion", sa.String(length=16), nullable=False),
        sa.Column("group", sa.JSON(), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("alert_ids", sa.JSON(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("next_attempt_at", TIME, nullable=False),
        sa.Column("claimed_by", sa.String(length=128)),
        sa.Column("delivered_at", TIME),
        sa.Column("error", sa.Text()),
    )
    op.create_index("ix_notifications_created_at", "notifications", ["created_at"])
    op.create_index("ix_notifications_state_next_attempt_at", "notifications", ["state", "next_attempt_at"])
    op.create_table(
        "notification_alerts",
        sa.Column("alert_id", sa.String(length=32), primary_key=True),
        sa.Column("notification_id", sa.String(length=32), primary_key=True),
    )
    op.create_index("ix_notification_alerts_notification_id", "notification_alerts", ["notification_id"])
    op.create_index("ix_audit_entries_subject_at", "audit_entries", ["subject", "at"])


def downgrade() -> None:
    """Take them away: what is on its way then is not delivered any more."""
    op.drop_index("ix_audit_entries_subject_at", "audit_entries")
    for table in ("notification_alerts", "notifications", "silences", "alerts"):
        op.drop_table(table)
