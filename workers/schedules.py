"""How often each job runs: the model of `configs/schedules.yaml`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from trajops.configs import Config

JobName = Literal["compact_lake", "roll_up", "join_truth", "check_drift", "reconcile_aliases", "prune"]


class Schedule(Config):
    """When one job runs. A run that was missed is made up for once, however many were missed."""

    description: str = Field(min_length=10, description="Shown on the console's Services page.")
    every_s: float = Field(gt=0, le=86_400)
    jitter_s: float = Field(default=0.0, ge=0, description="Each start is moved by up to this, so that workers do not meet.")
    retry_s: float | None = Field(default=None, gt=0, description="A failed run is tried again this soon; else at its next turn.")
    lease_s: float = Field(default=30.0, ge=1, description="How long a killed worker blocks the job; a living one renews.")
    timeout_s: float = Field(default=600.0, gt=0, description="A run that takes longer is given up and counts as failed.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.jitter_s > self.every_s / 4:
            raise ValueError(f"jitter_s ({self.jitter_s:g}) cannot be more than a quarter of every_s ({self.every_s:g})")
        if self.retry_s is not None and self.retry_s >= self.every_s:
            raise ValueError(f"retry_s ({self.retry_s:g}) must be below every_s ({self.every_s:g}); leave it out otherwise")
        return self


class Retention(Config):
    """What is kept of the lake and of the control state."""

    # Rows; what they add up to is kept for good.
    lake_days: float = Field(default=90.0, gt=1)

    runs_per_job: int = Field(default=500, ge=10)
    drift_checks_days: float = Field(default=3.0, gt=0)
    idempotency_days: float = Field(default=2.0, gt=0)


class Schedules(Config):
    """All of `configs/schedules.yaml`. A job that is not named does not run."""

    jobs: dict[JobName, Schedule] = Field(min_length=1)
    retention: Retention = Field(default_factory=Retention)
