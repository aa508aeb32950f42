"""Job leases: one statement each, so that two processes can never both succeed."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, update

from data.sql.repositories.statements import insert_or
from data.sql.tables import job_leases
from trajops.clock import MOST_APART

# Holder of a lease that was given back.
NOBODY = ""


class SqlLeases:
    """Implements `trajops.ports.LeaseStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def acquire(self, job: str, holder: str, now: datetime, expires_at: datetime) -> int | None:
        """Fence of a fresh lease; None while another one, also of the same holder, has not expired.

        One that was promised further ahead than clocks differ is of somebody who is gone, from before the clock was put back: a living
        holder renews it by the clock as it is.
        """
        is_over = (job_leases.c.expires_at <= now) | (job_leases.c.promised_at > now + MOST_APART)
        first = insert_or(self._connection, job_leases).values(job=job, holder=holder, fence=1, expires_at=expires_at, promised_at=now)
        taken = first.on_conflict_do_update(
            index_elements=["job"],
            set_={"holder": holder, "fence": job_leases.c.fence + 1, "expires_at": expires_at, "promised_at": now},
            where=(job_leases.c.holder == NOBODY) | is_over,
        )
        fence: int | None = self._connection.execute(taken.returning(job_leases.c.fence)).scalar()
        return fence

    def renew(self, job: str, holder: str, fence: int, now: datetime, expires_at: datetime) -> bool:
        """Extend a lease that nobody else has taken since."""
        return self._change(job, holder, fence, expires_at=expires_at, promised_at=now)

    def release(self, job: str, holder: str, fence: int, now: datetime) -> bool:
        """Give a lease back that nobody else has taken since; the row stays, so that the fence goes on growing."""
        return self._change(job, holder, fence, expires_at=now, holder=NOBODY)

    def is_held(self, job: str, holder: str, fence: int) -> bool:
        """Whether a lease was neither lost nor given back; where it was not, nobody takes it before the transaction is over."""
        found = select(job_leases.c.job).where(*_is(job, holder, fence)).with_for_update(read=True)
        return self._connection.execute(found).first() is not None

    def holder(self, job: str, now: datetime) -> str | None:
        """Who holds a job's lease; None: nobody."""
        found = select(job_leases.c.holder).where(job_leases.c.job == job, job_leases.c.holder != NOBODY, job_leases.c.expires_at > now)
        name: str | None = self._connection.execute(found).scalar()
        return name

    def _change(self, job: str, of: str, fence: int, **values: Any) -> bool:
        changed = update(job_leases).where(*_is(job, of, fence)).values(**values).returning(job_leases.c.job)
        return self._connection.execute(changed).first() is not None


def _is(job: str, holder: str, fence: int) -> tuple[ColumnElement[bool], ...]:
    return job_leases.c.job == job, job_leases.c.holder == holder, job_leases.c.fence == fence
