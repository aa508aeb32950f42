"""Jobs: what the workers do in the background, and how it went."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from trajops.contracts.wire import Reason, Wire

_TITLES = {
    "join_truth": "Score predictions",
    "compact_lake": "Compact the lake",
    "roll_up": "Sum up the lake",
    "check_drift": "Check for drift",
    "answer_alerts": "Follow the policy",
    "retrain": "Train a challenger",
    "evaluate_alerts": "Look at alert rules",
    "deliver_alerts": "Deliver notifications",
    "check_performance": "Compare with validation",
    "recalibrate": "Recalibrate intervals",
    "judge_experiments": "Judge what is compared",
    "advance_rollouts": "Take rollouts further",
    "validate_versions": "Validate model versions",
    "run_tasks": "Run batch and training jobs",
    "shadow": "Predict in shadow",
    "reconcile_aliases": "Match the registry",
    "prune": "Forget old records",
    "probe": "Probe the API",
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
    is_late: bool = Field(description="No success for three intervals; a paused job is not late.")
    next_due_at: AwareDatetime | None = Field(default=None, description="Null while it is paused, or has not been planned yet.")
    paused_at: AwareDatetime | None = Field(default=None, description="Since when it runs by hand only; null: it is not paused.")
    paused_by: str | None = None
    pause_reason: str | None = None


class JobsOut(Wire):
    """All jobs."""

    jobs: list[JobOut]


class JobRunsOut(Wire):
    """The newest runs of one job, and what they add up to."""

    job: JobOut
    holder: str | None = Field(description="The worker that holds the job's lease, because it runs it now; null: nobody does.")
    runs: list[JobRunOut] = Field(description="Newest first.")
    success_share: float | None = Field(description="Of the runs above that have ended; null where none has.")
    duration_p50_s: float | None
    duration_p95_s: float | None


class PauseIn(Wire):
    """Why a job is paused or resumed."""

    reason: Reason
