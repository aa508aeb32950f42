"""When a job is due: at an interval or at times, after downtime, among several workers."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.schedules import PUNCTUAL_S, Schedule
from workers.triggers import longest_gap_s, next_time


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


@pytest.mark.parametrize(("cron", "gap_s"), [("*/10 * * * *", 600), ("0 3 * * *", 86_400), ("0 3,4 * * *", 23 * 3_600)])
def test_the_longest_gap_says_when_a_job_is_late(cron: str, gap_s: float) -> None:
    assert longest_gap_s(cron, at("12:00:00")) == gap_s
    assert a_schedule(cron=cron).interval_s == gap_s
