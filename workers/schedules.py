"""When each job runs: the model of `configs/schedules.yaml`."""

from datetime import UTC, datetime, timedelta
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from trajops.config_model import Config, Count, Days, Seconds
from workers.triggers import cron_trigger, longest_gap_s, next_time, shortest_gap_s

JobName = Literal[
    "compact_lake",
    "roll_up",
    "join_truth",
    "check_drift",
    "answer_alerts",
    "retrain",
    "reconcile_aliases",
    "prune",
    "probe",
    "evaluate_alerts",
    "deliver_alerts",
    "check_performance",
    "recalibrate",
    "judge_experiments",
    "advance_rollouts",
    "shadow",
    "validate_versions",
    "run_tasks",
]

# A time counts as missed when no worker has begun so long after it, seconds.
PUNCTUAL_S = 60.0
# Missed times are counted up to here: after a year of downtime nobody needs the exact number.
MOST_MISSED = 10_000


class Schedule(Config):
    """When one job runs: at an interval, or at times. It runs once at a time, whoever asks, on whichever worker."""

    description: str = Field(min_length=10, description="Shown on the console's Services page.")
    every_s: float | None = Field(default=None, ge=0.001, le=86_400, description="Interval; either this or `cron`.")
    cron: str | None = Field(default=None, description="Five fields, UTC, as in a crontab: `0 3 * * 0` is each Sunday at three.")
    missed: Literal["run", "skip"] = Field(
        default="run", description="Times that passed while no worker ran: run once for all of them, or wait for the next."
    )
    overlap: Literal["skip", "queue"] = Field(default="skip", description="Times that come during a run: pass over them, or run again.")
    jitter_s: Seconds = Field(default=0.0, ge=0, description="Each start is delayed by up to this, so that workers do not meet.")
    retry_s: Seconds | None = Field(default=None, gt=0, description="A failed run is tried again this soon; else at its next turn.")
    lease_s: float = Field(default=30.0, ge=1, le=3_600, description="How long a killed worker blocks the job; a living one renews.")
    timeout_s: Seconds = Field(default=600.0, gt=0, description="A run that takes longer is given up and counts as failed.")

    @property
    def interval_s(self) -> float:
        """Its interval, or the longest gap between its times, seconds."""
        if self.cron is not None:
            return longest_gap_s(self.cron, datetime.now(UTC))
        assert self.every_s is not None
        return self.every_s

    def is_due(self, last_started_at: datetime | None, at: datetime) -> bool:
        """Whether it is time to run, after a run on whichever worker; two workers do not double the pace."""
        if self.cron is None:
            # Both workers keep the interval, with a jitter of their own.
            return last_started_at is None or at - last_started_at >= timedelta(seconds=0.9 * self.interval_s - 2 * self.jitter_s)
        since = at - timedelta(seconds=PUNCTUAL_S + self.jitter_s)
        if last_started_at is not None and (self.missed == "run" or last_started_at > since):
            since = last_started_at
        return next_time(self.cron, since) <= at

    def has_come(self, due_at: datetime, ended_at: datetime | None, at: datetime) -> bool:
        """Whether a time that stands on record has come, and is not missed and to be passed over.

        One that came during the last run, which ended at `ended_at`, is not missed before a worker could have begun it.
        """
        could_begin_at = due_at if ended_at is None else max(due_at, ended_at)
        return due_at <= at and (self.missed == "run" or not self.is_missed(could_begin_at, at))

    def next_due(self, last_started_at: datetime | None, at: datetime) -> datetime:
        """When the job is due next: the first of its times after the last run, or one interval after it; a new job at once."""
        if self.cron is not None:
            return next_time(self.cron, at if last_started_at is None else last_started_at)
        return at if last_started_at is None else last_started_at + timedelta(seconds=self.interval_s)

    def due_after(self, started_at: datetime, ended_at: datetime, *, is_failed: bool) -> datetime:
        """When the job is due after a run that has ended: soon if it failed and is retried, else at its next time.

        Times that passed during the run are passed over or, with `overlap: queue`, stand for one that is due at once.
        """
        due_at = self.next_due(started_at, ended_at)
        is_retried = is_failed and self.retry_s is not None
        if due_at <= ended_at and (self.overlap == "skip" or is_retried):
            due_at = next_time(self.cron, ended_at) if self.cron is not None else due_at + self._whole_intervals(due_at, ended_at)
        if is_retried:
            assert self.retry_s is not None
            due_at = min(due_at, ended_at + timedelta(seconds=self.retry_s))
        return due_at

    def _whole_intervals(self, due_at: datetime, at: datetime) -> timedelta:
        """As many intervals as lead from a time that has passed to the first one that has not."""
        interval = timedelta(seconds=self.interval_s)
        return ((at - due_at) // interval + 1) * interval

    def is_missed(self, due_at: datetime, at: datetime) -> bool:
        """Whether a time has passed without a run, for longer than workers take to begin one."""
        return at - due_at > timedelta(seconds=max(PUNCTUAL_S, 0.0 if self.every_s is None else self.every_s) + self.jitter_s)

    def missed_times(self, due_at: datetime, at: datetime) -> int:
        """How many of its times passed between the one at which it was due and now, that one not counted."""
        if self.cron is None:
            return max(0, int((at - due_at).total_seconds() // self.interval_s))
        count, due_at = 0, next_time(self.cron, due_at)
        while due_at <= at and count < MOST_MISSED:
            count, due_at = count + 1, next_time(self.cron, due_at)
        return count

    @field_validator("cron")
    @classmethod
    def _is_understood(cls, value: str | None) -> str | None:
        if value is not None:
            cron_trigger(value)
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.every_s is None) == (self.cron is None):
            raise ValueError("give either every_s or cron, and not both")
        if self.cron is not None:
            gap_s = shortest_gap_s(self.cron, datetime.now(UTC))
            if self.jitter_s > gap_s / 4:
                raise ValueError(
                    f"jitter_s ({self.jitter_s:g}) cannot be more than a quarter of the shortest gap between times ({gap_s:g} s)"
                )
            return self
        if self.missed == "skip":
            raise ValueError("missed: skip is for cron; an interval that has passed is over, and the job due")
        assert self.every_s is not None
        if self.jitter_s > self.every_s / 4:
            raise ValueError(f"jitter_s ({self.jitter_s:g}) cannot be more than a quarter of every_s ({self.every_s:g})")
        if self.retry_s is not None and self.retry_s >= self.every_s:
            raise ValueError(f"retry_s ({self.retry_s:g}) must be below every_s ({self.every_s:g}); leave it out otherwise")
        return self


class Retention(Config):
    """What is kept of the lake and of the control state."""

    # Rows; what they add up to is kept for good.
    lake_days: Days = Field(default=90.0, gt=1)

    runs_per_job: Count = Field(default=500, ge=10)
    drift_checks_days: Days = Field(default=3.0, gt=0)
    performance_checks_days: Days = Field(default=3.0, gt=0)
    idempotency_days: Days = Field(default=2.0, gt=0)
    # Longer than the window of the objective.
    probes_days: Days = Field(default=35.0, ge=31)
    # After their end: tasks with their logs and results.
    tasks_days: Days = Field(default=30.0, gt=0)
    # After their end: alerts, silences and what was sent about them.
    alerts_days: Days = Field(default=90.0, gt=0)


class Schedules(Config):
    """All of `configs/schedules.yaml`. A job that is not named does not run."""

    jobs: dict[JobName, Schedule] = Field(min_length=1)
    retention: Retention = Field(default_factory=Retention)
