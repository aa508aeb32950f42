"""When a background job is late."""

from datetime import datetime, timedelta

from trajops.contracts.jobs import JobOut, JobRunOut
from trajops.records import JobSchedule

LATE_INTERVALS = 3


def job_out(schedule: JobSchedule, last_run: JobRunOut | None, first_started_at: datetime | None, now: datetime) -> JobOut:
    """A schedule with its last run, as the API shows it.

    A job is late when its last success, or its first start where it never succeeded, is more than three intervals
    ago. One that has never started is not late but without a run.
    """
    since = schedule.last_success_at or first_started_at
    return JobOut(
        job=schedule.job,
        description=schedule.description,
        every_s=schedule.every_s,
        cron=schedule.cron,
        last_run=last_run,
        last_success_at=schedule.last_success_at,
        is_late=since is not None and now - since > timedelta(seconds=LATE_INTERVALS * schedule.every_s),
    )
