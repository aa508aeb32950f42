"""Conditions of silences as they are typed, what they hold for, and how long."""

from datetime import UTC, datetime, timedelta

import pytest

from console.alerts.silencing import DURATIONS, OPERATORS, Row, end_after, held, matcher_words, parse, preview, rows_for, time_words
from tests.builders import an_alert
from trajops.contracts.alerts import MatcherIn, SilenceOut

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
LATE = an_alert("late", labels={"job": "prune"})
DRIFT = an_alert("drift", rule="drift", severity="critical")
GIVEN = [LATE, DRIFT, an_alert("past", state="resolved"), an_alert("theirs", origin="alertmanager", version=0)]


def silence(state: str, begins_min: float, ends_min: float) -> SilenceOut:
    begin, end = NOW + timedelta(minutes=begins_min), NOW + timedelta(minutes=ends_min)
    matchers = [MatcherIn(label="job", value="prune")]
    return SilenceOut(
        silence_id="s", matchers=matchers, state=state, starts_at=begin, ends_at=end, created_at=NOW, created_by="ada", reason="", alerts=1
    )


def test_the_conditions_of_an_alert_hold_for_it_alone() -> None:
    matchers, problems = parse(rows_for(LATE))
    assert matcher_words(matchers) == ['rule="job_late"', 'job="prune"']
    assert not problems
    assert held(matchers, GIVEN) == [LATE]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("severity", "=", "critical")], ["drift"]),
        ([("severity", "=~", "warning|critical")], ["late", "drift"]),
        ([("rule", "!=", "drift")], ["late"]),
        ([("job", "!~", "pr.*")], ["drift"]),
        ([("origin", "=", "rules"), ("absent", "=", "")], ["late", "drift"]),
        ([("job", "=", "other")], []),
    ],
)
def test_conditions_hold_as_in_an_alertmanager_and_for_what_is_firing_here(rows: list[tuple[str, str, str]], expected: list[str]) -> None:
    matchers, _ = parse([Row(*row) for row in rows])
    assert [alert.alert_id for alert in held(matchers, GIVEN)] == expected


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (Row("9job", "=", "x"), "“9job” is no label"),
        (Row("", "=", "x"), "“” is no label"),
        (Row("job", "=", "x" * 513), "at most 512 characters"),
        (Row("job", "=~", "("), "is no regular expression"),
        (Row("", "=", ""), "Give at least one condition"),
    ],
)
def test_what_is_no_condition_is_said(row: Row, problem: str) -> None:
    matchers, problems = parse([row])
    assert not matchers
    assert len(problems) == 1
    assert problem in problems[0]


def test_empty_rows_beside_others_are_passed_over() -> None:
    matchers, problems = parse([Row(" job ", "=", "prune"), Row("", "=", "")])
    assert matcher_words(matchers) == ['job="prune"']
    assert not problems


def test_every_operator_has_words() -> None:
    assert set(OPERATORS) == set(MatcherIn.model_fields["operator"].annotation.__args__)


def test_preview_counts_what_is_firing() -> None:
    matchers, _ = parse(rows_for(LATE))
    assert preview(matchers, GIVEN) == "Holds for 1 of the 2 alerts that are firing now."
    assert preview(matchers, [LATE]) == "Holds for the only alert that is firing now."
    assert preview(matchers, [DRIFT]) == "Does not hold for the only alert that is firing now, only for such that come."
    assert preview(matchers, [DRIFT, DRIFT]) == "Holds for none of the 2 alerts that are firing now, only for such that come."
    assert preview(matchers, []) == "No alert is firing now; the silence holds for those that come."


def test_end_counts_from_the_beginning() -> None:
    assert end_after("2 h", None, NOW) == NOW + timedelta(hours=2)
    assert end_after("30 min", NOW + timedelta(hours=1), NOW) == NOW + timedelta(minutes=90)
    assert list(DURATIONS.values()) == sorted(DURATIONS.values())


def test_time_of_a_silence_says_how_long_still() -> None:
    assert time_words(silence("in_force", -10, 110), NOW) == "2026-11-24 02:50 UTC – 2026-11-24 04:50 UTC, for 110 min more"
    assert time_words(silence("waiting", 5, 10), NOW).endswith("begins in 5 min")
    assert time_words(silence("over", -9, -4), NOW).endswith("ended 4 min ago")
