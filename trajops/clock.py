"""The machine's clock, and the one conversion between nanoseconds and aware times."""

import time
from datetime import UTC, datetime, timedelta

from trajops.ports import Clock

# The clocks of processes that work together differ by less. What another one wrote further ahead was written before the clock was put back.
MOST_APART = timedelta(minutes=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SystemClock:
    """The clock of this machine."""

    def now_ns(self) -> int:
        """UTC nanoseconds since the epoch."""
        return time.time_ns()


def utc(time_ns: int) -> datetime:
    """Aware UTC time of nanoseconds since the epoch, cut to whole microseconds."""
    return _EPOCH + timedelta(microseconds=time_ns // 1_000)


def now(clock: Clock) -> datetime:
    """Aware UTC time of a clock."""
    return utc(clock.now_ns())


def to_ns(time: datetime) -> int:
    """Nanoseconds since the epoch of an aware time."""
    return (time - _EPOCH) // timedelta(microseconds=1) * 1_000
