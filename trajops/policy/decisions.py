"""When an answer begins, how its steps follow one another, and when it is over. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from trajops.alerts.lifecycle import Alert
from trajops.alerts.silences import all_match
from trajops.errors import Conflict
from trajops.policy.answers import OPEN_STEPS, Answer, AnswerState, Outcome, Step, StepState
from trajops.policy.rules import AnswerRule, PolicyRules

DAY = timedelta(days=1)
# Of an alert about one version: what is done about a challenger does not hold up what is to be done about the champion.
VERSION_LABEL = "model_version"
# Of a step that waits: for how long, as far as somebody looked.
WAITED_S = "waited_s"
LOOKS = 10


def due(rules: PolicyRules, alerts: Iterable[Alert], known: Sequence[Answer], at: datetime) -> list[tuple[AnswerRule, Alert]]:
    """Alerts that are to be answered now, each by the first rule that fits.

    Args:
        rules: the policy.
        alerts: that are not over.
        known: answers of these alerts, and all of the last day and of the longest rest (`remembered`).
        at: now.

    Returns:
        One pair for each answer that is to begin. An alert is answered once; a silenced one is not, because somebody has said that it
        is known; neither is one that merely waits to open.
    """
    found: list[tuple[AnswerRule, Alert]] = []
    answered = {answer.alert_id for answer in known}
    begun = [(answer.rule, answer.labels.get(VERSION_LABEL), answer.created_at) for answer in known]
    for alert in sorted(alerts, key=lambda one: (-one.severity.rank, one.opened_at or one.started_at, one.alert_id)):
        if alert.alert_id in answered or not alert.is_active or alert.silence_id is not None or alert.opened_at is None:
            continue
        if sum(at - began < DAY for _, _, began in begun) >= rules.per_day:
            break
        rule = next((rule for rule in rules.answers if _fits(rule, alert, begun, at)), None)
        if rule is not None:
            found.append((rule, alert))
            begun.append((rule.name, alert.labels.get(VERSION_LABEL), at))
    return found


def remembered(rules: PolicyRules) -> timedelta:
    """How long ago an answer may have begun and still keep another one from beginning."""
    return max([DAY, *(timedelta(seconds=rule.cooldown_s) for rule in rules.answers)])


def _fits(rule: AnswerRule, alert: Alert, begun: Sequence[tuple[str, str | None, datetime]], at: datetime) -> bool:
    assert alert.opened_at is not None
    mine = (rule.name, alert.labels.get(VERSION_LABEL))
    is_cool = all(at - began >= timedelta(seconds=rule.cooldown_s) for *whose, began in begun if tuple(whose) == mine)
    is_long = at - alert.opened_at >= timedelta(seconds=rule.held_s)
    is_named = alert.rule in (rule.alerts if alert.origin == "rules" else rule.external)
    is_about_it = all_match(rule.match, alert.matchable)
    return is_named and is_about_it and alert.severity.rank >= rule.severity.rank and is_long and is_cool


def begin(answer_id: str, rule: AnswerRule, alert: Alert, at: datetime) -> Answer:
    """The answer that a rule gives to an alert."""
    return Answer(
        answer_id=answer_id,
        rule=rule.name,
        alert_id=alert.alert_id,
        alert_title=alert.title,
        labels=dict(alert.labels),
        alert_opened_at=alert.opened_at or alert.started_at,
        state=AnswerState.PROPOSED if rule.mode == "propose" else AnswerState.WORKING,
        version=1,
        created_at=at,
        updated_at=at,
        steps=tuple(Step(action) for action in rule.do),
    )


def take(answer: Answer, outcome: Outcome, at: datetime, *, patience: timedelta) -> Answer:
    """The answer after its next step has come to an outcome.

    A step that has waited for longer than `patience` fails. Time in which nobody looked, because the workers were away or the alert was
    silenced, is no waiting: between two looks a tenth of the patience counts at most. A rollback that was done makes the rest needless.
    """
    step = answer.next_step
    if step is None:
        raise Conflict(f"the answer {answer.answer_id} has no step to take")
    state, sentence, since, result = outcome.state, outcome.sentence, at, outcome.result
    if state == step.state == StepState.WAITING and step.at is not None:
        waited = timedelta(seconds=step.result.get(WAITED_S, 0.0)) + min(at - answer.updated_at, patience / LOOKS)
        since, result = step.at, result | {WAITED_S: waited.total_seconds()}
        if waited > patience:
            state, sentence, since = StepState.FAILED, f"{sentence}; given up after {patience.total_seconds() / 60:g} minutes", at
    index = answer.steps.index(step)
    steps = list(answer.steps)
    steps[index] = replace(step, state=state, sentence=sentence, at=since, result=result)
    if step.action == "rollback" and state == StepState.DONE:
        rest = "the rollback was done, so this is not needed"
        steps[index + 1 :] = [replace(later, state=StepState.SKIPPED, sentence=rest, at=at) for later in steps[index + 1 :]]
    return replace(answer, steps=tuple(steps), state=_state(steps), version=answer.version + 1, updated_at=at)


def end(answer: Answer, sentence: str, at: datetime) -> Answer:
    """The answer whose alert is over: the steps that are left are not taken."""
    steps = tuple(
        replace(step, state=StepState.SKIPPED, sentence=sentence, at=at) if step.state in OPEN_STEPS else step for step in answer.steps
    )
    return replace(answer, steps=steps, state=_state(steps), version=answer.version + 1, updated_at=at)


def decide(answer: Answer, is_approved: bool, actor: str, at: datetime) -> Answer:
    """The answer that somebody has approved or dismissed.

    Raises:
        Conflict: if it is not a proposal any more.
    """
    if answer.state != AnswerState.PROPOSED:
        raise Conflict(f"the answer {answer.answer_id} is {answer.state}, so there is nothing to decide")
    state = AnswerState.WORKING if is_approved else AnswerState.DISMISSED
    return replace(answer, state=state, decided_by=actor, version=answer.version + 1, updated_at=at)


def _state(steps: Sequence[Step]) -> AnswerState:
    states = {step.state for step in steps}
    if states & OPEN_STEPS:
        return AnswerState.WORKING
    if StepState.DONE in states:
        return AnswerState.DONE
    return AnswerState.FAILED if StepState.FAILED in states else AnswerState.NOTHING
