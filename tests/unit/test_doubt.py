"""When nothing is learnt because the newest check finds the data bad."""

from typing import Any

import pytest

from tests.record_builders import drift_check, later
from trajops.contracts.drift import DriftCheckOut
from trajops.drift.doubt import is_suspicious, trouble


def check(at_s: float, **changes: Any) -> DriftCheckOut:
    return drift_check(later(at_s), **changes)


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


def test_what_a_muted_column_says_is_suspicious_too() -> None:
    muted = check(0, unit=True, muted_until=later(900), verdict="stable")
    assert [is_suspicious(one) for one in (muted, check(0), check(0, drifted=True), check(0, bad="new_scene"))] == [True, False, True, True]
