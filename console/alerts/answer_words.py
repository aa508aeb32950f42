"""Answers of the policy: what is said of them and of their steps, and what to say after a decision that came too late. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite

from console.names import actor_words
from console.wording import Mark, ago, count, metres
from trajops.contracts.answers import AnswerOut, AnswerStepOut

_ANSWERS: dict[str, Mark] = {
    "proposed": Mark("Proposed", "warn", "pending_actions"),
    "working": Mark("At work", "info", "hourglass_top"),
    "done": Mark("Done", "ok", "check_circle"),
    "nothing": Mark("Nothing done", "unknown", "do_not_disturb_on"),
    "failed": Mark("Failed", "bad", "error"),
    "dismissed": Mark("Dismissed", "unknown", "cancel"),
}
_STEPS: dict[str, Mark] = {
    "pending": Mark("Not yet", "unknown", "schedule"),
    "waiting": Mark("Waiting", "info", "hourglass_top"),
    "done": Mark("Done", "ok", "check_circle"),
    "skipped": Mark("Skipped", "unknown", "skip_next"),
    "refused": Mark("Refused", "warn", "block"),
    "failed": Mark("Failed", "bad", "error"),
}
NOT_TAKEN = Mark("Not taken", "unknown", "cancel")
_ACTIONS = {"pause_rollout": "pause the rollout", "rollback": "roll back", "retrain": "train a challenger on recent tracks"}
# What is compared with the champion.
_CANDIDATES = {"rollback": "the previous champion", "retrain": "the new version"}


def answer_mark(state: str) -> Mark:
    """Mark of where an answer stands."""
    return _ANSWERS.get(state, Mark(state.replace("_", " ").capitalize(), "unknown", "help"))


def step_mark(step: AnswerStepOut, answer: AnswerOut) -> Mark:
    """Mark of where a step stands; in an answer that was dismissed nothing is still to come."""
    if step.state.value == "pending" and answer.state.value == "dismissed":
        return NOT_TAKEN
    return _STEPS.get(step.state.value, Mark(step.state.value.capitalize(), "unknown", "help"))


def rule_words(rule: str) -> str:
    """A rule of the policy as it is read."""
    return rule.replace("_", " ")


def action_words(action: str) -> str:
    """What a step does."""
    return _ACTIONS.get(action) or action.replace("_", " ")


def steps_words(answer: AnswerOut) -> str:
    """All its steps in their order."""
    return ", then ".join(action_words(step.action) for step in answer.steps)


def answer_label(answer: AnswerOut) -> str:
    """The alert that is answered, in one line: its title and its labels."""
    labels = ", ".join(f"{name}={value}" for name, value in sorted(answer.labels.items()))
    return f"{answer.alert_title} · {labels}" if labels else answer.alert_title


def sentence(text: str) -> str:
    """A clause of a step as a sentence; the name of a version stays as it is."""
    if not text:
        return ""
    begin = text[0] if re.match(r"v\d", text) else text[0].upper()
    return f"{begin}{text[1:].removesuffix('.')}."


def begun_words(answer: AnswerOut, now: datetime) -> str:
    """By which rule it was given, when, and who has decided on it."""
    begun = "proposed" if answer.state.value in {"proposed", "dismissed"} else "began"
    said = f"rule “{rule_words(answer.rule)}” · {begun} {ago(answer.created_at, now)}"
    if answer.decided_by is None:
        return said
    decided = "dismissed" if answer.state.value == "dismissed" else "approved"
    return f"{said} · {decided} by {actor_words(answer.decided_by)}"


def done_sentence(answer: AnswerOut) -> str:
    """What was done, or why nothing was; what it waits for while it is at work."""
    state = answer.state.value
    if state == "proposed":
        return f"It would {steps_words(answer)}. It waits until somebody approves or dismisses it."
    if state == "dismissed":
        return "Nothing was done, because it was dismissed."
    if state == "done":
        # What was refused after the last thing that was done is how it ended.
        last = max((number for number, step in enumerate(answer.steps) if step.state.value == "done"), default=-1)
        ends = [step for number, step in enumerate(answer.steps) if number > last and step.state.value in {"refused", "failed"}]
        told = [step for step in answer.steps if step.state.value == "done"] + ends
        said = [sentence(step.sentence) for step in told if step.sentence]
        return " ".join(filter(None, [*dict.fromkeys(said), go_on_words(answer)])) or "Nothing was done."
    shown = {"failed": {"done", "failed"}, "working": {"done", "waiting"}}.get(state, {"refused", "skipped"})
    found = [sentence(step.sentence) for step in answer.steps if step.state.value in shown and step.sentence]
    if not found and state == "working":
        return f"It is about to {steps_words(answer)}."
    return " ".join(dict.fromkeys(found)) or "Nothing was done."


def go_on_words(answer: AnswerOut) -> str:
    """How to go on with the comparisons that an answer has paused; empty where it has paused none, or has done more since."""
    done = [step for step in answer.steps if step.state.value == "done"]
    if not done or done[-1].action != "pause_rollout" or (version := model_version(done[-1])) is None:
        return ""
    if isinstance(several := done[-1].result.get("model_versions"), list):
        names = " and ".join(f"v{one}" for one in several)
        return f"{names} answer nobody until somebody resumes or stops them on the A/B tests page, best when the alert is over."
    return f"v{version} answers nobody until somebody resumes or stops its comparison on the Models page, best when the alert is over."


# What was compared


@dataclass(frozen=True, slots=True)
class Compared:
    """Two models on the same recorded tracks.

    Attributes:
        candidate: what might take over.
        candidate_ade: its mean ADE.
        champion_ade: the same of the champion.
        agents: that both were measured on.
        words: which of the two is nearer to the truth, and by how much.
    """

    candidate: str
    candidate_ade: str
    champion_ade: str
    agents: str
    words: str


def compared(step: AnswerStepOut) -> Compared | None:
    """What a step has compared before it was taken or refused; None where it has not."""
    candidate_m, champion_m = _length(step, "candidate_ade_m"), _length(step, "incumbent_ade_m")
    if candidate_m is None or champion_m is None:
        return None
    agents, version = step.result.get("agents"), model_version(step)
    name = _CANDIDATES.get(step.action, "the candidate") + (f", v{version}" if version is not None else "")
    apart = metres(abs(candidate_m - champion_m))
    words = f"{apart} {'nearer to' if candidate_m < champion_m else 'farther from'} what was observed"
    said = count(agents) if isinstance(agents, int) else ""
    return Compared(name, metres(candidate_m), metres(champion_m), said, "as near" if apart == metres(0.0) else words)


def model_version(step: AnswerStepOut) -> int | None:
    """The version that a step has changed or made; None where there is none."""
    found = step.result.get("model_version")
    return found if isinstance(found, int) else None


def _length(step: AnswerStepOut, name: str) -> float | None:
    found = step.result.get(name)
    return float(found) if isinstance(found, int | float) and isfinite(found) else None


# Proposals


def is_proposed(answer: AnswerOut) -> bool:
    """Whether it waits for an operator."""
    return answer.state.value == "proposed"


def proposals_sentence(answers: Sequence[AnswerOut]) -> str | None:
    """Which proposals wait for an operator; None where none does."""
    waiting = [answer for answer in answers if is_proposed(answer)]
    if not waiting:
        return None
    if len(waiting) == 1:
        return f"1 answer is proposed and waits for approval: {answer_label(waiting[0])}."
    return f"{count(len(waiting))} answers are proposed and wait for approval, the newest: {answer_label(waiting[0])}."


def decision_conflict(label: str, present: AnswerOut | None, *, detail: str, now: datetime) -> str:
    """The whole message after a refused decision.

    Args:
        label: of the button that was pressed.
        present: the answer after the refusal; None where it could not be read.
        detail: what the API said; shown where nothing else is known.
        now: aware time.
    """
    if present is None or is_proposed(present):
        return (
            f"Nothing was done: {detail.removesuffix('.')}. The page has been read again: look at the proposal, "
            f"and press “{label}” once more if it is still right."
        )
    state = present.state.value
    if present.decided_by is None:
        what = "its alert ended first" if state == "nothing" else f"it is {answer_mark(state).word.lower()} now"
    else:
        decided = "dismissed" if state == "dismissed" else "approved"
        what = f"{actor_words(present.decided_by)} {decided} it"
        what += f" {ago(present.updated_at, now)}" if state == "dismissed" else ""
    return (
        f"Nothing was done, because the proposal changed while you were deciding: {what}. "
        "The page has been read again: there is nothing left to decide."
    )
