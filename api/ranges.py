"""Ranges of time as clients ask for them."""

from datetime import datetime, timedelta

from trajops.clock import now
from trajops.errors import InvalidInput
from trajops.ports import Clock

DEFAULT_RANGE = timedelta(hours=1)


def range_of(clock: Clock, since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """Begin and end of a range; without an end it ends now, without a begin it is an hour long.

    Raises:
        InvalidInput: if it is empty.
    """
    end = until or now(clock)
    begin = since or end - DEFAULT_RANGE
    if begin >= end:
        raise InvalidInput(f"the range ends at {end.isoformat()}, before it begins at {begin.isoformat()}; exchange since and until")
    return begin, end
