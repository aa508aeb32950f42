"""Fencing: what a job writes to SQL is committed only while its lease is held.

A lease ends by itself, so that a killed worker blocks nobody for longer than its time to live. Each new holder gets a higher fence. A
worker that was stopped for longer than that (a sleeping machine) is found out by its old fence when it goes on; as long as nobody has
taken its place, it has lost nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from trajops.errors import Conflict
from trajops.stores import UnitOfWork, UnitOfWorkFactory


class Held(NamedTuple):
    """One holder's time with the lease of a job."""

    job: str
    holder: str
    fence: int


_HELD: ContextVar[Held | None] = ContextVar("held", default=None)


@contextmanager
def under(held: Held) -> Iterator[None]:
    """Within the block, in this thread, units of work from `fenced` belong to this lease."""
    before = _HELD.set(held)
    try:
        yield
    finally:
        _HELD.reset(before)


def fenced(unit_of_work: UnitOfWorkFactory) -> UnitOfWorkFactory:
    """A factory whose units of work commit only while the lease that they are under is held; nobody can take it over before the commit.

    Raises:
        Conflict: at the end of a unit of work, if the lease was lost; nothing is written then.
    """

    @contextmanager
    def begin(*, read_only: bool = False) -> Iterator[UnitOfWork]:
        with unit_of_work(read_only=read_only) as work:
            yield work
            held = _HELD.get()
            if not read_only and held is not None and not work.leases.is_held(*held):
                raise Conflict(f"{held.holder} has lost the lease on {held.job} (fence {held.fence}); its results are thrown away")

    return begin
