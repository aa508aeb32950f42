"""Job leases: one statement each, so that two processes can never both succeed."""

from datetime import datetime

from sqlalchemy import Connection, select, update

from data.sql.repositories.statements import insert_or
from data.sql.tables import job_leases


class SqlLeases:
    """Implements `trajops.ports.LeaseStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def acquire(self, job: str, holder: str, now: datetime, expires_at: datetime) -> int | None:
        """Fence of a fresh lease; None while another one, also of the same holder, has not expired."""
        first = insert_or(self._connection, job_leases).values(job=job, holder=holder, fence=1, expires_at=expires_at)
        taken = first.on_conflict_do_update(
            index_elements=["job"],
            set_={"holder": holder, "fence": job_leases.c.fence + 1, "expires_at": expires_at},
            where=job_leases.c.expires_at <= now,
        )
        fence: int | None = self._connection.execute(taken.returning(job_leases.c.fence)).scalar()
        return fence

    def renew(self, job: str, holder: str, fence: int, now: datetime, expires_at: datetime) -> bool:
        """Extend a lease that is still held."""
        return self._change(job, holder, fence, now, expires_at)

    def release(self, job: str, holder: str, fence: int, now: datetime) -> bool:
        """End a lease that is still held; the row stays, so that the fence goes on growing."""
        return self._change(job, holder, fence, now, now)

    def holder(self, job: str, now: datetime) -> str | None:
        """Who holds a job's lease; None: nobody."""
        found = select(job_leases.c.holder).where(job_leases.c.job == job, job_leases.c.expires_at > now)
        name: str | None = self._connection.execute(found).scalar()
        return name

    def _change(self, job: str, holder: str, fence: int, now: datetime, expires_at: datetime) -> bool:
        is_held = (
            job_leases.c.job == job,
            job_leases.c.holder == holder,
            job_leases.c.fence == fence,
            job_leases.c.expires_at > now,
        )
        changed = update(job_leases).where(*is_held).values(expires_at=expires_at).returning(job_leases.c.job)
        return self._connection.execute(changed).first() is not None
