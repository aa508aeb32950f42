"""Rules on signals: what begins an alert, holds it, ends it, and what never happens, whatever the signals do."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.alert_builders import an_alert, some_rules
from trajops.alerts.evaluation import SEEN_EVERY, Step, evaluate, silence
from trajops.alerts.lifecycle import TRANSITIONS, Alert, AlertState, Severity, check_transition
from trajops.alerts.rules import AlertRules
from trajops.alerts.signals import Signal, fingerprint
from trajops.alerts.silences import Matcher, Silence
from trajops.errors import IllegalTransition

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAN = float("nan")


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


class Run:
    """Evaluates again and again, and keeps the alerts as the stores would."""

    def __init__(self, rules: AlertRules) -> None:
        self.rules = rules
        self.alerts: dict[str, Alert] = {}
        self._ids = count()

    def at(self, second: float, *values: float | tuple[float, dict[str, str]], name: str = "job_late") -> list[str]:
        """Kinds of the steps on signals with these values, at a second."""
        return [step.kind for step in self.steps(second, *values, name=name)]

    def steps(self, second: float, *values: float | tuple[float, dict[str, str]], name: str = "job_late") -> list[Step]:
        pairs = [value if isinstance(value, tuple) else (value, {}) for value in values]
        signals = [Signal(name, value, later(second), labels, f"It is {value}.") for value, labels in pairs]
        open_ = [alert for alert in self.alerts.values() if alert.state != AlertState.RESOLVED]
        steps = evaluate(self.rules, signals, open_, later(second), lambda: f"a{next(self._ids)}")
        for step in steps:
            self.alerts[step.after.alert_id] = step.after
            if step.kind == "forgotten":
                del self.alerts[step.after.alert_id]
        return steps

    @property
    def only(self) -> Alert:
        (alert,) = self.alerts.values()
        return alert


def test_an_alert_opens_at_once_and_ends_at_once_where_the_rule_waits_for_nothing() -> None:
    run = Run(some_rules())
    assert run.at(0, 0) == []
    assert run.at(1, 1) == ["fired"]
    assert (run.only.state, run.only.opened_at, run.only.value, run.only.condition) == (AlertState.OPEN, later(1), 1, ">= 1")
    assert run.at(2, 1) == []
    assert run.at(3, 0) == ["resolved"]
    assert (run.only.resolved_at, run.only.resolved_by, run.only.version) == (later(3), "rules", 2)
    assert run.at(4, 1) == ["fired"]
    assert len(run.alerts) == 2


def test_the_condition_must_hold_for_long_enough() -> None:
    run = Run(some_rules({"for_s": 10}))
    assert run.at(0, 1) == ["waiting"]
    assert run.at(9, 1) == []
    assert run.at(9.5, 0) == ["forgotten"]
    assert run.alerts == {}
    assert [run.at(second, 1) for second in (10, 19, 20)] == [["waiting"], [], ["fired"]]
    assert (run.only.started_at, run.only.opened_at, run.only.version) == (later(10), later(20), 2)


def test_an_alert_ends_when_the_condition_has_ceased_for_long_enough() -> None:
    run = Run(some_rules({"resolve_after_s": 10}))
    run.at(0, 1)
    assert run.at(1, 0) == ["refreshed"]
    assert run.only.clear_at == later(1)
    assert run.at(10, 0) == []
    assert run.at(10.5, 1) == ["refreshed"]  # it flaps, and is one alert
    assert run.only.clear_at is None
    assert [run.at(second, 0) for second in (11, 20.5, 21)] == [["refreshed"], [], ["resolved"]]


def test_between_two_thresholds_nothing_changes() -> None:
    run = Run(some_rules({"when": "> 10", "resolve_when": "< 5"}))
    assert [run.at(second, value) for second, value in enumerate([7, 11, 7, 5, 4.9, 7])] == [[], ["fired"], [], [], ["resolved"], []]


@pytest.mark.parametrize("missing", ["keep", "resolve"])
def test_a_missing_signal(missing: str) -> None:
    run = Run(some_rules({"missing": missing}))
    run.at(0, 1)
    assert run.at(1) == ([] if missing == "keep" else ["resolved"])
    assert run.at(2, NAN) == []  # not a number is no signal


def test_no_data_is_an_alert_where_the_rule_says_so() -> None:
    run = Run(some_rules({"missing": "alert", "missing_after_s": 5}))
    assert [run.at(second) for second in (0, 4, 5, 6)] == [["waiting"], [], ["fired"], []]
    assert run.only.labels == {"missing": "job_late"}
    assert "blind" in run.only.summary
    steps = run.steps(7, 1)
    assert sorted(step.kind for step in steps) == ["fired", "resolved"]
    assert run.at(8) == ["waiting"]  # the alert of the signal stays, and the silence counts anew


def test_a_pending_alert_does_not_ripen_without_its_signal() -> None:
    run = Run(some_rules({"for_s": 10}))
    assert [run.at(0, 1), run.at(20), run.at(21, 1)] == [["waiting"], ["forgotten"], ["waiting"]]


def test_each_set_of_labels_has_its_own_alert_and_matchers_choose_among_them() -> None:
    run = Run(some_rules({"match": ['job!="c"'], "labels": {"team": "x"}, "summary": "{job} is late by {value:.1f}"}))
    steps = run.steps(0, (1, {"job": "a"}), (0, {"job": "b"}), (1, {"job": "c"}))
    assert [step.after.labels for step in steps] == [{"job": "a", "team": "x"}]
    assert steps[0].after.summary == "a is late by 1.0"
    assert run.at(1, (1, {"job": "a"}), (1, {"job": "b"})) == ["fired"]


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        ("{detail}", "It is 1."),
        ("{value:g} of {nothing}", "1 of {nothing}"),
        ("{job:d}", "A job is late: It is 1."),  # a format that does not fit
    ],
)
def test_the_summary_is_always_said(summary: str, said: str) -> None:
    run = Run(some_rules({"summary": summary}))
    run.at(0, (1, {"job": "a"}))
    assert run.only.summary == said


def test_nobody_acknowledges() -> None:
    run = Run(some_rules({"escalate": {"after_s": 10, "severity": "critical"}}))
    assert [run.at(second, 1) for second in (0, 9, 10, 60)] == [["fired"], [], ["escalated"], ["refreshed"]]
    assert (run.only.severity, run.only.escalated_at, run.only.version) == (Severity.CRITICAL, later(10), 2)


@pytest.mark.parametrize("change", [{"state": AlertState.ACKNOWLEDGED}, {"silence_id": "s1"}], ids=["acknowledged", "silenced"])
def test_what_somebody_looks_after_is_not_escalated(change: dict[str, Any]) -> None:
    run = Run(some_rules({"escalate": {"after_s": 10, "severity": "critical"}}))
    run.at(0, 1)
    run.alerts["a0"] = replace(run.only, **change)
    assert run.at(20, 1) == []


def test_an_acknowledged_alert_stays_so_until_it_is_over() -> None:
    run = Run(some_rules())
    run.at(0, 1)
    run.alerts["a0"] = replace(run.only, state=AlertState.ACKNOWLEDGED)
    assert run.at(1, 1) == []
    assert run.at(2, 0) == ["resolved"]


def test_an_alert_ends_with_its_rule() -> None:
    run = Run(some_rules({}, {"name": "other", "for_s": 5}))
    run.at(0, 1)
    run.rules = some_rules({"name": "third", "signal": "x"})
    assert sorted(run.at(1, 1)) == ["forgotten", "resolved"]


def test_the_figure_is_refreshed_now_and_then() -> None:
    run = Run(some_rules())
    run.at(0, 1)
    every_s = SEEN_EVERY.total_seconds()
    assert run.at(every_s - 1, 2) == []
    assert run.at(every_s, 3) == ["refreshed"]
    assert (run.only.value, run.only.seen_at, run.only.version) == (3, later(every_s), 1)


def test_an_external_alert_ends_when_it_is_not_heard_of() -> None:
    run = Run(some_rules(external_ends_after_s=100))
    run.alerts["e"] = an_alert("e", AT, origin="external", rule="Foreign")
    assert run.at(99) == []
    assert run.at(100) == ["resolved"]


def test_the_fingerprint_is_of_rule_and_labels() -> None:
    assert fingerprint("r", {"a": "1", "b": "2"}) == fingerprint("r", {"b": "2", "a": "1"}) == "529cc9eed42b4c14d233ef851f21985f"
    others = [("s", {"a": "1", "b": "2"}), ("r", {"a": "1"}), ("r", {"a": "12"}), ("r", {"a": "1", "b": "3"}), ("r", {"a1": "", "b": "2"})]
    assert len({fingerprint(rule, labels) for rule, labels in others}) == len(others)


@pytest.mark.parametrize("before", AlertState)
@pytest.mark.parametrize("after", AlertState)
def test_the_table_is_the_law(before: AlertState, after: AlertState) -> None:
    if after in TRANSITIONS[before]:
        check_transition(before, after)
    else:
        with pytest.raises(IllegalTransition):
            check_transition(before, after)


# Whatever comes

LOOKS = st.lists(st.tuples(st.floats(0, 30), st.none() | st.sampled_from([0.0, 1.0, 2.0, NAN])), max_size=40)
RULES = st.fixed_dictionaries(
    {
        "for_s": st.sampled_from([0, 5, 20]),
        "resolve_after_s": st.sampled_from([0, 5, 20]),
        "missing": st.sampled_from(["keep", "resolve", "alert"]),
        "missing_after_s": st.sampled_from([0, 10]),
        "escalate": st.none() | st.just({"after_s": 10, "severity": "critical"}),
    }
)


@settings(max_examples=200, deadline=None)
@given(LOOKS, RULES)
def test_whatever_comes_the_states_follow_the_table(looks: Sequence[tuple[float, float | None]], rule: dict[str, Any]) -> None:
    run, second = Run(some_rules(rule)), 0.0
    for pause_s, value in looks:
        second += pause_s
        before = dict(run.alerts)
        for step in run.steps(second, *(() if value is None else (value,))):
            was = before.get(step.after.alert_id)
            assert (step.before is None) == (was is None)
            if was is not None and step.kind != "forgotten" and was.state != step.after.state:
                check_transition(was.state, step.after.state)
                assert step.after.version == was.version + 1
            if step.kind == "refreshed":
                assert was is not None
                assert step.after.version == was.version
            if step.kind == "resolved" and was is not None and rule["resolve_after_s"]:
                assert was.clear_at is not None
                assert second - (was.clear_at - AT).total_seconds() >= rule["resolve_after_s"] - 1e-5
            if step.kind == "fired" and step.after.value is not None:
                assert step.after.opened_at is not None
                assert (step.after.opened_at - step.after.started_at).total_seconds() >= rule["for_s"]
        unresolved = [alert.fingerprint for alert in run.alerts.values() if alert.state != AlertState.RESOLVED]
        assert len(unresolved) == len(set(unresolved))
        # The same moment again changes nothing: a look that is repeated after a crash is harmless.
        assert run.steps(second, *(() if value is None else (value,))) == []


# Silences


def a_silence(silence_id: str = "s1", *, ends_s: float = 60, **labels: str) -> Silence:
    matchers = tuple(Matcher(label, "=", value) for label, value in (labels or {"rule": "late"}).items())
    return Silence(silence_id, matchers, later(10), later(ends_s), AT, "ada", "maintenance")


def test_a_silence_begins_and_ends() -> None:
    alert = an_alert("a1", AT)
    assert silence([alert], [a_silence()], later(9)) == []
    (step,) = silence([alert], [a_silence()], later(10))
    assert (step.kind, step.after.silence_id, step.after.version) == ("silenced", "s1", alert.version)
    assert silence([step.after], [a_silence()], later(59)) == []
    (step,) = silence([step.after], [a_silence()], later(60))
    assert (step.kind, step.after.silence_id) == ("unsilenced", None)


def test_of_several_silences_the_last_to_end_counts() -> None:
    (step,) = silence([an_alert("a1", AT, silence_id="s1")], [a_silence(), a_silence("s2", ends_s=70)], later(20))
    assert (step.kind, step.after.silence_id) == ("refreshed", "s2")


def test_a_silence_is_for_active_alerts_that_match() -> None:
    alerts = [an_alert("a1", AT, state=AlertState.RESOLVED), an_alert("a2", AT, state=AlertState.PENDING), an_alert("a3", AT, rule="x")]
    assert silence(alerts, [a_silence()], later(20)) == []
    (step,) = silence([an_alert("a4", AT)], [a_silence(severity="warning", origin="rules")], later(20))
    assert step.kind == "silenced"
