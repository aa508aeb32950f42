"""What follows an alert: when an answer begins, how its steps are taken, and when it is over."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajops import configs
from trajops.alerts.lifecycle import Alert, AlertState, Severity
from trajops.errors import Conflict, InvalidInput
from trajops.policy import decisions
from trajops.policy.answers import OPEN_STEPS, Answer, AnswerState, Outcome, StepState
from trajops.policy.rules import AnswerRule, PolicyRules

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
PATIENCE = timedelta(minutes=10)
RULE = AnswerRule(name="worse", alerts=("performance_degraded",), do=("pause_rollout", "rollback", "retrain"), cooldown_s=600)


def an_alert(alert_id: str = "a1", **changes: Any) -> Alert:
    base = Alert(
        alert_id=alert_id,
        fingerprint=alert_id,
        rule="performance_degraded",
        origin="rules",
        title="v2 is worse than validated",
        summary="",
        detail="",
        labels={"model_version": "2"},
        severity=Severity.CRITICAL,
        state=AlertState.OPEN,
        version=1,
        started_at=AT,
        seen_at=AT,
        updated_at=AT,
        opened_at=AT,
    )
    return replace(base, **changes)


def policy(*rules: AnswerRule, **changes: Any) -> PolicyRules:
    return PolicyRules(answers=rules or (RULE,), **changes)


def due(rules: PolicyRules, *alerts: Alert, known: tuple[Answer, ...] = (), after_s: float = 1) -> list[tuple[str, str]]:
    return [(rule.name, alert.alert_id) for rule, alert in decisions.due(rules, alerts, known, AT + timedelta(seconds=after_s))]


def an_answer(alert_id: str = "a0", *, rule: AnswerRule = RULE, at: datetime = AT) -> Answer:
    return decisions.begin(f"answer-{alert_id}", rule, an_alert(alert_id), at)


# When an answer begins


def test_an_open_alert_of_a_rule_is_answered() -> None:
    assert due(policy(), an_alert()) == [("worse", "a1")]


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": "job_late"},
        {"severity": Severity.WARNING},
        {"state": AlertState.PENDING, "opened_at": None},
        {"state": AlertState.RESOLVED},
        {"silence_id": "s1"},
    ],
    ids=["another rule", "milder", "not open yet", "over", "silenced"],
)
def test_other_alerts_are_not(changes: dict[str, Any]) -> None:
    assert due(policy(), an_alert(**changes)) == []


def test_an_external_alert_is_answered_where_it_is_named_as_one() -> None:
    external = an_alert(origin="external", rule="ApiDown")
    assert due(policy(AnswerRule(name="down", alerts=("ApiDown",), do=("retrain",))), external) == []
    assert due(policy(AnswerRule(name="down", external=("ApiDown",), do=("retrain",))), external) == [("down", "a1")]


def test_an_acknowledged_alert_is_answered_as_well() -> None:
    assert due(policy(), an_alert(state=AlertState.ACKNOWLEDGED)) == [("worse", "a1")]


def test_an_alert_is_answered_once() -> None:
    assert due(policy(), an_alert("a0"), known=(an_answer("a0"),), after_s=100_000) == []


def test_an_alert_must_have_been_open_for_long_enough() -> None:
    rules = policy(RULE.model_copy(update={"held_s": 60.0}))
    assert due(rules, an_alert(), after_s=59) == []
    assert due(rules, an_alert(), after_s=60) == [("worse", "a1")]


def test_a_rule_rests_after_an_answer_while_others_go_on() -> None:
    other = AnswerRule(name="other", alerts=("drift",), do=("retrain",))
    known = (an_answer("a0"),)
    assert due(policy(RULE, other), an_alert("a1"), an_alert("a2", rule="drift"), known=known, after_s=599) == [("other", "a2")]
    assert due(policy(RULE, other), an_alert("a1"), known=known, after_s=600) == [("worse", "a1")]


def test_an_answer_about_the_challenger_does_not_hold_up_the_one_about_the_champion() -> None:
    challenger, champion = an_alert("a1", labels={"model_version": "3"}), an_alert("a2")
    assert due(policy(), challenger, champion) == [("worse", "a1"), ("worse", "a2")]


def test_a_rest_of_more_than_a_day_is_kept() -> None:
    rules = policy(RULE.model_copy(update={"cooldown_s": 172_800.0}))
    assert decisions.remembered(rules) == timedelta(days=2)
    assert decisions.remembered(policy()) == timedelta(days=1)
    assert due(rules, an_alert("a1"), known=(an_answer("a0"),), after_s=100_000) == []


def test_two_alerts_at_once_get_one_answer_of_a_rule_and_the_worse_one_gets_it() -> None:
    rules = policy(RULE.model_copy(update={"severity": Severity.WARNING}))
    mild, bad = an_alert("a1", severity=Severity.WARNING), an_alert("a2")
    assert due(rules, mild, bad) == [("worse", "a2")]


def test_no_more_than_so_many_answers_begin_in_a_day() -> None:
    rules = policy(RULE.model_copy(update={"cooldown_s": 0.0}), per_day=2)
    alerts = [an_alert(f"a{number}") for number in range(1, 4)]
    assert due(rules, *alerts) == [("worse", "a1"), ("worse", "a2")]
    assert due(rules, *alerts, known=(an_answer("b1"), an_answer("b2")), after_s=86_399) == []
    assert due(rules, *alerts, known=(an_answer("b1"), an_answer("b2")), after_s=86_400) != []
    assert due(policy(per_day=0), an_alert()) == []


# The steps


def taken(answer: Answer, *outcomes: StepState, every_s: float = 1) -> Answer:
    for number, state in enumerate(outcomes):
        answer = decisions.take(answer, Outcome(state, state), AT + timedelta(seconds=every_s * (number + 1)), patience=PATIENCE)
    return answer


def test_steps_are_taken_in_their_order_until_all_are() -> None:
    answer = an_answer()
    assert answer.next_step is not None
    assert answer.next_step.action == "pause_rollout"
    answer = taken(answer, StepState.SKIPPED, StepState.REFUSED)
    assert answer.next_step is not None
    assert answer.next_step.action == "retrain"
    assert answer.state == AnswerState.WORKING
    answer = taken(answer, StepState.DONE)
    assert (answer.state, answer.next_step, answer.version) == (AnswerState.DONE, None, 4)


def test_a_rollback_that_was_done_ends_the_answer() -> None:
    answer = taken(an_answer(), StepState.DONE, StepState.DONE)
    assert [step.state for step in answer.steps] == [StepState.DONE, StepState.DONE, StepState.SKIPPED]
    assert answer.state == AnswerState.DONE
    assert "not needed" in answer.steps[2].sentence


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ((StepState.SKIPPED, StepState.SKIPPED, StepState.REFUSED), AnswerState.NOTHING),
        ((StepState.SKIPPED, StepState.FAILED, StepState.REFUSED), AnswerState.FAILED),
        ((StepState.DONE, StepState.FAILED, StepState.FAILED), AnswerState.DONE),
    ],
)
def test_the_end_of_an_answer_says_what_came_of_it(outcomes: tuple[StepState, ...], state: AnswerState) -> None:
    assert taken(an_answer(), *outcomes).state == state


def test_a_step_may_wait_and_is_given_up_when_that_takes_too_long() -> None:
    answer = taken(an_answer(), *[StepState.WAITING] * 5, every_s=60)
    step = answer.next_step
    assert step is not None
    assert (step.action, step.state, step.at) == ("pause_rollout", StepState.WAITING, AT + timedelta(seconds=60))
    answer = taken(an_answer(), *[StepState.WAITING] * 11, every_s=60)
    late = decisions.take(answer, Outcome(StepState.WAITING, "still"), AT + timedelta(seconds=661), patience=PATIENCE)
    assert late.steps[0].state == StepState.FAILED
    assert late.steps[0].sentence == "still; given up after 10 minutes"
    assert late.next_step is not None
    assert late.next_step.action == "rollback"


def test_time_in_which_nobody_looked_is_no_waiting() -> None:
    answer = taken(an_answer(), *[StepState.WAITING] * 5, every_s=60)
    away = AT + timedelta(hours=2)
    answer = decisions.take(answer, Outcome(StepState.WAITING, "still"), away, patience=PATIENCE)
    assert (answer.steps[0].state, answer.steps[0].at) == (StepState.WAITING, AT + timedelta(seconds=60))
    for minute in range(1, 7):
        assert answer.steps[0].state == StepState.WAITING
        answer = decisions.take(answer, Outcome(StepState.WAITING, "still"), away + timedelta(minutes=minute), patience=PATIENCE)
    assert answer.steps[0].state == StepState.FAILED, "four minutes before, one for the two hours, and six after"


def test_an_answer_whose_alert_is_over_takes_no_further_step() -> None:
    answer = decisions.end(taken(an_answer(), StepState.DONE), "the alert was over", AT)
    assert (answer.state, answer.next_step) == (AnswerState.DONE, None)
    assert [step.sentence for step in answer.steps[1:]] == ["the alert was over"] * 2


def test_a_proposal_waits_for_somebody() -> None:
    proposed = an_answer(rule=RULE.model_copy(update={"mode": "propose"}))
    assert (proposed.state, proposed.next_step) == (AnswerState.PROPOSED, None)
    approved = decisions.decide(proposed, True, "ada", AT)
    assert approved.next_step is not None
    assert approved.decided_by == "ada"
    dismissed = decisions.decide(proposed, False, "ada", AT)
    assert (dismissed.state, dismissed.next_step) == (AnswerState.DISMISSED, None)
    with pytest.raises(Conflict):
        decisions.decide(approved, True, "ada", AT)
    with pytest.raises(Conflict):
        decisions.take(dismissed, Outcome(StepState.DONE, ""), AT, patience=PATIENCE)


@given(st.lists(st.sampled_from(list(StepState)[1:]), max_size=40))
def test_whatever_the_outcomes_an_answer_comes_to_an_end_and_takes_no_step_twice(outcomes: list[StepState]) -> None:
    answer = an_answer()
    done: list[str] = []
    for number, state in enumerate(outcomes):
        step = answer.next_step
        if step is None:
            break
        answer = decisions.take(answer, Outcome(state, "x"), AT + timedelta(minutes=number), patience=PATIENCE)
        if state not in OPEN_STEPS:
            done.append(step.action)
    assert len(done) == len(set(done))
    is_over = all(step.state not in OPEN_STEPS for step in answer.steps)
    assert (answer.state != AnswerState.WORKING) is is_over
    if len(outcomes) == 40:  # eleven waits are the patience of a step
        assert is_over


# The file


def test_the_shipped_policy_is_valid_and_does_not_promote() -> None:
    rules = configs.load(Path("configs/policy.yaml"), PolicyRules)
    assert {rule.name for rule in rules.answers} == {"worse_than_validated", "scene_is_wrong", "traffic_has_changed"}


@pytest.mark.parametrize(
    ("rule", "labels", "steps"),
    [
        ("drift", {}, ["pause_rollout", "retrain"]),
        ("drift_of_scene", {"kind": "new_scene", "scene": "dock"}, ["pause_rollout", "retrain"]),
        ("drift_of_scene", {"kind": "frame", "scene": "hall"}, ["pause_rollout"]),
        ("drift_of_scene", {"kind": "sampling_rate"}, ["pause_rollout"]),
        ("drift_of_unit", {"kind": "unit", "scene": "hall"}, None),
        ("drift_of_unit", {}, None),
    ],
)
def test_only_what_can_be_learnt_is_trained_on(rule: str, labels: dict[str, str], steps: list[str] | None) -> None:
    rules = configs.load(Path("configs/policy.yaml"), PolicyRules)
    found = decisions.due(rules, [an_alert(rule=rule, labels=labels)], (), AT + timedelta(seconds=90))
    assert [list(answer.do) for answer, _ in found] == ([] if steps is None else [steps])


def test_a_scene_in_another_frame_does_not_use_up_the_answer_to_drift() -> None:
    rules = configs.load(Path("configs/policy.yaml"), PolicyRules)
    [(rule, frame)] = decisions.due(
        rules, [an_alert(rule="drift_of_scene", labels={"kind": "frame", "scene": "hall"})], (), AT + timedelta(seconds=90)
    )
    known = [decisions.begin("answer-1", rule, frame, AT + timedelta(seconds=90))]
    found = decisions.due(rules, [an_alert("a2", rule="drift", labels={})], known, AT + timedelta(hours=1))
    assert [answer.name for answer, _ in found] == ["traffic_has_changed"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (2, "answers:\n  - name: a\n    alerts: []\n    do: [retrain]\n"),
        (3, "answers:\n  - name: a\n    alerts: [drfit]\n    do: [retrain]\n"),
        (4, "answers:\n  - name: a\n    alerts: [drift]\n    do: [promote]\n"),
        (2, "answers:\n  - {name: a, alerts: [drift], do: [retrain, retrain]}\n"),
        (2, "per_day: 2\nanswers:\n  - {name: a, alerts: [drift], do: [retrain]}\n  - {name: a, alerts: [drift], do: [retrain]}\n"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_line(tmp_path: Path, line: int, text: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=rf"policy\.yaml:{line}: "):
        configs.load(path, PolicyRules, {"alerts": {"drift"}})
