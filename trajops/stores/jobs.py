"""What the workers do, one at a time."""

from datetime import datetime
from typing import Any, Protocol

from trajops.contracts.jobs import JobOut, JobRunOut
from trajops.records import JobSchedule


class JobStore(Protocol):
    """What the workers do, how often, and how it went."""

    def describe(self, job: str, description: str, every_s: float, cron: str | None = None) -> None:
        """Write or replace a schedule; requests and successes stay."""
        ...

    def forget(self, job: str) -> None:
        """Take a schedule away; its runs stay, and an unknown job is no error."""
        ...

    def schedules(self) -> list[JobSchedule]:
        """All schedules by name."""
        ...

    def request(self, job: str, at: datetime) -> None:
        """Ask for a run outside the schedule.

        Raises:
            NotFound: if there is no such job.
        """
        ...

    def take_request(self, job: str) -> bool:
        """Whether a run was asked for; the request is taken away, so that one caller only gets True."""
        ...

    def schedule(self, job: str) -> JobSchedule:
        """One schedule.

        Raises:
            NotFound: if there is no such job.
        """
        ...

    def note_progress(self, job: str, at: datetime) -> None:
        """Say that a long run does what it should, so that the job is not late; an unknown job is no error."""
        ...

    def plan(self, job: str, due_at: datetime) -> None:
        """Write when a job is due next; an unknown job is no error."""
        ...

    def pause(self, job: str, *, at: datetime, by: str, reason: str) -> None:
        """Let a job run by hand only; an earlier pause is replaced.

        Raises:
            NotFound: if there is no such job.
        """
        ...

    def resume(self, job: str) -> None:
        """Let a paused job run by its schedule again; one that is not paused stays as it is.

        Raises:
            NotFound: if there is no such job.
        """
        ...

    def record_start(self, job: str, holder: str, at: datetime) -> JobRunOut:
        """A new run in state `running`."""
        ...

    def record_finish(self, run_id: str, at: datetime, *, result: dict[str, Any] | None = None, error: str | None = None) -> JobRunOut:
        """End a run: failed where there is an error, succeeded otherwise.

        Raises:
            NotFound: if there is no such run.
            Conflict: if it has ended already.
        """
        ...

    def runs(self, job: str, limit: int = 20, *, until: datetime | None = None) -> list[JobRunOut]:
        """Runs of one job, newest first; only those that began by `until`, where it is given."""
        ...

    def last_success(self, job: str, *, until: datetime | None = None) -> JobRunOut | None:
        """The newest run of one job that succeeded and is still on record; of those that began by `until`, where it is given."""
        ...

    def overview(self, now: datetime) -> list[JobOut]:
        """All jobs with their last run; late after three intervals without a success."""
        ...


class LeaseStore(Protocol):
    """One holder a job at a time. The fence grows with each new holder, so that a late one can be told."""

    def acquire(self, job: str, holder: str, now: datetime, expires_at: datetime) -> int | None:
        """Fence of a fresh lease; None while another one, also of the same holder, has not expired.

        How long a lease lasts is what its holder was promised, whatever the taker asks for. One that was promised later than `now` by more
        than `MOST_APART` is from before the clock was put back, and over.
        """
        ...

    def renew(self, job: str, holder: str, fence: int, now: datetime, expires_at: datetime) -> bool:
        """Extend a lease that nobody else has taken since, even if it has expired; False where it was lost, or given back."""
        ...

    def release(self, job: str, holder: str, fence: int, now: datetime) -> bool:
        """Give a lease back that nobody else has taken since; False where it was lost. The fence is kept."""
        ...

    def is_held(self, job: str, holder: str, fence: int) -> bool:
        """Whether a lease was neither lost nor given back; where it was not, nobody takes it before the transaction is over."""
        ...

    def holder(self, job: str, now: datetime) -> str | None:
        """Who holds a job's lease; None: nobody."""
        ...
