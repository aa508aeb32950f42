"""Jobs `answer_alerts` and `retrain`: what the policy does about alerts, the second one with the time that training takes."""

from typing import Any

from trajops.policy.answers import Answer, AnswerState
from trajops.services.answers import Answers


def answer_alerts(answers: Answers) -> dict[str, Any]:
    """Begin the answers that are due, and take their quick steps."""
    begun = answers.begin()
    return {"begun": len(begun), **_told(answers.work("pause_rollout", "rollback"))}


def retrain(answers: Answers) -> dict[str, Any]:
    """Take the steps that train."""
    return _told(answers.work("retrain"))


def _told(worked: list[Answer]) -> dict[str, Any]:
    latest = [step for answer in worked for step in answer.steps if step.sentence]
    told: dict[str, Any] = {"open": sum(answer.state == AnswerState.WORKING for answer in worked)}
    return told | ({"sentence": latest[-1].sentence} if latest else {})
