"""Job `run_tasks`: batch forecasts, training runs and evaluations that people ask for, one at a time over all workers."""

from typing import Any

from workers.tasks.supervise import Supervisor


def run_tasks(supervisor: Supervisor) -> dict[str, Any]:
    """Run the task that has waited longest to its end."""
    return supervisor.run()
