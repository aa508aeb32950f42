"""When a cron schedule is due: five fields, UTC, as crontab has them."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise

from apscheduler.triggers.cron import CronTrigger

# Gaps between so many times tell how far apart they lie at most.
_TIMES = 60


@lru_cache(maxsize=64)
def cron_trigger(cron: str) -> CronTrigger:
    """The trigger of an expression.

    Raises:
        ValueError: if it is none, or names no time.
    """
    try:
        trigger = CronTrigger.from_crontab(cron, timezone=UTC)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{cron!r} is no cron expression of five fields (minute hour day month weekday): {error}") from error
    if trigger.get_next_fire_time(None, datetime(2024, 1, 1, tzinfo=UTC)) is None:
        raise ValueError(f"{cron!r} names a day that never comes")
    return trigger


def next_time(cron: str, after: datetime) -> datetime:
    """The first of its times later than a moment."""
    found: datetime = cron_trigger(cron).get_next_fire_time(None, after + timedelta(microseconds=1))
    return found


def longest_gap_s(cron: str, at: datetime) -> float:
    """The longest wait between its next times, seconds."""
    times = [next_time(cron, at)]
    while len(times) < _TIMES:
        times.append(next_time(cron, times[-1]))
    return max((later - earlier).total_seconds() for earlier, later in pairwise(times))
