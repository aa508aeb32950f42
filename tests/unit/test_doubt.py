"""When traffic was not what it should be."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajops.contracts.drift import UNIT_RULE, DriftCheckOut, DriftColumn, QualityFinding
from trajops.drift.doubt import Span, doubtful, trouble

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def check(at_s: float, *, unit: bool = False, bad: Any = None, drifted: bool = False) -> DriftCheckOut:
    figures = {"score": 3.3, "threshold": 2.0, "reference_mean": 1.0, "current_mean": 3.3}
    columns = [
        DriftColumn(column="speed_mps_ratio", kind="input", method=UNIT_RULE, is_drifted=unit, **figures),
        DriftColumn(column="speed_mps", kind="input", method="psi", is_drifted=drifted, **figures),
    ]
    quality = [] if bad is None else [QualityFinding(kind=bad, scene=None, verdict="bad", value=0.9, limit=0.1, sentence="Bad.")]
    at = later(at_s)
    ends = {"current_since": at, "current_until": at, "reference_since": None, "reference_until": None}
    agents = {"reference_agents": 9, "current_agents": 9}
    words = {"check_id": str(at_s), "verdict": "drift", "sentence": "Drift.", "has_report": False}
    return DriftCheckOut(at=at, columns=columns, quality=quality, **words, **ends, **agents)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (check(0), None),
        (check(0, drifted=True), None),
        (check(0, bad="new_scene"), None),
        (check(0, unit=True), "the data seem to come in another unit, so nothing can be learnt from them: Drift."),
        (check(0, bad="frozen"), "the data are bad, so nothing can be learnt from them: Bad."),
    ],
)
def test_traffic_may_change_and_a_scene_be_new_but_data_must_be_right(found: DriftCheckOut, said: str | None) -> None:
    assert trouble(found) == said


def test_two_windows_before_and_one_after_are_doubtful_too() -> None:
    checks = [check(1000, unit=True), check(400, drifted=True), check(130, unit=True), check(100, bad="frozen")]
    assert doubtful(checks, 60) == [Span(later(-20), later(190)), Span(later(880), later(1060))]
    assert doubtful([], 60) == []


@given(st.lists(st.integers(0, 5000), max_size=12), st.integers(1, 300))
def test_spans_are_apart_and_hold_each_bad_check_with_its_margins(times_s: list[int], window_s: int) -> None:
    spans = doubtful([check(at_s, unit=True) for at_s in times_s], window_s)
    assert all(one.until < other.since for one, other in pairwise(spans))
    for at_s in times_s:
        assert any(span.since <= later(at_s - 2 * window_s) and later(at_s + window_s) <= span.until for span in spans)
