"""When a cron schedule is due: five fields, UTC, as crontab has them.

APScheduler counts weekdays from Monday, and wants the day of the month and the weekday to fit both. In a crontab Sunday is 0 and 7, and
where both fields name days, either will do; where one of them begins with `*`, both must fit.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

# Gaps between so many times tell how far apart they lie at most.
_TIMES = 60

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY = rf"[0-7]|{'|'.join(_WEEKDAYS)}"
_PART = re.compile(rf"(?:\*|(?P<first>{_DAY})(?:-(?P<last>{_DAY}))?)(?:/(?P<step>[1-7]))?")


@lru_cache(maxsize=64)
def cron_trigger(cron: str) -> BaseTrigger:
    """The trigger of an expression.

    Raises:
        ValueError: if it is none, or names no time.
    """
    try:
        minute, hour, day, month, weekday = _fields(cron)
        names = _weekday_names(weekday)
        is_either = not day.startswith("*") and not weekday.startswith("*")
        triggers = [
            CronTrigger(minute=minute, hour=hour, day=days, month=month, day_of_week=weekdays, timezone=UTC)
            for days, weekdays in ([(day, "*"), ("*", names)] if is_either else [(day, names)])
        ]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{cron!r} is no cron expression of five fields (minute hour day month weekday): {error}") from error
    # One that never comes would be sought to the end of the calendar each time.
    coming = [trigger for trigger in triggers if trigger.get_next_fire_time(None, datetime(2024, 1, 1, tzinfo=UTC)) is not None]
    if not coming:
        raise ValueError(f"{cron!r} names a day that never comes")
    return coming[0] if len(coming) == 1 else OrTrigger(coming)


def _fields(cron: str) -> list[str]:
    fields = cron.split()
    if len(fields) != 5:
        raise ValueError(f"it has {len(fields)}")
    return fields


def _weekday_names(field: str) -> str:
    """The days of a weekday field by name, which means the same to everybody."""
    days: set[int] = set()
    for part in field.lower().split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise ValueError(
                f"{part!r} is no weekday; give 0 to 7 (0 and 7 are Sunday) or sun to sat, a range of them or *, then perhaps /2"
            )
        first, last = found["first"], found["last"]
        begin = 0 if first is None else _weekday(first)
        # fri-sun is the end of a week, as 5-7 is.
        end = 6 if first is None else 7 if last == "sun" and begin else _weekday(last or first)
        if found["step"] is not None and first is not None and last is None:
            raise ValueError(f"{part!r} has a step but no range; give one such as {first}-6/{found['step']}")
        if begin > end:
            raise ValueError(f"{part!r} runs backwards; a week goes from 0 to 7, both of them Sunday")
        days.update(day % 7 for day in range(begin, end + 1, int(found["step"] or 1)))
    return ",".join(_WEEKDAYS[day] for day in sorted(days))


def _weekday(said: str) -> int:
    return int(said) if said.isdigit() else _WEEKDAYS.index(said)


def next_time(cron: str, after: datetime) -> datetime:
    """The first of its times later than a moment."""
    found: datetime = cron_trigger(cron).get_next_fire_time(None, after + timedelta(microseconds=1))
    return found


def longest_gap_s(cron: str, at: datetime) -> float:
    """The longest wait between its next times, seconds."""
    return max(_gaps_s(cron, at))


def shortest_gap_s(cron: str, at: datetime) -> float:
    """The shortest wait between its next times, seconds."""
    return min(_gaps_s(cron, at))


def _gaps_s(cron: str, at: datetime) -> list[float]:
    times = [next_time(cron, at)]
    while len(times) < _TIMES:
        times.append(next_time(cron, times[-1]))
    return [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
