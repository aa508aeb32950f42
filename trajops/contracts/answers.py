"""Answers: what the policy has done about alerts."""

from typing import Any, Self

from pydantic import AwareDatetime, Field

from trajops.contracts.wire import Reason, Wire
from trajops.policy.answers import Action, Answer, AnswerState, StepState


class AnswerStepOut(Wire):
    """One step of an answer."""

    action: Action
    state: StepState
    sentence: str = Field(description="What was done, why not, or what is waited for; empty before its turn.")
    at: AwareDatetime | None
    result: dict[str, Any] = Field(default_factory=dict)


class AnswerOut(Wire):
    """What is done about one alert, step by step."""

    answer_id: str
    rule: str = Field(description="Of `configs/policy.yaml`.")
    alert_id: str
    alert_title: str
    labels: dict[str, str]
    alert_opened_at: AwareDatetime
    state: AnswerState
    version: int = Field(description="For `expected_version` of a decision.")
    created_at: AwareDatetime
    updated_at: AwareDatetime
    steps: list[AnswerStepOut]
    decided_by: str | None = Field(description="Who approved or dismissed a proposal.")

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """An answer as it is shown."""
        shown = {name: getattr(answer, name) for name in cls.model_fields if name != "steps"}
        steps = [AnswerStepOut(**{name: getattr(step, name) for name in AnswerStepOut.model_fields}) for step in answer.steps]
        return cls(**shown, steps=steps)


class AnswersOut(Wire):
    """Answers, newest first."""

    answers: list[AnswerOut]


class AnswerDecisionIn(Wire):
    """Approve or dismiss a proposal, refused when it has changed."""

    expected_version: int = Field(ge=1, description="Version of the answer that the caller has seen.")
    reason: Reason
