"""Job leases: whoever holds a job's lease may run it, everybody else leaves it alone.

A lease ends by itself, so that a killed worker blocks nobody for longer than its time to live. Each new holder gets a
higher fence. A holder that was stopped for longer than that (a sleeping machine) is found out by its old fence: what a
job writes to SQL goes through `fenced`, which commits only while the lease is held.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from trajops.clock import SystemClock, now
from trajops.errors import Conflict, TrajOpsError, Unavailable
from trajops.ports import Clock
from trajops.stores import UnitOfWork, UnitOfWorkFactory


class Leases:
    """Leases over SQL, all with the time of one injected clock."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, clock: Clock | None = None) -> None:
        self._unit_of_work = unit_of_work
        self._clock: Clock = clock or SystemClock()

    def acquire(self, job: str, holder: str, ttl_s: float) -> int | None:
        """Fence of a fresh lease; None while anybody, also this holder, has one."""
        present = now(self._clock)
        with self._unit_of_work() as uow:
            return uow.leases.acquire(job, holder, present, present + timedelta(seconds=ttl_s))

    def renew(self, job: str, holder: str, fence: int, ttl_s: float) -> bool:
        """Extend a lease from now on; False when it was lost."""
        with self._unit_of_work() as uow:
            return self._renew(uow, job, holder, fence, ttl_s)

    def release(self, job: str, holder: str, fence: int) -> bool:
        """Give a lease back; False when it was lost before."""
        with self._unit_of_work() as uow:
            return uow.leases.release(job, holder, fence, now(self._clock))

    @contextmanager
    def fenced(self, job: str, holder: str, fence: int, ttl_s: float) -> Iterator[UnitOfWork]:
        """A unit of work that commits only while the lease is held: nobody can take it over before the commit.

        Raises:
            Conflict: if the lease was lost; nothing is written.
        """
        with self._unit_of_work() as uow:
            if not self._renew(uow, job, holder, fence, ttl_s):
                raise Conflict(f"{holder} has lost the lease on {job} (fence {fence}); its results are thrown away")
            yield uow

    @contextmanager
    def held(self, job: str, holder: str, ttl_s: float) -> Iterator[int | None]:
        """The fence while the block runs, None when somebody else has the lease; renewed three times a life by a thread.

        A lease that cannot be renewed in time is lost; the block is not interrupted, its fenced writes fail.
        """
        fence = self.acquire(job, holder, ttl_s)
        if fence is None:
            yield None
            return
        has_ended = threading.Event()
        renewal = threading.Thread(target=self._keep, args=(job, holder, fence, ttl_s, has_ended), name=f"lease-{job}", daemon=True)
        renewal.start()
        try:
            yield fence
        finally:
            has_ended.set()
            renewal.join()
            with suppress(Unavailable):  # then it ends by itself
                self.release(job, holder, fence)

    def _renew(self, uow: UnitOfWork, job: str, holder: str, fence: int, ttl_s: float) -> bool:
        present = now(self._clock)
        return uow.leases.renew(job, holder, fence, present, present + timedelta(seconds=ttl_s))

    def _keep(self, job: str, holder: str, fence: int, ttl_s: float, has_ended: threading.Event) -> None:
        while not has_ended.wait(ttl_s / 3):
            try:
                if not self.renew(job, holder, fence, ttl_s):
                    return
            except TrajOpsError:
                continue  # the database is away for a moment: the next turn may come in time
