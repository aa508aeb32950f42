"""When traffic was not what it should be, and when nobody has looked whether it was."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.record_builders import drift_check, later
from trajops.contracts.drift import DriftCheckOut
from trajops.drift.doubt import Judged, Span, doubtful, is_suspicious, joined, judged_s, outside, trouble, vouched


def check(at_s: float, **changes: Any) -> DriftCheckOut:
    return drift_check(later(at_s), **changes)


def span(since_s: float, until_s: float) -> Span:
    return Span(later(since_s), later(until_s))


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


def test_a_check_that_looks_at_more_is_doubted_for_longer() -> None:
    assert doubtful([check(1000, unit=True, window_s=300.0)], 60) == [span(400, 1300)]
    assert doubtful([check(1000, unit=True, window_s=None)], 60) == [span(880, 1060)]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (check(0), 60.0),
        (check(0, unit=True), 60.0),
        (check(0, window_s=300.0), 300.0),
        (check(0, window_s=None), 0.0),
        (check(0, is_judged=False), None),
        (check(0, quality=[]), None),
        (check(0, bad="missing", is_judged=False), None),
        (check(0, columns=[]), None),
    ],
)
def test_units_and_quality_are_judged_where_there_are_agents_for_both(found: DriftCheckOut, expected: float | None) -> None:
    assert judged_s(found.columns, found.quality) == expected


def test_what_a_muted_column_says_is_suspicious_too() -> None:
    muted = check(0, unit=True, muted_until=later(900), verdict="stable")
    assert [is_suspicious(one) for one in (muted, check(0), check(0, drifted=True), check(0, bad="new_scene"))] == [True, False, True, True]


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ([], []),
        ([(0, 60)], []),
        ([(0, 60), (30, 60)], []),
        ([(0, 60), (30, 60), (60, 60), (90, 60)], [(0, 30)]),
        ([(0, 60), (60, 60), (120, 60)], [(0, 60)]),
        ([(0, 60), (61, 60), (122, 60)], []),
        ([(90, 60), (1000, 60), (30, 60), (60, 60), (0, 60), (1030, 60), (1060, 60), (1090, 60)], [(0, 30), (1000, 1030)]),
        ([(0, 300), (200, 300), (400, 300)], [(0, 100)]),
        ([(0, 300), (200, 300), (400, 60)], []),
        ([(0, 300), (200, 300), (230, 0), (260, 0), (290, 0), (320, 300)], [(0, 230)]),
    ],
)
def test_a_series_of_checks_vouches_for_what_it_has_wholly_seen(
    checks: list[tuple[float, float]], expected: list[tuple[float, float]]
) -> None:
    assert vouched([Judged(later(at_s), window_s) for at_s, window_s in checks], 60) == [span(*ends) for ends in expected]


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 50)), max_size=8), st.integers(-20, 120), st.integers(1, 90))
def test_what_lies_outside_of_spans_is_the_rest_of_the_whole(parts: list[tuple[int, int]], begin: int, length: int) -> None:
    spans, whole = joined(span(since, since + lasts) for since, lasts in parts), span(begin, begin + length)
    rest = outside(spans, whole)
    for second in range(begin, begin + length):
        at = later(second + 0.5)
        assert any(one.since <= at < one.until for one in rest) is not any(one.since <= at < one.until for one in spans)
    assert all(whole.since <= one.since < one.until <= whole.until for one in rest)
