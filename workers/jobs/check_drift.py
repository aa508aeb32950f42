"""Job `check_drift`: the newest traffic against the reference."""

from collections.abc import Callable
from typing import Any

from trajops.contracts.drift import DriftCheckOut
from trajops.services.drift import DriftMonitor


def check_drift(monitor: DriftMonitor, observe: Callable[[DriftCheckOut], None]) -> dict[str, Any]:
    """Check once and tell the metrics; a repeated check is a further sample, not a double."""
    check = monitor.check()
    observe(check)
    return {
        "check_id": check.check_id,
        "verdict": check.verdict,
        "sentence": check.sentence,
        "current_agents": check.current_agents,
        "reference_agents": check.reference_agents,
        "flagged": [column.column for column in check.columns if column.is_drifted],
        "has_report": check.has_report,
    }
