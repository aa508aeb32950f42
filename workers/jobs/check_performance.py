"""Job `check_performance`: the newest scored predictions of each version against the figures of its validation."""

from collections.abc import Callable, Sequence
from typing import Any

from trajops.contracts.performance import PerformanceCheckOut
from trajops.ports import Clock
from trajops.services.performance import Performance


def check_performance(performance: Performance, clock: Clock, observe: Callable[[Sequence[PerformanceCheckOut]], None]) -> dict[str, Any]:
    """Check once and tell the metrics; a repeated check is a further sample, not a double."""
    checks = performance.check(clock)
    observe(checks)
    said = " ".join(check.sentence for check in checks)
    return {
        "sentence": said or "No prediction of the window has its truth yet, so that nothing can be judged.",
        "verdicts": {f"{check.model_name}/{check.model_version}": check.verdict for check in checks},
        "agents": sum(check.agents for check in checks),
        "predictions": sum(check.predictions for check in checks),
    }
