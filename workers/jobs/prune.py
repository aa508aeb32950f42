"""Job `prune`: the control state forgets what nobody needs any more. The lake has its own retention in the compactor."""

from datetime import timedelta
from typing import Any

from data.sql.engine import Database
from data.sql.retention import prune as prune_tables
from data.tasks.files import TaskFiles
from trajops.clock import now
from trajops.ports import Clock
from trajops.tasks.lifecycle import ACTIVE
from workers.schedules import Retention

MOST = 10_000


def prune(database: Database, retention: Retention, clock: Clock, files: TaskFiles, uploads_s: float) -> dict[str, Any]:
    """Prune once; idempotent.

    Args:
        database: of the control state.
        retention: what is kept.
        clock: what time it is.
        files: of tasks.
        uploads_s: how long an uploaded file stays that no task waits for, seconds.
    """
    present = now(clock)
    with database.unit_of_work() as work:
        deleted = prune_tables(
            work.connection,
            at=present,
            runs_per_job=retention.runs_per_job,
            drift_checks_before=present - timedelta(days=retention.drift_checks_days),
            performance_checks_before=present - timedelta(days=retention.performance_checks_days),
            keys_before=present - timedelta(days=retention.idempotency_days),
            probes_before=present - timedelta(days=retention.probes_days),
            alerts_before=present - timedelta(days=retention.alerts_days),
        )
        tasks = work.tasks.forget(present - timedelta(days=retention.tasks_days))
        needed = {one.asked.file_id for one in work.tasks.newest(states=ACTIVE, limit=MOST) if one.asked.file_id is not None}
    for task_id in tasks:
        files.forget(task_id)
    return {"deleted": {**deleted, "tasks": len(tasks), "uploads": files.forget_uploads(uploads_s, needed)}}
