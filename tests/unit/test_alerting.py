"""What is said of alerts, which are shown, what may be done with one, and what is told after a change that came too late."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from console.alerts.words import (
    AlertFilter,
    alert_actions,
    by_severity,
    carer_words,
    changes_between,
    conflict_sentence,
    evaluation_problem,
    facts,
    firing_sentence,
    place,
    since_words,
    value_words,
    verdict,
)
from tests.builders import an_alert
from trajops.alerts.lifecycle import TRANSITIONS, AlertState
from trajops.contracts.alerts import AlertCounts, AlertEvent, AlertsOut

CONSOLE = Path(__file__).parents[2] / "console"
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
BEN = {"state": "acknowledged", "acknowledged_by": "ben", "acknowledged_at": NOW}


def counts(**given: Any) -> AlertCounts:
    values = {**dict.fromkeys(("open", "acknowledged", "silenced", "pending", "resolved_today", "dead_letters"), 0), "by_severity": {}}
    return AlertCounts(**{**values, **given})


def alerts(evaluated_s: float | None = 3.0, *, is_evaluated: bool = True, **given: Any) -> AlertsOut:
    at = None if evaluated_s is None else NOW - timedelta(seconds=evaluated_s)
    return AlertsOut(alerts=[], counts=counts(**given), evaluated_at=at, is_evaluated=is_evaluated, alertmanager=None)


# The verdict


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "No alert is firing."),
        ({"pending": 1}, "No alert is firing; 1 more condition holds, but not for long enough yet."),
        ({"open": 1}, "1 alert is firing, and nobody has acknowledged it."),
        ({"acknowledged": 1}, "1 alert is firing, and it is acknowledged."),
        ({"open": 3}, "3 alerts are firing, and nobody has acknowledged any of them."),
        ({"open": 2, "acknowledged": 1, "silenced": 1}, "3 alerts are firing; 2 of them wait to be acknowledged; 1 is silenced."),
        ({"open": 1, "acknowledged": 1}, "2 alerts are firing; 1 of them waits to be acknowledged."),
        (
            {"acknowledged": 2, "pending": 2},
            "2 alerts are firing, and all are acknowledged; 2 more conditions hold, but not for long enough yet.",
        ),
    ],
)
def test_what_is_firing_in_one_sentence(given: dict[str, int], expected: str) -> None:
    assert firing_sentence(counts(**given)) == expected


def test_the_worst_severity_gives_the_tone() -> None:
    assert [(mark.word, n) for mark, n in by_severity(counts(by_severity={"warning": 2}))] == [("Critical", 0), ("Warning", 2), ("Info", 0)]
    assert verdict(alerts(open=2, by_severity={"warning": 2}), NOW)[0].tone == "warn"
    assert verdict(alerts(open=3, by_severity={"warning": 2, "critical": 1}), NOW)[0].tone == "bad"
    assert verdict(alerts(), NOW)[0].word == "All quiet"


@pytest.mark.parametrize("evaluated_s", [None, 720.0], ids=["never", "twelve-minutes-ago"])
def test_nothing_is_called_quiet_while_nobody_looks_at_the_rules(evaluated_s: float | None) -> None:
    unwatched = alerts(evaluated_s, is_evaluated=False)
    mark, sentence = verdict(unwatched, NOW)
    assert (mark.word, mark.tone) == ("Not watched", "bad")
    assert "All quiet" not in sentence
    problem = evaluation_problem(unwatched, NOW) or ""
    assert ("never been looked at" if evaluated_s is None else "12 min ago") in problem
    assert "`python -m workers`" in problem
    assert evaluation_problem(alerts(), NOW) is None


# Which are shown


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (AlertFilter(), ["open", "taken", "quiet"]),
        (AlertFilter("Open"), ["open", "quiet"]),
        (AlertFilter("Acknowledged"), ["taken"]),
        (AlertFilter("Silenced"), ["quiet"]),
        (AlertFilter("Pending"), ["soon"]),
        (AlertFilter("Resolved"), ["past"]),
        (AlertFilter("All"), ["open", "taken", "quiet", "soon", "past"]),
        (AlertFilter("All", "critical"), ["taken"]),
        (AlertFilter("All", None, "drift"), ["taken"]),
        (AlertFilter("All", None, None, "PRUNE  late"), ["open"]),
        (AlertFilter("All", None, None, "job=prune"), ["open"]),
        (AlertFilter("All", None, None, "ben"), ["taken"]),
        (AlertFilter("All", None, None, "prune drift"), []),
    ],
)
def test_filter(chosen: AlertFilter, expected: list[str]) -> None:
    given = [
        an_alert("open", labels={"job": "prune"}),
        an_alert("taken", rule="drift", title="Drift", severity="critical", assigned_to="ben", **BEN),
        an_alert("quiet", silence_id="s1"),
        an_alert("soon", state="pending", opened_at=None),
        an_alert("past", state="resolved", resolved_at=NOW, silence_id="s1"),
    ]
    assert [a.alert_id for a in given if chosen.holds(a)] == expected


# What is said of one


def test_since_when_it_stands_as_it_does() -> None:
    at = NOW - timedelta(minutes=12)
    assert since_words(an_alert(at=at), NOW) == "firing for 12 min"
    assert since_words(an_alert(at=at, state="pending", opened_at=None), NOW) == "holds for 12 min"
    assert since_words(an_alert(at=at, state="resolved", resolved_at=NOW - timedelta(minutes=2)), NOW) == "ended 2 min ago, after 10 min"
    assert since_words(an_alert(at=NOW), NOW) == "firing for a moment"


@pytest.mark.parametrize(
    ("value", "condition", "expected"),
    [
        (412.0, "> 180", "412; fires where it is > 180"),
        (0.0121, "> 0.01", "0.0121; fires where it is > 0.01"),
        (None, ">= 1", "no figure; fires where it is >= 1"),
        (3.0, None, "3"),
        (None, None, "–"),
    ],
)
def test_value_stands_beside_its_condition(value: float | None, condition: str | None, expected: str) -> None:
    assert value_words(an_alert(value=value, condition=condition)) == expected


def test_who_looks_after_it() -> None:
    assert carer_words(an_alert()) == "nobody looks after it"
    assert carer_words(an_alert(assigned_to="ada", **BEN)) == "assigned to ada, acknowledged by ben"


def test_facts_leave_out_what_does_not_apply() -> None:
    known = dict(facts(an_alert(origin="external", labels={"b": "2", "a": "1"}, told=["mail", "slack"])))
    assert known["Rule"] == "job_late, raised by an Alertmanager, which posted it"
    assert (known["Labels"], known["Told"]) == ("a=1, b=2", "mail, slack")
    assert not {"Escalated", "Ended"} & set(known)
    ended = dict(facts(an_alert(state="resolved", resolved_at=NOW, resolved_by="ada", opened_at=None)))
    assert ended["Ended"] == "2026-11-24 03:00 UTC, by ada"
    assert ended["Opened"].startswith("not yet")


@pytest.mark.parametrize(
    ("given", "view"),
    [
        ({"rule": "drift_suspected"}, "views/drift.py"),
        ({"labels": {"job": "check_drift"}}, "views/drift.py"),
        ({"rule": "performance_degraded", "labels": {"model_version": "3"}}, "views/performance.py"),
        ({"rule": "slow", "labels": {"model_version": "3"}}, "views/models.py"),
        ({"labels": {"job": "prune"}}, "views/services.py"),
        ({"rule": "budget_burns"}, "views/services.py"),
    ],
)
def test_where_to_look_first(given: dict[str, Any], view: str) -> None:
    assert place(an_alert(**given)).view == view
    assert (CONSOLE / view).is_file()


# What may be done


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["acknowledge", "assign", "silence", "resolve"]),
        (BEN, ["assign", "silence", "resolve"]),
        ({"state": "pending"}, ["silence"]),
        ({"state": "resolved"}, []),
        ({"origin": "external"}, ["acknowledge", "assign", "silence", "resolve"]),
        ({"origin": "alertmanager", "version": 0}, []),
    ],
)
def test_actions_of_each_state(given: dict[str, Any], expected: list[str]) -> None:
    assert [action.name for action in alert_actions(an_alert(**given), "operator")] == expected


@pytest.mark.parametrize("state", list(AlertState))
def test_nothing_is_offered_that_the_transition_table_forbids(state: AlertState) -> None:
    target = {"acknowledge": AlertState.ACKNOWLEDGED, "resolve": AlertState.RESOLVED}
    offered = [action.name for action in alert_actions(an_alert(state=state), "admin")]
    assert {target[name] for name in offered if name in target} == TRANSITIONS[state] - {AlertState.OPEN}


def test_viewer_is_refused_with_a_reason_and_a_silence_is_not_laid_twice() -> None:
    assert all("viewer" in (action.refusal or "") for action in alert_actions(an_alert(), "viewer"))
    refused = {action.name: action.refusal for action in alert_actions(an_alert(silence_id="s1"), "operator") if action.refusal}
    assert list(refused) == ["silence"]
    assert "listed under Silences" in refused["silence"]


# A change that came too late


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ({}, []),
        ({"version": 3, **BEN}, ["it went from open to acknowledged"]),
        ({"version": 3, "severity": "critical"}, ["it is of severity critical, no longer warning"]),
        ({"version": 3, "assigned_to": "ben"}, ["it is assigned to ben"]),
        ({"version": 3}, ["it was changed and is open as before"]),
    ],
)
def test_what_is_different(present: dict[str, Any], expected: list[str]) -> None:
    assert changes_between(an_alert(), an_alert(**present)) == expected


def test_who_was_taken_from_whom() -> None:
    assert changes_between(an_alert(assigned_to="ada"), an_alert(version=3)) == ["it is assigned to nobody, no longer to ada"]


def test_the_message_says_who_did_what_and_what_to_do() -> None:
    at = NOW - timedelta(seconds=12)
    events = [
        AlertEvent(at=at, kind="acknowledged", actor="ben", text="I am on it."),
        AlertEvent(at=NOW, kind="notified", actor="delivery", text="mail was told."),
    ]
    told = conflict_sentence("Acknowledge", an_alert(), an_alert(version=3, **BEN), events, detail="version 3, not 2", now=NOW)
    assert told == (
        "Nothing was done, because the alert changed while you were deciding: it went from open to acknowledged (ben, 12 s ago: "
        "“I am on it”). The page has been read again: look at it, and press “Acknowledge” once more if it is still right."
    )


def test_an_alert_that_is_over_needs_nothing_more() -> None:
    over = an_alert(version=3, state="resolved", resolved_at=NOW, resolved_by="rules")
    told = conflict_sentence("Resolve", an_alert(), over, [], detail="", now=NOW)
    assert told.endswith("it went from open to resolved. The page has been read again: there is nothing left to do.")


def test_an_alert_that_cannot_be_read_again_leaves_what_the_api_said() -> None:
    told = conflict_sentence("Resolve", an_alert(), None, [], detail="it has version 3.", now=NOW)
    assert told.startswith("Nothing was done: it has version 3. The page has been read again")
