"""What the page of training runs reads."""

from typing import NamedTuple

from console import session
from trajops.contracts.runs import RunDetailOut, RunsOut

NEWEST = 100
LIST_AGE_S, ONE_AGE_S = 8.0, 60.0


class Filters(NamedTuple):
    """What is asked for; None leaves a filter out."""

    family: str | None = None
    dataset: str | None = None
    status: str | None = None
    text: str | None = None


NO_FILTERS = Filters()


def read_runs(filters: Filters = NO_FILTERS, limit: int = NEWEST) -> session.Fetched[RunsOut]:
    """The newest runs that the filters let through."""
    key = f"runs:{filters}:{limit}"
    return session.fetch(key, lambda c: c.runs(**filters._asdict(), limit=limit), max_age_s=LIST_AGE_S)


def read_run(run_id: str) -> session.Fetched[RunDetailOut]:
    """One run with its curves."""
    return session.fetch(f"run:{run_id}", lambda c: c.run(run_id), max_age_s=ONE_AGE_S)
