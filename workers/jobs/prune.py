"""Job `prune`: the control state forgets what nobody needs any more. The lake has its own retention in the compactor."""

from datetime import timedelta
from typing import Any

from data.sql.engine import Database
from data.sql.retention import prune as prune_tables
from trajops.clock import now
from trajops.ports import Clock
from workers.schedules import Retention


def prune(database: Database, retention: Retention, clock: Clock) -> dict[str, Any]:
    """Prune once; idempotent."""
    present = now(clock)
    with database.unit_of_work() as work:
        return {
            "deleted": prune_tables(
                work.connection,
                at=present,
                runs_per_job=retention.runs_per_job,
                drift_checks_before=present - timedelta(days=retention.drift_checks_days),
                performance_checks_before=present - timedelta(days=retention.performance_checks_days),
                keys_before=present - timedelta(days=retention.idempotency_days),
                probes_before=present - timedelta(days=retention.probes_days),
                alerts_before=present - timedelta(days=retention.alerts_days),
            )
        }
