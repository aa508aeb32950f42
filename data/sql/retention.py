"""What the control state forgets: job runs, checks, probes, idempotency keys and alerts that nobody needs any more."""

from datetime import datetime

from sqlalchemy import Connection, delete, func, select

from data.sql.tables import (
    alerts,
    drift_checks,
    idempotency_keys,
    job_runs,
    notification_alerts,
    notifications,
    performance_checks,
    probe_minutes,
    silences,
)
from trajops.objectives import minute_of


def prune(
    connection: Connection,
    *,
    at: datetime,
    runs_per_job: int,
    drift_checks_before: datetime,
    performance_checks_before: datetime,
    keys_before: datetime,
    probes_before: datetime,
    alerts_before: datetime,
) -> dict[str, int]:
    """Delete old rows; idempotent.

    Args:
        connection: of a transaction that may write.
        at: now.
        runs_per_job: newest runs of each job that stay; runs in progress stay in any case, and the last success, where jobs go on.
        drift_checks_before: checks made earlier than this go, but never the newest.
        performance_checks_before: the same, but never the newest of a version.
        keys_before: idempotency keys made earlier than this go.
        probes_before: minutes of probes earlier than this go.
        alerts_before: alerts, silences and notifications that were over earlier than this go; a dead letter is over when it was written.

    Returns:
        Number of deleted rows by table.
    """
    rank = func.row_number().over(partition_by=job_runs.c.job, order_by=job_runs.c.started_at.desc())
    ranked = select(job_runs.c.run_id, rank.label("rank")).subquery()
    surplus = select(ranked.c.run_id).where(ranked.c.rank > runs_per_job)
    successes = (
        select(job_runs.c.job, func.max(job_runs.c.started_at).label("started_at"))
        .where(job_runs.c.state == "succeeded", job_runs.c.started_at <= at)
        .group_by(job_runs.c.job)
        .subquery()
    )
    is_last_success = (
        select(successes.c.job).where(successes.c.job == job_runs.c.job, successes.c.started_at == job_runs.c.started_at).exists()
    )
    newest = select(func.max(drift_checks.c.at)).scalar_subquery()
    is_sent = notifications.c.state != "pending"
    kept = select(notifications.c.notification_id)
    latest = (
        select(performance_checks.c.model_name, performance_checks.c.model_version, func.max(performance_checks.c.at).label("at"))
        .group_by(performance_checks.c.model_name, performance_checks.c.model_version)
        .subquery()
    )
    is_latest = (
        select(latest.c.at)
        .where(
            latest.c.model_name == performance_checks.c.model_name,
            latest.c.model_version == performance_checks.c.model_version,
            latest.c.at == performance_checks.c.at,
        )
        .exists()
    )
    statements = {
        "job_runs": delete(job_runs).where(job_runs.c.run_id.in_(surplus), job_runs.c.state != "running", ~is_last_success),
        "drift_checks": delete(drift_checks).where(drift_checks.c.at < drift_checks_before, drift_checks.c.at < newest),
        "performance_checks": delete(performance_checks).where(performance_checks.c.at < performance_checks_before, ~is_latest),
        "idempotency_keys": delete(idempotency_keys).where(idempotency_keys.c.created_at < keys_before),
        "probe_minutes": delete(probe_minutes).where(probe_minutes.c.minute < minute_of(probes_before)),
        "alerts": delete(alerts).where(alerts.c.state == "resolved", alerts.c.resolved_at < alerts_before),
        "silences": delete(silences).where(silences.c.ends_at < alerts_before),
        "notifications": delete(notifications).where(is_sent, notifications.c.created_at < alerts_before),
        "notification_alerts": delete(notification_alerts).where(notification_alerts.c.notification_id.not_in(kept)),
    }
    return {table: connection.execute(statement).rowcount for table, statement in statements.items()}
