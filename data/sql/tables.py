"""Every table of the control state. Times are aware UTC; ids are text made by `new_id`."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
}
metadata = MetaData(naming_convention=NAMING)
# In the `info` of an index that only one database has: which one.
ONLY_ON = "only_on"


def new_id() -> str:
    """A fresh random id, 32 hexadecimal digits."""
    return uuid4().hex


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in, aware UTC out, also on SQLite, which stores no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times; store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        if value is None:
            return None
        time: datetime = value
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


users = Table(
    "users",
    metadata,
    Column("user_id", String(32), primary_key=True),
    Column("username", String(128), nullable=False, unique=True),
    Column("password_hash", String(256), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("disabled_at", UtcDateTime),
    Column("last_signed_in_at", UtcDateTime),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("key_hash", String(64), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("scopes", JSON(none_as_null=True)),
    Column("rate_per_s", Float),
    Column("burst", BigInteger),
    Column("last_used_at", UtcDateTime),
    Column("series_id", String(32)),
    Column("successor_id", String(32)),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("model_name", String(128), primary_key=True),
    Column("model_version", Integer, primary_key=True),
    Column("family", String(64), nullable=False),
    Column("run_id", String(64)),
    Column("metrics", JSON, nullable=False),
    Column("params", JSON, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("deleted_at", UtcDateTime),
)

validations = Table(
    "validations",
    metadata,
    Column("validation_id", String(32), primary_key=True),
    Column("model_name", String(128), nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("is_passed", Boolean, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("cause", String(16), nullable=False),
    Column("by", String(128), nullable=False),
    Column("about", JSON, nullable=False),
    Column("battery", JSON, nullable=False),
    Column("ranking", JSON, nullable=False),
    Column("card", Text, nullable=False),
    Index("ix_validations_model_version_at", "model_name", "model_version", "at"),
)

validation_requests = Table(
    "validation_requests",
    metadata,
    Column("model_name", String(128), primary_key=True),
    Column("model_version", Integer, primary_key=True),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("by", String(128), nullable=False),
    Column("job", String(64), nullable=False),
    Column("reason", Text, nullable=False),
)

deployments = Table(
    "deployments",
    metadata,
    Column("deployment_id", String(32), primary_key=True),
    Column("model_name", String(128), nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("model_name", "model_version"),
)

routes = Table(
    "routes",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("route", JSON, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("reason", Text, nullable=False),
)

AUDIT_WORDS = "ix_audit_entries_reason"


def _has_trigrams(
    ddl: Any,  # noqa: ARG001 - SQLAlchemy's signature
    target: Any,  # noqa: ARG001
    bind: Connection | None,
    tables: Any = None,  # noqa: ARG001
    state: Any = None,  # noqa: ARG001
    *,
    dialect: Dialect,
    **_: Any,
) -> bool:
    """Whether a PostgreSQL has the extension; one without does without the index, as in the migration."""
    found = "SELECT 1 FROM pg_opclass WHERE opcname = 'gin_trgm_ops' AND pg_opclass_is_visible(oid)"
    return dialect.name == "postgresql" and bind is not None and bind.scalar(text(found)) is not None


audit_entries = Table(
    "audit_entries",
    metadata,
    Column("audit_id", String(32), primary_key=True),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("actor", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(256), nullable=False),
    Column("reason", Text, nullable=False),
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
    # The operator class lets PostgreSQL find what begins so, in whatever language the database sorts.
    Index("ix_audit_entries_subject_at", "subject", "at", postgresql_ops={"subject": "text_pattern_ops"}),
    Index("ix_audit_entries_action_at", "action", "at", postgresql_ops={"action": "text_pattern_ops"}),
    Index("ix_audit_entries_actor_at", "actor", "at", postgresql_ops={"actor": "text_pattern_ops"}),
    # Words of the reason: SQLite reads through all reasons in the order of time, PostgreSQL looks up their trigrams.
    Index(AUDIT_WORDS, "at", "audit_id", "reason", info={ONLY_ON: "sqlite"}).ddl_if(dialect="sqlite"),
    Index(AUDIT_WORDS, "reason", postgresql_using="gin", postgresql_ops={"reason": "gin_trgm_ops"}, info={ONLY_ON: "postgresql"}).ddl_if(
        callable_=_has_trigrams
    ),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("actor", String(128), primary_key=True),
    Column("idempotency_key", String(128), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("response", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

job_leases = Table(
    "job_leases",
    metadata,
    Column("job", String(64), primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("promised_at", UtcDateTime),
)

job_runs = Table(
    "job_runs",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("job", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("holder", String(128), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("duration_s", Float),
    Column("result", JSON, nullable=False),
    Column("error", Text),
    Index("ix_job_runs_job_started_at", "job", "started_at"),
)

job_schedules = Table(
    "job_schedules",
    metadata,
    Column("job", String(64), primary_key=True),
    Column("description", Text, nullable=False),
    Column("every_s", Float, nullable=False),
    Column("cron", String(64)),
    Column("requested_at", UtcDateTime),
    Column("last_success_at", UtcDateTime),
    Column("next_due_at", UtcDateTime),
    Column("paused_at", UtcDateTime),
    Column("paused_by", String(128)),
    Column("pause_reason", Text),
)

probe_minutes = Table(
    "probe_minutes",
    metadata,
    Column("minute", BigInteger, primary_key=True, autoincrement=False),
    Column("good", Integer, nullable=False),
    Column("probes", Integer, nullable=False),
    Column("slowest_ms", Float),
    Column("last_at", UtcDateTime, nullable=False),
    Column("failure", Text),
)

drift_checks = Table(
    "drift_checks",
    metadata,
    Column("check_id", String(32), primary_key=True),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("verdict", String(32), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("reference_since", UtcDateTime),
    Column("reference_until", UtcDateTime),
    Column("current_since", UtcDateTime, nullable=False),
    Column("current_until", UtcDateTime, nullable=False),
    Column("reference_agents", Integer, nullable=False),
    Column("current_agents", Integer, nullable=False),
    Column("columns", JSON, nullable=False),
    Column("report_path", Text),
    Column("scenes", JSON(none_as_null=True)),
    Column("quality", JSON(none_as_null=True)),
    Column("traffic_verdict", String(32)),
)

drift_settings = Table(
    "drift_settings",
    metadata,
    Column("setting_id", Integer, primary_key=True, autoincrement=False),
    Column("settings", JSON, nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", String(32), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("rule", String(256), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("title", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("value", Float),
    Column("condition", String(64)),
    Column("opened_at", UtcDateTime),
    Column("clear_at", UtcDateTime),
    Column("acknowledged_at", UtcDateTime),
    Column("acknowledged_by", String(128)),
    Column("assigned_to", String(128)),
    Column("escalated_at", UtcDateTime),
    Column("resolved_at", UtcDateTime),
    Column("resolved_by", String(128)),
    Column("silence_id", String(32)),
    Column("runbook", Text),
    Column("link", Text),
    Column("marks", JSON, nullable=False),
    # Whether a receiver still has to hear that it is over.
    Column("is_end_untold", Boolean, nullable=False),
    Index("ix_alerts_state_resolved_at", "state", "resolved_at"),
)
is_unresolved = alerts.c.state != "resolved"
Index("uq_alerts_unresolved_fingerprint", alerts.c.fingerprint, unique=True, sqlite_where=is_unresolved, postgresql_where=is_unresolved)

silences = Table(
    "silences",
    metadata,
    Column("silence_id", String(32), primary_key=True),
    Column("matchers", JSON, nullable=False),
    Column("starts_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False, index=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("reason", Text, nullable=False),
)

notifications = Table(
    "notifications",
    metadata,
    Column("notification_id", String(32), primary_key=True),
    Column("receiver", String(64), nullable=False),
    Column("occasion", String(16), nullable=False),
    Column("group", JSON, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("title", Text, nullable=False),
    Column("alert_ids", JSON, nullable=False),
    Column("content", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("claimed_by", String(128)),
    Column("delivered_at", UtcDateTime),
    Column("error", Text),
    Index("ix_notifications_state_next_attempt_at", "state", "next_attempt_at"),
)

notification_alerts = Table(
    "notification_alerts",
    metadata,
    Column("alert_id", String(32), primary_key=True),
    Column("notification_id", String(32), primary_key=True, index=True),
)

performance_checks = Table(
    "performance_checks",
    metadata,
    Column("check_id", String(32), primary_key=True),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("model_name", String(128), nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("verdict", String(32), nullable=False),
    Column("body", JSON, nullable=False),
    Index("ix_performance_checks_model_name", "model_name", "model_version", "at"),
)

calibrations = Table(
    "calibrations",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("model_name", String(128), nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("factors", JSON, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("until", UtcDateTime, nullable=False),
    Column("fitted_agents", Integer, nullable=False),
    Column("holdout_agents", Integer, nullable=False),
    Column("nominal_coverage", Float, nullable=False),
    Column("coverage_before", Float, nullable=False),
    Column("coverage_after", Float, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("changed_by", String(128), nullable=False),
)

answers = Table(
    "answers",
    metadata,
    Column("answer_id", String(32), primary_key=True),
    Column("rule", String(64), nullable=False),
    Column("alert_id", String(32), nullable=False, unique=True),
    Column("alert_title", Text, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("alert_opened_at", UtcDateTime, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("steps", JSON, nullable=False),
    Column("decided_by", String(128)),
)

experiments = Table(
    "experiments",
    metadata,
    Column("experiment_id", String(32), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("plan", JSON, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("coverage", Float, nullable=False),
    Column("closed_arms", JSON, nullable=False),
    Column("seed", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("created_by", String(128), nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("winner", String(32)),
    Column("sentence", Text, nullable=False),
    Column("verdict", JSON),
)

experiment_verdicts = Table(
    "experiment_verdicts",
    metadata,
    Column("experiment_id", String(32), primary_key=True),
    Column("at", UtcDateTime, primary_key=True),
    Column("verdict", JSON, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("rollout_id", String(32), primary_key=True),
    Column("model_name", String(128), nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("body", JSON, nullable=False),
)
is_active = rollouts.c.state.in_(["running", "paused"])
Index("uq_rollouts_active_model", rollouts.c.model_name, unique=True, sqlite_where=is_active, postgresql_where=is_active)

tasks = Table(
    "tasks",
    metadata,
    Column("task_id", String(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("body", JSON, nullable=False),
)

lake_files = Table(
    "lake_files",
    metadata,
    Column("file_id", String(32), primary_key=True),
    Column("lake_table", String(32), nullable=False),
    Column("path", Text, nullable=False, unique=True),
    Column("day", String(10), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("min_received_ns", BigInteger, nullable=False),
    Column("max_received_ns", BigInteger, nullable=False),
    Column("is_live", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("retired_at", UtcDateTime),
    Index("ix_lake_files_lake_table_max_received_ns", "lake_table", "max_received_ns"),
)

lake_segments = Table(
    "lake_segments",
    metadata,
    Column("segment", String(256), primary_key=True),
    Column("lake_table", String(32), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("compacted_at", UtcDateTime, nullable=False),
    Column("is_deleted", Boolean, nullable=False),
)

lake_rollups = Table(
    "lake_rollups",
    metadata,
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("day", String(10), nullable=False, index=True),
    Column("path", Text, nullable=False),
    Column("definition", Integer, nullable=False),
    Column("predictions", BigInteger, nullable=False),
    Column("outcomes", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
