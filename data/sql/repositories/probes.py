"""What probes found, one row a minute."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Float, case, cast, func, select

from data.sql.repositories.statements import insert_or
from data.sql.tables import probe_minutes
from trajops.objectives import Minutes, minute_of

_TABLE = probe_minutes.c


class SqlProbes:
    """Implements `trajops.stores.ProbeStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, at: datetime, *, is_good: bool, latency_ms: float | None, failure: str | None) -> None:
        """Count one probe in its minute, in one statement: two workers that probe at once both count."""
        first = insert_or(self._connection, probe_minutes).values(
            minute=minute_of(at), good=int(is_good), probes=1, slowest_ms=latency_ms, last_at=at, failure=failure
        )
        new, known = first.excluded, _TABLE.slowest_ms
        is_slower = known.is_(None) | (new.slowest_ms > known)
        counted = first.on_conflict_do_update(
            index_elements=["minute"],
            set_={
                "good": _TABLE.good + new.good,
                "probes": _TABLE.probes + 1,
                "slowest_ms": case((is_slower, new.slowest_ms), else_=known),
                "last_at": new.last_at,
                "failure": func.coalesce(new.failure, _TABLE.failure),
            },
        )
        self._connection.execute(counted)

    def summed(self, begin: int, end: int, *, least: int = 1) -> Minutes:
        """What the probes of a range add up to; in a minute that has fewer than `least`, those that it lacks count as good."""
        row = self._connection.execute(select(*_sums(least)).where(begin <= _TABLE.minute, _TABLE.minute < end)).one()
        return Minutes(row[0], float(row[1]), int(row[2]), row[3])

    def buckets(self, begin: int, end: int, width: int, *, least: int = 1) -> dict[int, Minutes]:
        """The same for each bucket of `width` minutes that has any, by its first minute."""
        bucket = ((_TABLE.minute - begin) // width).label("bucket")
        found = select(bucket, *_sums(least)).where(begin <= _TABLE.minute, _TABLE.minute < end).group_by(bucket)
        return {
            begin + width * int(number): Minutes(known, float(bad), int(probes), slowest)
            for number, known, bad, probes, slowest in self._connection.execute(found)
        }

    def first_minute(self) -> int | None:
        """Minute of the oldest probe on record."""
        first: int | None = self._connection.execute(select(func.min(_TABLE.minute))).scalar()
        return first

    def last_probe_at(self) -> datetime | None:
        """When the newest probe was sent."""
        last: datetime | None = self._connection.execute(select(_TABLE.last_at).order_by(_TABLE.minute.desc()).limit(1)).scalar()
        return last

    def last_failure(self) -> tuple[datetime, str] | None:
        """Minute and cause of the newest probe that was not good."""
        newest = select(_TABLE.minute, _TABLE.failure).where(_TABLE.failure.is_not(None)).order_by(_TABLE.minute.desc()).limit(1)
        row = self._connection.execute(newest).first()
        return None if row is None else (datetime.fromtimestamp(60 * row.minute, UTC), row.failure)


def _sums(least: int) -> tuple[ColumnElement[Any], ...]:
    """Columns of `Minutes`."""
    bad = cast(_TABLE.probes - _TABLE.good, Float) / case((_TABLE.probes < least, least), else_=_TABLE.probes)
    return func.count(), func.coalesce(func.sum(bad), 0.0), func.coalesce(func.sum(_TABLE.probes), 0), func.max(_TABLE.slowest_ms)
