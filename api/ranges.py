"""Ranges of time as clients ask for them."""

from datetime import UTC, datetime, timedelta

from trajops.clock import now
from trajops.errors import InvalidInput
from trajops.ports import Clock

DEFAULT_RANGE = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def range_of(clock: Clock, since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """Begin and end of a range; without an end it ends now, without a begin it is an hour long.

    Raises:
        InvalidInput: if it is empty, or ends before anything can have been predicted.
    """
    end = until or now(clock)
    if end < _EPOCH:
        raise InvalidInput(f"the range ends at {end.isoformat()}, before 1970, when nothing was predicted; give a later `until`")
    begin = since or end - DEFAULT_RANGE
    if begin >= end:
        raise InvalidInput(f"the range ends at {end.isoformat()}, before it begins at {begin.isoformat()}; exchange since and until")
    return begin, end
