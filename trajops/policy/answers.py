"""An answer to an alert, and its steps."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

Action = Literal["pause_rollout", "rollback", "retrain"]
# How the names begin that answers act under.
POLICY = "policy:"


class StepState(StrEnum):
    """Where a step stands."""

    PENDING = "pending"
    WAITING = "waiting"  # for data, or for a part that is away; tried again
    DONE = "done"
    SKIPPED = "skipped"  # there was nothing to do
    REFUSED = "refused"  # it would not have helped
    FAILED = "failed"


class AnswerState(StrEnum):
    """Where an answer stands."""

    PROPOSED = "proposed"
    WORKING = "working"
    DONE = "done"  # at least one step was
    NOTHING = "nothing"  # no step was: there was nothing to do, or nothing would have helped
    FAILED = "failed"
    DISMISSED = "dismissed"


OPEN_STEPS = frozenset({StepState.PENDING, StepState.WAITING})
OPEN_ANSWERS = frozenset({AnswerState.PROPOSED, AnswerState.WORKING})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step.

    Attributes:
        state: where it stands now.
        sentence: what was done, or why not.
        result: what else there is to know, as plain data.
    """

    state: StepState
    sentence: str
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an answer; `at` is when its state was reached."""

    action: Action
    state: StepState = StepState.PENDING
    sentence: str = ""
    at: datetime | None = None
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is done about one alert.

    Attributes:
        answer_id: unique; changes of the routes carry it in their idempotency key.
        rule: of the policy.
        alert_id: what is answered.
        alert_title: in a few words.
        labels: of the alert.
        alert_opened_at: when it was opened.
        state: where it stands.
        version: counts changes.
        created_at: when it began, or was proposed.
        updated_at: of the last change.
        steps: in their order.
        decided_by: who approved or dismissed it.
    """

    answer_id: str
    rule: str
    alert_id: str
    alert_title: str
    labels: dict[str, str]
    alert_opened_at: datetime
    state: AnswerState
    version: int
    created_at: datetime
    updated_at: datetime
    steps: tuple[Step, ...]
    decided_by: str | None = None

    @property
    def next_step(self) -> Step | None:
        """The step that is to be taken now; None where there is none."""
        if self.state != AnswerState.WORKING:
            return None
        return next((step for step in self.steps if step.state in OPEN_STEPS), None)

    @property
    def actor(self) -> str:
        """Its name in the audit."""
        return f"{POLICY}{self.rule}"
