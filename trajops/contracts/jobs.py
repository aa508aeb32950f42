"""Jobs: what the workers do in the background, and how it went."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from trajops.contracts.wire import Wire

_TITLES = {
    "join_truth": "Score predictions",
    "compact_lake": "Compact the lake",
    "roll_up": "Sum up the lake",
    "check_drift": "Check for drift",
    "check_performance": "Compare with validation",
    "recalibrate": "Recalibrate intervals",
    "reconcile_aliases": "Match the registry",
    "prune": "Forget old records",
}


def job_title(job: str) -> str:
    """A job as a person calls it: `join_truth` scores predictions."""
    return _TITLES.get(job) or job.replace("_", " ").capitalize()


class JobRunOut(Wire):
    """One run of one job."""

    run_id: str
    job: str
    state: Literal["running", "succeeded", "failed"]
    holder: str
    started_at: AwareDatetime
    finished_at: AwareDatetime | None
    duration_s: float | None
    result: dict[str, Any] = Field(default_factory=dict)
    error: str | None


class JobOut(Wire):
    """One scheduled job with its last run."""

    job: str
    description: str
    every_s: float = Field(description="Its interval, or the longest gap between the times of `cron`.")
    cron: str | None = Field(default=None, description="Five fields, UTC; null where it runs at an interval.")
    last_run: JobRunOut | None
    last_success_at: AwareDatetime | None
    is_late: bool = Field(description="No success for three intervals.")


class JobsOut(Wire):
    """All jobs."""

    jobs: list[JobOut]
