"""When a job is due: at an interval or at times, after downtime, among several workers."""

from copy import copy
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.schedules import PUNCTUAL_S, Schedule
from workers.triggers import cron_trigger, longest_gap_s, next_time


def a_schedule(**changes: Any) -> Schedule:
    return Schedule.model_validate({"description": "does what a test needs", **changes})


def at(clock: str, day: int = 5) -> datetime:
    """A time of a day in March 2024; the 5th is a Tuesday."""
    return datetime.fromisoformat(f"2024-03-{day:02d}T{clock}").replace(tzinfo=UTC)


NIGHTLY = {"cron": "0 3 * * *"}


@pytest.mark.parametrize(
    ("schedule", "last", "present", "is_due"),
    [
        pytest.param(NIGHTLY, at("03:00:01", 4), at("02:59:59"), False, id="before its time"),
        pytest.param(NIGHTLY, at("03:00:01", 4), at("03:00:00"), True, id="at its time"),
        pytest.param(NIGHTLY, at("03:00:00"), at("03:00:02"), False, id="another worker was first"),
        pytest.param(NIGHTLY, at("03:00:00", 2), at("14:00:00"), True, id="missed: made up for"),
        pytest.param(NIGHTLY | {"missed": "skip"}, at("03:00:00", 2), at("14:00:00"), False, id="missed: passed over"),
        pytest.param(NIGHTLY | {"missed": "skip"}, at("03:00:00", 2), at("03:00:30"), True, id="a little late is not missed"),
        pytest.param(NIGHTLY | {"missed": "skip"}, at("03:00:10"), at("03:00:30"), False, id="not missed, but done"),
        pytest.param(NIGHTLY | {"jitter_s": 300}, at("03:00:00", 4), at("03:04:59"), True, id="moved by its jitter"),
        pytest.param(NIGHTLY, None, at("14:00:00"), False, id="a new job waits for its time"),
        pytest.param(NIGHTLY, None, at("03:00:10"), True, id="a new job at its time"),
        pytest.param({"cron": "30 6 * * mon"}, at("06:30:00", 4), at("06:30:00"), False, id="another weekday"),
        pytest.param({"every_s": 60}, None, at("14:00:00"), True, id="an interval begins at once"),
        pytest.param({"every_s": 60}, at("14:00:00"), at("14:00:50"), False, id="within the interval"),
        pytest.param({"every_s": 60}, at("14:00:00"), at("14:00:55"), True, id="nearly an interval"),
    ],
)
def test_a_job_is_due(schedule: dict[str, Any], last: datetime | None, present: datetime, is_due: bool) -> None:
    assert a_schedule(**schedule).is_due(last, present) is is_due


@given(
    starts=st.lists(st.integers(0, 3 * 86_400), min_size=2, max_size=40).map(sorted),
    cron=st.sampled_from(["*/10 * * * *", "0 3 * * *", "15 6,18 * * *", "0 0 1 * *"]),
    missed=st.sampled_from(["run", "skip"]),
)
def test_each_time_is_run_once_however_often_workers_ask(starts: list[int], cron: str, missed: str) -> None:
    schedule, begin = a_schedule(cron=cron, missed=missed), at("00:00:00", 1) - timedelta(days=1)
    last, runs = begin, []
    for second in starts:
        present = begin + timedelta(seconds=second)
        if schedule.is_due(last, present):
            runs.append((last, present))
            last = present
    for before, present in runs:
        assert next_time(cron, before) <= present, "no run without a time since the run before"
        if missed == "skip":
            assert next_time(cron, present - timedelta(seconds=PUNCTUAL_S)) <= present
    if missed == "run":
        looks = pairwise(begin + timedelta(seconds=second) for second in (0, *starts))
        wanted = sum(next_time(cron, before) <= present for before, present in looks)
        assert len(runs) == wanted, "one run for all times that passed between two looks"


@pytest.mark.parametrize(
    ("schedule", "took_s", "is_failed", "wait_s"),
    [
        pytest.param({"every_s": 60}, 5, False, 60, id="an interval after its begin"),
        pytest.param({"every_s": 60}, 60, False, 120, id="a time that comes at the end of a run has passed"),
        pytest.param({"every_s": 60}, 130, False, 180, id="times during the run are passed over"),
        pytest.param({"every_s": 60, "overlap": "queue"}, 130, False, 60, id="or due at once"),
        pytest.param({"every_s": 60, "retry_s": 10}, 5, False, 60, id="nothing to try again"),
        pytest.param({"every_s": 60, "retry_s": 10}, 5, True, 15, id="tried again after its end"),
        pytest.param({"every_s": 60, "retry_s": 10}, 55, True, 60, id="its time comes first"),
        pytest.param({"every_s": 60, "retry_s": 10, "overlap": "queue"}, 130, True, 140, id="what failed is not due at once"),
        pytest.param({"every_s": 60}, 5, True, 60, id="no retry"),
        pytest.param({"cron": "*/10 * * * *"}, 5, False, 600, id="the next of its times"),
        pytest.param({"cron": "*/10 * * * *"}, 601, False, 1200, id="passed over"),
        pytest.param({"cron": "*/10 * * * *", "overlap": "queue"}, 601, False, 600, id="due at once"),
        pytest.param({"cron": "*/10 * * * *", "retry_s": 30}, 5, True, 35, id="a time that is tried again"),
    ],
)
def test_when_a_job_is_due_after_a_run(schedule: dict[str, Any], took_s: float, is_failed: bool, wait_s: float) -> None:
    begin = at("14:00:00")
    due_at = a_schedule(**schedule).due_after(begin, begin + timedelta(seconds=took_s), is_failed=is_failed)
    assert (due_at - begin).total_seconds() == wait_s


@pytest.mark.parametrize(("cron", "gap_s"), [("*/10 * * * *", 600), ("0 3 * * *", 86_400), ("0 3,4 * * *", 23 * 3_600)])
def test_the_longest_gap_says_when_a_job_is_late(cron: str, gap_s: float) -> None:
    assert longest_gap_s(cron, at("12:00:00")) == gap_s
    assert a_schedule(cron=cron).interval_s == gap_s


def days(cron: str, year: int = 2024, month: int = 3) -> list[int]:
    """The days of a month on which an expression is due."""
    found, moment = [], datetime(year, month, 1, tzinfo=UTC) - timedelta(microseconds=1)
    while (moment := next_time(cron, moment)).month == month and moment.year == year:
        found.append(moment.day)
    return found


# March 2024 began on a Friday and ended on a Sunday.
SUN, MON, TUE, WED = [3, 10, 17, 24, 31], [4, 11, 18, 25], [5, 12, 19, 26], [6, 13, 20, 27]
THU, FRI, SAT = [7, 14, 21, 28], [1, 8, 15, 22, 29], [2, 9, 16, 23, 30]


@pytest.mark.parametrize(
    ("weekday", "wanted"),
    [
        ("0", SUN),
        ("1", MON),
        ("2", TUE),
        ("3", WED),
        ("4", THU),
        ("5", FRI),
        ("6", SAT),
        ("7", SUN),
        ("sun", SUN),
        ("Mon", MON),
        ("SAT", SAT),
        ("1-5", MON + TUE + WED + THU + FRI),
        ("mon-fri", MON + TUE + WED + THU + FRI),
        ("0-2", SUN + MON + TUE),
        ("sun-tue", SUN + MON + TUE),
        ("5-7", FRI + SAT + SUN),
        ("fri-sun", FRI + SAT + SUN),
        ("mon-7", list(range(1, 32))),
        ("0-7", list(range(1, 32))),
        ("0-6", list(range(1, 32))),
        ("sun-sun", SUN),
        ("*", list(range(1, 32))),
        ("*/1", list(range(1, 32))),
        ("*/2", SUN + TUE + THU + SAT),
        ("*/3", SUN + WED + SAT),
        ("*/7", SUN),
        ("1-5/2", MON + WED + FRI),
        ("mon-fri/2", MON + WED + FRI),
        ("1-7/3", MON + THU + SUN),
        ("1,3,5", MON + WED + FRI),
        ("0,7", SUN),
        ("6,7", SAT + SUN),
        ("sat,0", SAT + SUN),
        ("1-2,fri", MON + TUE + FRI),
    ],
)
def test_weekdays_are_those_of_a_crontab(weekday: str, wanted: list[int]) -> None:
    assert days(f"0 3 * * {weekday}") == sorted(wanted)


@pytest.mark.parametrize(
    ("cron", "month", "wanted"),
    [
        pytest.param("0 3 13 * 5", 3, sorted([13, *FRI]), id="both name days: either will do"),
        pytest.param("0 3 1,15 * 5", 3, FRI, id="a day that both name comes once"),
        pytest.param("0 3 30 2 1", 2, [5, 12, 19, 26], id="one that never comes does not keep the other from it"),
        pytest.param("0 3 13 2 5", 2, [2, 9, 13, 16, 23], id="both within the month"),
        pytest.param("0 3 13 * 0-6", 3, list(range(1, 32)), id="a range over all days still names days"),
        pytest.param("0 3 */10 * 1", 3, [11], id="days of the month begin with a star: both must fit"),
        pytest.param("0 3 10-16 * */2", 3, [10, 12, 14, 16], id="weekdays begin with a star: both must fit"),
        pytest.param("0 3 13 * *", 3, [13], id="any weekday"),
        pytest.param("0 3 last * *", 2, [29], id="last of the month"),
    ],
)
def test_a_day_of_the_month_and_a_weekday(cron: str, month: int, wanted: list[int]) -> None:
    assert days(cron, month=month) == wanted


@pytest.mark.parametrize(
    ("weekday", "said"),
    [
        ("8", "'8' is no weekday"),
        ("1-8", "'1-8' is no weekday"),
        ("monday", "'monday' is no weekday"),
        ("1,,2", "'' is no weekday"),
        ("*/0", r"'\*/0' is no weekday"),
        ("*/8", r"'\*/8' is no weekday"),
        ("1/2", "'1/2' has a step but no range; give one such as 1-6/2"),
        ("5-1", "'5-1' runs backwards"),
        ("7-2", "'7-2' runs backwards"),
        ("sat-mon", "'sat-mon' runs backwards"),
    ],
)
def test_a_weekday_that_is_none_is_refused(weekday: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"is no cron expression .*{said}"):
        a_schedule(cron=f"0 3 * * {weekday}")


def test_either_of_two_days_can_be_moved_by_a_jitter_of_its_own() -> None:
    shared = cron_trigger("0 3 13 * 5")
    own = copy(shared)
    own.jitter = 60
    due = [shared.get_next_fire_time(None, at("00:00:00", day)) for day in (9, 14)]
    assert due == [at("03:00:00", 13), at("03:00:00", 15)], "the copy's jitter is not the shared one's"
    assert abs(own.get_next_fire_time(None, at("00:00:00", 9)) - at("03:00:00", 13)) <= timedelta(seconds=60)
