"""Verdicts on drift by table: which checks confirm each other."""

from datetime import UTC, datetime

import pytest

from trajops.contracts.drift import (
    UNIT_RULE,
    DriftColumn,
    DriftScore,
)
from trajops.drift.columns import Earlier, judge
from trajops.drift.rules import ConfirmRule
from trajops.services import drift as drift_service


def column(name: str, *, is_drifted: bool, method: str = "psi") -> DriftColumn:
    return DriftColumn(
        column=name,
        kind="input",
        method=method,
        score=1.0,
        threshold=0.5,
        is_drifted=is_drifted,
        reference_mean=0.0,
        current_mean=0.0,
    )


def checks(*flagged: str) -> list[list[DriftColumn]]:
    """One check a word: the letters are the columns that were flagged."""
    return [[column(name, is_drifted=name in word) for name in "ab"] for word in flagged]


@pytest.mark.parametrize(
    ("now_first", "expected", "names"),
    [
        pytest.param(["", "", ""], "stable", [], id="nothing"),
        pytest.param(["a", "", ""], "warning", ["a"], id="one-check-alone-warns"),
        pytest.param(["a", "a", ""], "drift", ["a"], id="two-in-a-row"),
        pytest.param(["a", "", "a"], "drift", ["a"], id="two-of-three"),
        pytest.param(["", "a", "a"], "drift", ["a"], id="stays-until-two-of-three-are-clean"),
        pytest.param(["", "", "a"], "stable", [], id="one-of-three-is-over"),
        pytest.param(["a", "b", ""], "warning", ["a"], id="different-columns-do-not-confirm-each-other"),
        pytest.param(["a", "", "", "a"], "warning", ["a"], id="the-fourth-last-is-forgotten"),
        pytest.param(["a"], "warning", ["a"], id="no-history"),
    ],
)
def test_two_of_three_checks_must_agree_on_a_column(now_first: list[str], expected: str, names: list[str]) -> None:
    columns, *past = checks(*now_first)
    earlier = [Earlier(30.0 * age, found) for age, found in enumerate(past, 1)]
    assert judge(columns, earlier, ConfirmRule()) == (expected, names)


def test_drift_does_not_begin_with_a_check_in_which_nothing_is_flagged() -> None:
    """A minute's checks, newest first, over a window of 300 s: the flags of one event, which every other check would take up again."""
    flagged = [False, False, True, True, True, True, False, False, False]
    looks = [scored(300.0) if flag else scored() for flag in flagged]

    def verdict(newest: int) -> str:
        earlier = [Earlier(60.0 * age, look) for age, look in enumerate(looks[newest + 1 :], 1)]
        return judge(looks[newest], earlier, ConfirmRule())[0]

    assert [verdict(newest) for newest in reversed(range(6))] == ["warning", "warning", "warning", "drift", "stable", "stable"]


def scored(*flagged_s: float) -> list[DriftColumn]:
    """A column with a score in windows of 60 and 300 s, beyond the threshold in those named."""
    scores = [
        DriftScore(method="psi", window_s=window_s, score=1.0, threshold=0.5, is_drifted=window_s in flagged_s)
        for window_s in (60.0, 300.0)
    ]
    return [column("a", is_drifted=bool(flagged_s)).model_copy(update={"scores": scores})]


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        pytest.param([(30.0, (60.0,))], "drift", id="a-short-window-is-soon-another-one"),
        pytest.param([(30.0, (300.0,)), (60.0, (300.0,))], "warning", id="a-long-one-is-not"),
        pytest.param([(30.0, ()), (120.0, (300.0,))], "warning", id="after-two-fifths-it-is-not"),
        pytest.param([(30.0, ()), (150.0, (300.0,))], "drift", id="after-half-of-it-it-is"),
        pytest.param([(150.0, ()), (300.0, (300.0,))], "drift", id="two-of-three"),
        pytest.param([(120.0, (60.0,)), (240.0, ())], "warning", id="the-windows-do-not-confirm-each-other"),
    ],
)
def test_confirmation_takes_other_rows(past: list[tuple[float, tuple[float, ...]]], expected: str) -> None:
    """A window of 300 s is flagged now; what has it been before?"""
    is_short = past[0] == (30.0, (60.0,))
    earlier = [Earlier(age_s, scored(*flagged_s)) for age_s, flagged_s in past]
    assert judge(scored(60.0 if is_short else 300.0), earlier, ConfirmRule())[0] == expected


def test_a_muted_column_raises_no_alarm() -> None:
    muted = [one.model_copy(update={"muted_until": datetime.now(UTC)}) for one in scored(60.0, 300.0)]
    assert judge(muted, [Earlier(200.0, scored(60.0, 300.0))], ConfirmRule()) == ("stable", [])


def test_a_unit_error_needs_no_confirmation() -> None:
    assert judge([column("dt_s_ratio", is_drifted=True, method="unit_rule")], [], ConfirmRule()) == ("drift", ["dt_s_ratio"])


def test_a_ratio_within_its_bounds_points_to_nothing() -> None:
    figures = {"kind": "input", "method": UNIT_RULE, "threshold": 2.0, "reference_mean": 1.0, "current_mean": None}
    wrong, right = (DriftColumn(column="speed_mps_ratio", score=ratio, is_drifted=ratio > 2, **figures) for ratio in (3.28, 1.6))
    assert "mean speed is 3.3 × the reference, which points to a unit or a clock" in drift_service._said_of("drift", [wrong], 1, 60)
    assert drift_service._said_of("drift", [right], 1, 60).endswith(": mean speed, unit check (until just now).")
