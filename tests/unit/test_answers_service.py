"""Answers at work: begun once, taken step by step, each step on record before the next, whatever fails."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from data.stubs import MemoryDatabase, SetClock
from tests.alert_builders import an_alert
from trajops.alerts.lifecycle import Alert, AlertState, Severity
from trajops.clock import now
from trajops.contracts.audit import AuditOut
from trajops.errors import Conflict, NotFound, StaleVersion, Unavailable
from trajops.policy.answers import Answer, AnswerState, Outcome, StepState
from trajops.policy.rules import PolicyRules
from trajops.services.alerts import Alerts
from trajops.services.answers import Answers, decide

REASON = "because of the test"
ACTIONS = ("pause_rollout", "rollback", "retrain")


class Bench:
    """Control state, clock, and steps that do what the test says and remember that they were called."""

    def __init__(self, **rule: Any) -> None:
        self.database, self.clock = MemoryDatabase(), SetClock()
        self.called: list[str] = []
        self.does: dict[str, Callable[[], Outcome]] = {name: lambda: Outcome(StepState.DONE, "done") for name in ACTIONS}
        one = {"name": "worse", "alerts": ["late"], "do": list(ACTIONS), "cooldown_s": 0} | rule
        self.rules = PolicyRules.model_validate({"patience_s": 600, "answers": [one]})
        self.open("a1")

    @property
    def answers(self) -> Answers:
        return Answers(self.database.unit_of_work, self.rules, {name: self._step(name) for name in ACTIONS}, self.clock)

    def _step(self, name: Any) -> Any:
        def take(_answer: Answer) -> Outcome:
            self.called.append(name)
            return self.does[name]()

        return take

    def open(self, alert_id: str) -> None:
        alert = an_alert(alert_id, now(self.clock), fingerprint=alert_id, severity=Severity.CRITICAL)
        with self.database.unit_of_work() as work:
            work.alerts.add(alert)

    def change(self, alert_id: str, **changes: Any) -> None:
        with self.database.unit_of_work() as work:
            alert: Alert = work.alerts.get(alert_id)
            work.alerts.save(replace(alert, version=alert.version + 1, **changes), alert.version)

    def stored(self) -> list[Answer]:
        with self.database.unit_of_work(read_only=True) as work:
            found: list[Answer] = work.answers.newest()
        return found

    def audit(self) -> list[AuditOut]:
        with self.database.unit_of_work(read_only=True) as work:
            return [entry for entry in reversed(work.audit.newest()) if entry.action.startswith("answer.")]

    def states(self) -> list[str]:
        return [step.state.value for step in self.stored()[0].steps]


def raises(error: Exception) -> Callable[[], Outcome]:
    def step() -> Outcome:
        raise error

    return step


def refuses() -> Outcome:
    return Outcome(StepState.REFUSED, "it would not help")


def test_an_alert_is_answered_once_and_that_is_audited_and_told_in_its_timeline() -> None:
    bench = Bench()
    [begun] = bench.answers.begin()
    assert bench.answers.begin() == []
    bench.clock.advance(1)
    bench.does["rollback"] = refuses
    bench.answers.work("pause_rollout", "rollback")
    assert bench.states() == ["done", "refused", "pending"]
    bench.answers.work("pause_rollout", "rollback")
    bench.answers.work("retrain")
    assert bench.called == ["pause_rollout", "rollback", "retrain"]
    assert bench.stored()[0].state == AnswerState.DONE
    assert [(entry.action, entry.actor, entry.subject) for entry in bench.audit()] == [
        ("answer.began", "policy:worse", "alert/a1"),
        ("answer.ended", "policy:worse", "alert/a1"),
    ]
    assert bench.audit()[1].reason == "pause rollout: done; rollback: it would not help; retrain: done"
    events = Alerts(bench.database.unit_of_work, lambda: pytest.fail("not asked for"), bench.clock).detail("a1").events
    assert [(event.kind, event.actor) for event in events] == [("answered", "policy:worse")] * 2
    assert begun.answer_id == bench.stored()[0].answer_id


def test_each_step_is_on_record_before_the_next_begins() -> None:
    bench = Bench()
    seen: list[list[str]] = []
    for name in ("pause_rollout", "rollback"):
        bench.does[name] = lambda: seen.append(bench.states()) or Outcome(StepState.SKIPPED, "nothing")  # type: ignore[func-returns-value]
    bench.answers.begin()
    bench.answers.work("pause_rollout", "rollback")
    assert seen == [["pending"] * 3, ["skipped", "pending", "pending"]]


@pytest.mark.parametrize("error", [Unavailable("the database is away"), StaleVersion("somebody was faster")], ids=["away", "race"])
def test_a_part_that_is_away_or_a_race_makes_a_step_wait_and_it_is_tried_again(error: Exception) -> None:
    bench = Bench()
    bench.does["pause_rollout"] = raises(error)
    bench.answers.begin()
    for _ in range(3):
        bench.answers.work("pause_rollout", "rollback")
        bench.clock.advance(60)
    assert (bench.called, bench.states()) == (["pause_rollout"] * 3, ["waiting", "pending", "pending"])
    bench.does["pause_rollout"] = lambda: Outcome(StepState.DONE, "done")
    bench.answers.work("pause_rollout", "rollback")
    assert bench.states() == ["done", "done", "skipped"]


def test_two_changes_that_met_are_tried_again_and_not_for_ever() -> None:
    bench = Bench()
    bench.does["pause_rollout"] = raises(Conflict("two changes met in the database"))
    bench.answers.begin()
    bench.answers.work("pause_rollout")
    assert bench.states() == ["waiting", "pending", "pending"]
    assert bench.stored()[0].steps[0].sentence == "two changes met in the database; tried 1 of 3 times"
    bench.answers.work("pause_rollout")
    bench.answers.work("pause_rollout")
    assert bench.states() == ["failed", "pending", "pending"]
    again = Bench()
    again.does["pause_rollout"] = raises(Conflict("two changes met in the database"))
    again.answers.begin()
    again.answers.work("pause_rollout")
    again.does["pause_rollout"] = lambda: Outcome(StepState.DONE, "done")
    again.answers.work("pause_rollout")
    assert again.states()[0] == "done"


def test_a_step_that_waits_for_too_long_is_given_up() -> None:
    bench = Bench()
    bench.does["pause_rollout"] = raises(Unavailable("away"))
    bench.answers.begin()
    for _ in range(12):
        bench.answers.work("pause_rollout")
        bench.clock.advance(60)
    assert bench.states() == ["failed", "pending", "pending"]
    assert bench.stored()[0].steps[0].sentence == "away; given up after 10 minutes"


def test_a_step_that_fails_makes_way_for_the_next() -> None:
    bench = Bench()
    bench.does["pause_rollout"] = raises(NotFound("it is gone"))
    bench.answers.begin()
    bench.answers.work("pause_rollout", "rollback")
    assert bench.states() == ["failed", "done", "skipped"]
    assert bench.stored()[0].steps[0].sentence == "it is gone"


def test_a_step_that_fails_for_an_unforeseen_reason_is_tried_some_times_more() -> None:
    bench = Bench()
    bench.does["pause_rollout"] = raises(ValueError("a fault of ours"))
    bench.answers.begin()
    for number in (1, 2):
        bench.answers.work("pause_rollout", "rollback")
        assert bench.states() == ["waiting", "pending", "pending"]
        assert bench.stored()[0].steps[0].sentence == f"ValueError: a fault of ours; tried {number} of 3 times"
    bench.answers.work("pause_rollout", "rollback")
    assert bench.states() == ["failed", "done", "skipped"]


def test_an_accident_is_over_at_the_next_try() -> None:
    bench = Bench()
    bench.does["pause_rollout"] = raises(KeyError("who came meanwhile"))
    bench.answers.begin()
    bench.answers.work("pause_rollout")
    bench.does["pause_rollout"] = lambda: Outcome(StepState.DONE, "done")
    bench.answers.work("pause_rollout")
    assert bench.states()[0] == "done"


def test_when_the_alert_is_over_nothing_more_is_done() -> None:
    bench = Bench()
    bench.does["rollback"] = refuses
    bench.answers.begin()
    bench.answers.work("pause_rollout", "rollback")
    bench.change("a1", state=AlertState.RESOLVED, resolved_at=now(bench.clock), resolved_by="rules")
    bench.answers.work("retrain")
    assert (bench.called, bench.states()) == (["pause_rollout", "rollback"], ["done", "refused", "skipped"])
    assert bench.stored()[0].state == AnswerState.DONE


def test_nothing_more_is_done_while_the_alert_is_silenced() -> None:
    bench = Bench()
    bench.does["pause_rollout"] = raises(Unavailable("away"))
    bench.answers.begin()
    bench.answers.work("pause_rollout", "rollback")
    bench.change("a1", silence_id="s1")
    bench.does["pause_rollout"] = lambda: Outcome(StepState.DONE, "done")
    bench.answers.work("pause_rollout", "rollback")
    assert (bench.called, bench.states()) == (["pause_rollout"], ["waiting", "pending", "pending"])
    bench.change("a1", silence_id=None)
    bench.answers.work("pause_rollout", "rollback")
    assert bench.states() == ["done", "done", "skipped"]


def test_what_was_done_before_a_crash_is_on_record_though_the_alert_is_over() -> None:
    bench = Bench(do=["rollback", "retrain"])
    bench.answers.begin()
    bench.clock.advance(1)
    bench.change("a1", state=AlertState.RESOLVED, resolved_at=now(bench.clock), resolved_by="rules")
    unit_of_work, steps = bench.database.unit_of_work, {"rollback": refuses}
    recalled = Answers(unit_of_work, bench.rules, steps, bench.clock, recall=lambda _: Outcome(StepState.DONE, "v1 is champion again"))  # type: ignore[arg-type]
    recalled.work("rollback")
    assert (bench.states(), bench.stored()[0].state) == (["done", "skipped"], AnswerState.DONE)
    assert bench.audit()[-1].reason.startswith("rollback: v1 is champion again")


def test_an_acknowledged_alert_is_still_answered() -> None:
    bench = Bench()
    bench.answers.begin()
    bench.change("a1", state=AlertState.ACKNOWLEDGED, acknowledged_at=now(bench.clock), acknowledged_by="ada")
    bench.answers.work("pause_rollout", "rollback")
    assert bench.called == ["pause_rollout", "rollback"]


def test_a_step_that_two_workers_take_is_recorded_once() -> None:
    bench = Bench()
    bench.answers.begin()
    other = bench.answers

    def both() -> Outcome:
        bench.does["pause_rollout"] = lambda: Outcome(StepState.DONE, "by the other one")
        other.work("pause_rollout")
        return Outcome(StepState.DONE, "by this one, too late")

    bench.does["pause_rollout"] = both
    bench.answers.work("pause_rollout")
    assert bench.stored()[0].steps[0].sentence == "by the other one"
    assert bench.stored()[0].version == 2


def test_a_proposal_does_nothing_before_it_is_approved() -> None:
    bench = Bench(mode="propose")
    [proposed] = bench.answers.begin()
    bench.answers.work(*ACTIONS)
    assert bench.called == []
    who: dict[str, Any] = {"actor": "ada", "reason": REASON}
    bench.clock.advance(1)
    with pytest.raises(StaleVersion):
        decide(bench.database.unit_of_work, bench.clock, proposed.answer_id, 7, is_approved=True, **who)
    first = decide(bench.database.unit_of_work, bench.clock, proposed.answer_id, 1, is_approved=True, **who, idempotency_key="k")
    again = decide(bench.database.unit_of_work, bench.clock, proposed.answer_id, 1, is_approved=True, **who, idempotency_key="k")
    assert first == again
    with pytest.raises(Conflict):
        decide(bench.database.unit_of_work, bench.clock, proposed.answer_id, 2, is_approved=False, **who)
    bench.clock.advance(1)
    bench.answers.work("pause_rollout", "rollback")
    assert bench.called == ["pause_rollout", "rollback"]
    assert [(entry.action, entry.actor) for entry in bench.audit()] == [
        ("answer.proposed", "policy:worse"),
        ("answer.approved", "ada"),
        ("answer.ended", "policy:worse"),
    ]


def test_a_dismissed_proposal_is_left_alone() -> None:
    bench = Bench(mode="propose")
    [proposed] = bench.answers.begin()
    decide(bench.database.unit_of_work, bench.clock, proposed.answer_id, 1, is_approved=False, actor="ada", reason=REASON)
    bench.answers.work(*ACTIONS)
    bench.clock.advance(timedelta(days=2).total_seconds())
    assert (bench.called, bench.answers.begin()) == ([], [])


def test_a_proposal_whose_alert_is_over_waits_for_nobody() -> None:
    bench = Bench(mode="propose")
    [proposed] = bench.answers.begin()
    bench.change("a1", state=AlertState.RESOLVED, resolved_at=now(bench.clock), resolved_by="rules")
    bench.clock.advance(1)
    bench.answers.work("retrain")
    assert (bench.called, bench.states()) == ([], ["skipped"] * 3)
    assert bench.stored()[0].state == AnswerState.NOTHING
    with pytest.raises(StaleVersion):
        decide(bench.database.unit_of_work, bench.clock, proposed.answer_id, 1, is_approved=True, actor="ada", reason=REASON)
    bench.answers.work(*ACTIONS)
    assert [entry.action for entry in bench.audit()] == ["answer.proposed", "answer.ended"]
