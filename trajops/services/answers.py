"""Answer alerts: begin what the policy says, and take one step after the other, each on record before the next."""

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Literal
from uuid import uuid4

from trajops.alerts.lifecycle import AlertState
from trajops.clock import now
from trajops.contracts.answers import AnswerOut
from trajops.errors import Conflict, NotFound, StaleVersion, TrajOpsError, Unavailable
from trajops.policy import decisions
from trajops.policy.answers import Action, Answer, AnswerState, Outcome, StepState
from trajops.policy.rules import PolicyRules
from trajops.ports import Clock
from trajops.services.once import Asked, once
from trajops.stores import UnitOfWork, UnitOfWorkFactory

logger = logging.getLogger(__name__)

# A step that fails for a reason that may pass is tried so often.
MOST_TRIES, TRIES = 3, "tries"

# Takes the next step of an answer; repeated after a crash, so that it must find what it has done already.
Take = Callable[[Answer], Outcome]


class Answers:
    """The policy at work. Several workers may call it: a step that two of them take is recorded once.

    Args:
        unit_of_work: opens a transaction.
        rules: the policy.
        steps: how each action is taken.
        clock: what time it is.
        recall: whether the next step of an answer was done already, though that is not on record.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        rules: PolicyRules,
        steps: Mapping[Action, Take],
        clock: Clock,
        *,
        recall: Callable[[Answer], Outcome | None] = lambda _: None,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._rules = rules
        self._steps = steps
        self._recall = recall
        self._clock = clock

    def begin(self) -> list[Answer]:
        """Begin the answers that are due now."""
        at = now(self._clock)
        since = at - decisions.remembered(self._rules)
        with self._unit_of_work(read_only=True) as work:
            if not decisions.due(self._rules, work.alerts.unresolved(), work.answers.newest(since=since), at):
                return []
        with self._unit_of_work() as work:
            active = work.alerts.unresolved(for_change=True)
            known = [*work.answers.newest(since=since), *work.answers.of_alerts([alert.alert_id for alert in active])]
            begun = [
                decisions.begin(uuid4().hex, rule, alert, at)
                for rule, alert in decisions.due(self._rules, active, list({one.answer_id: one for one in known}.values()), at)
            ]
            for answer in begun:
                work.answers.add(answer)
                _audit(work, answer, "answer.began" if answer.state == AnswerState.WORKING else "answer.proposed", None)
        return begun

    def work(self, *actions: Action) -> list[Answer]:
        """Take the next step of every open answer, as long as it is one of these actions.

        Returns:
            The answers as they stand after that.
        """
        with self._unit_of_work(read_only=True) as work:
            open_ones = work.answers.open()
        return [self._worked(answer, actions) for answer in open_ones]

    def _worked(self, answer: Answer, actions: tuple[Action, ...]) -> Answer:
        if answer.state == AnswerState.PROPOSED and self._standing(answer) == "over":
            after = decisions.end(answer, "the alert was over before anybody approved it", now(self._clock))
            return after if self._is_recorded(after, answer) else answer
        while (step := answer.next_step) is not None and step.action in actions:
            standing = self._standing(answer)
            if standing == "silenced":
                return answer  # somebody knows about it; nothing more is done while that holds
            done = self._recall(answer) if standing == "over" else self._taken(step.action, answer)
            if done is None:
                after = decisions.end(answer, "the alert was over before that", now(self._clock))
            else:
                after = decisions.take(answer, done, now(self._clock), patience=self._patience)
            if not self._is_recorded(after, answer):
                return answer
            has_moved = any(one.state != other.state for one, other in zip(after.steps, answer.steps, strict=True))
            if has_moved:
                logger.info("a step of an answer", extra={"answer_id": answer.answer_id, "rule": answer.rule, "action": step.action})
            answer = after
            if (later := answer.next_step) is not None and later.action == step.action:
                return answer  # it waits
        return answer

    @property
    def _patience(self) -> timedelta:
        return timedelta(seconds=self._rules.patience_s)

    def _is_recorded(self, after: Answer, before: Answer) -> bool:
        """Write the answer as it stands now; False where somebody else was faster."""
        try:
            with self._unit_of_work() as work:
                work.answers.save(after, before.version)
                if after.state != AnswerState.WORKING:
                    _audit(work, after, "answer.ended", before)
        except StaleVersion:
            logger.info("an answer was taken further elsewhere", extra={"answer_id": before.answer_id})
            return False
        return True

    def _standing(self, answer: Answer) -> Literal["active", "silenced", "over"]:
        with self._unit_of_work(read_only=True) as work:
            try:
                alert = work.alerts.get(answer.alert_id)
            except NotFound:
                return "over"  # and forgotten long ago
        if alert.state == AlertState.RESOLVED:
            return "over"
        return "active" if alert.silence_id is None else "silenced"

    def _taken(self, action: Action, answer: Answer) -> Outcome:
        try:
            return self._steps[action](answer)
        except (Unavailable, StaleVersion) as error:
            # A part is away, or somebody was faster: what was done already is found again the next time.
            return Outcome(StepState.WAITING, error.message)
        except Conflict as error:
            # Two changes may have met, or what was found in the way may be gone by now.
            return _tried(answer, error.message)
        except TrajOpsError as error:
            return Outcome(StepState.FAILED, error.message)
        except Exception as error:
            logger.exception("a step of an answer failed", exc_info=error, extra={"answer_id": answer.answer_id, "action": action})
            return _tried(answer, f"{type(error).__name__}: {error}")


def _tried(answer: Answer, said: str) -> Outcome:
    """What may have been an accident is tried again, because an alert is answered once; and not for ever: some steps take minutes."""
    tries = 1 + (answer.next_step.result.get(TRIES, 0) if answer.next_step is not None else 0)
    state = StepState.WAITING if tries < MOST_TRIES else StepState.FAILED
    return Outcome(state, f"{said}; tried {tries} of {MOST_TRIES} times", {TRIES: tries})


def decide(
    unit_of_work: UnitOfWorkFactory,
    clock: Clock,
    answer_id: str,
    expected_version: int,
    *,
    is_approved: bool,
    actor: str,
    reason: str,
    idempotency_key: str | None = None,
) -> AnswerOut:
    """Approve or dismiss a proposal, once under an idempotency key.

    Raises:
        NotFound: if there is no such answer.
        StaleVersion: if it has changed since.
        Conflict: if it is not a proposal any more.
    """
    action = "answer.approved" if is_approved else "answer.dismissed"

    def change(work: UnitOfWork) -> AnswerOut:
        before = work.answers.get(answer_id)
        if before.version != expected_version:
            raise StaleVersion(
                f"the answer {answer_id} has version {before.version}, not {expected_version}: it has changed; read it again and repeat",
                present_version=before.version,
            )
        after = decisions.decide(before, is_approved, actor, now(clock))
        work.answers.save(after, expected_version)
        _audit(work, after, action, before, actor=actor, reason=reason)
        return AnswerOut.of(after)

    payload = {"answer_id": answer_id, "expected_version": expected_version, "reason": reason}
    return once(unit_of_work, clock, Asked(actor, action, payload, idempotency_key), AnswerOut, change)


def _audit(
    work: UnitOfWork, answer: Answer, action: str, before: Answer | None, *, actor: str | None = None, reason: str | None = None
) -> None:
    said = "; ".join(f"{step.action.replace('_', ' ')}: {step.sentence}" for step in answer.steps if step.sentence)
    planned = "answers it with: " + ", ".join(step.action.replace("_", " ") for step in answer.steps)
    work.audit.append(
        at=answer.updated_at,
        actor=actor or answer.actor,
        action=action,
        subject=f"alert/{answer.alert_id}",
        reason=reason or said or planned,
        before={} if before is None else {"state": before.state},
        after={"answer_id": answer.answer_id, "state": answer.state, "steps": {step.action: step.state for step in answer.steps}},
    )
