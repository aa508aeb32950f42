"""What is said of the policy's answers, their steps, and decisions on proposals."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from console.alerts.answer_words import (
    Compared,
    answer_label,
    answer_mark,
    begun_words,
    compared,
    decision_conflict,
    done_sentence,
    proposals_sentence,
    step_mark,
)
from trajops.contracts.answers import AnswerOut, AnswerStepOut
from trajops.policy.answers import AnswerState, StepState

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
FIGURES = {"candidate_ade_m": 0.71, "incumbent_ade_m": 0.6, "agents": 1034}


def step(action: str = "rollback", state: str = "pending", sentence: str = "", **result: Any) -> AnswerStepOut:
    at = None if state == "pending" else NOW
    return AnswerStepOut.model_validate({"action": action, "state": state, "sentence": sentence, "at": at, "result": result})


def answer(state: str = "working", *steps: AnswerStepOut, **given: Any) -> AnswerOut:
    began = NOW - timedelta(minutes=5)
    values = {"answer_id": "n", "rule": "worse_than_validated", "alert_id": "a", "alert_title": "Worse", "labels": {"model_version": "3"}}
    times = {"alert_opened_at": began, "created_at": began, "updated_at": NOW}
    told = {"version": 1, "decided_by": None, "steps": [one.model_dump() for one in steps or (step(),)]}
    return AnswerOut.model_validate({**values, **times, **told, "state": state, **given})


def test_every_state_has_a_mark_of_its_own() -> None:
    answers = [answer_mark(state.value) for state in AnswerState]
    steps = [step_mark(step(state=state.value), answer()) for state in StepState]
    for marks, states in ((answers, AnswerState), (steps, StepState)):
        assert len({mark.word for mark in marks}) == len({mark.icon for mark in marks}) == len(states)
        assert "help" not in {mark.icon for mark in marks}


def test_what_a_dismissed_answer_has_left_is_not_still_to_come() -> None:
    assert step_mark(step(), answer()).word == "Not yet"
    assert step_mark(step(), answer("dismissed")).word == "Not taken"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer(), "rule “worse than validated” · began 5 min ago"),
        (answer("proposed"), "rule “worse than validated” · proposed 5 min ago"),
        (answer("dismissed", decided_by="ben"), "rule “worse than validated” · proposed 5 min ago · dismissed by ben"),
        (answer("done", decided_by="ben"), "rule “worse than validated” · began 5 min ago · approved by ben"),
    ],
)
def test_it_is_said_by_which_rule_when_and_who_decided(given: AnswerOut, expected: str) -> None:
    assert begun_words(given, NOW) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(
            answer("proposed", step("pause_rollout"), step()),
            "It would pause the rollout, then roll back. It waits until somebody approves or dismisses it.",
            id="proposed",
        ),
        pytest.param(answer("working"), "It is about to roll back.", id="begun"),
        pytest.param(
            answer("working", step("pause_rollout", "skipped", "none is in progress"), step(state="waiting", sentence="3 of 20 agents")),
            "3 of 20 agents.",
            id="waiting",
        ),
        pytest.param(
            answer("done", step(state="refused", sentence="no better"), step("retrain", "done", "v6 is the challenger")),
            "v6 is the challenger.",
            id="done",
        ),
        pytest.param(
            answer(
                "done",
                step("pause_rollout", "done", "the canary of v3 is paused", model_version=3),
                step(state="skipped", sentence="there is no previous champion"),
                step("retrain", "refused", "trained and registered, but not clearly better"),
            ),
            "The canary of v3 is paused. Trained and registered, but not clearly better. "
            "v3 answers nobody until somebody resumes or stops its comparison on the Models page, best when the alert is over.",
            id="what was refused afterwards, and how to go on",
        ),
        pytest.param(
            answer("done", step("pause_rollout", "done", "the canaries of v3 and v4 are paused", model_version=3, model_versions=[3, 4])),
            "The canaries of v3 and v4 are paused. "
            "v3 and v4 answer nobody until somebody resumes or stops them on the A/B tests page, best when the alert is over.",
            id="several",
        ),
        pytest.param(
            answer("done", step("pause_rollout", "done", "v3 is paused", model_version=3), step("retrain", "done", "v6 is the challenger")),
            "v3 is paused. v6 is the challenger.",
            id="another challenger has taken its place",
        ),
        pytest.param(
            answer("nothing", *(step(name, "skipped", "the alert was over") for name in ("rollback", "retrain"))),
            "The alert was over.",
            id="one reason for all steps",
        ),
        pytest.param(answer("failed", step(state="failed", sentence="no registry.")), "No registry.", id="failed"),
        pytest.param(answer("dismissed"), "Nothing was done, because it was dismissed.", id="dismissed"),
    ],
)
def test_what_was_done_is_one_sentence(given: AnswerOut, expected: str) -> None:
    assert done_sentence(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(
            step(state="refused", **FIGURES),
            Compared("the previous champion", "0.71 m", "0.60 m", "1\u202f034", "0.11 m farther from what was observed"),
            id="refused",
        ),
        pytest.param(
            step("retrain", "done", candidate_ade_m=0.5, incumbent_ade_m=0.6, model_version=6),
            Compared("the new version, v6", "0.50 m", "0.60 m", "", "0.10 m nearer to what was observed"),
            id="trained",
        ),
        pytest.param(
            step(candidate_ade_m=0.601, incumbent_ade_m=0.6),
            Compared("the previous champion", "0.60 m", "0.60 m", "", "as near"),
            id="same",
        ),
        pytest.param(step("pause_rollout", "done", model_version=3), None, id="nothing was compared"),
        pytest.param(step(candidate_ade_m=float("nan"), incumbent_ade_m=float("nan"), agents=0), None, id="no window to compare on"),
        pytest.param(step(candidate_ade_m=None, incumbent_ade_m=None, agents=0), None, id="no window, as JSON has it"),
    ],
)
def test_what_was_compared_is_said_with_its_figures(given: AnswerStepOut, expected: Compared | None) -> None:
    assert compared(given) == expected


def test_proposals_that_wait_are_named() -> None:
    one, other = answer("proposed"), answer("proposed", labels={})
    assert proposals_sentence([answer(), answer("dismissed")]) is None
    assert proposals_sentence([answer(), one]) == "1 answer is proposed and waits for approval: Worse · model_version=3."
    assert proposals_sentence([other, one]) == "2 answers are proposed and wait for approval, the newest: Worse."
    assert answer_label(other) == "Worse"


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (answer("dismissed", decided_by="ben"), "ben dismissed it just now"),
        (answer("working", decided_by="ben"), "ben approved it"),
        (answer("nothing"), "its alert ended first"),
    ],
)
def test_a_decision_that_comes_too_late_says_who_was_faster(present: AnswerOut, expected: str) -> None:
    said = decision_conflict("Approve", present, detail="it is stale", now=NOW)
    assert f"while you were deciding: {expected}. " in said
    assert said.endswith("there is nothing left to decide.")


@pytest.mark.parametrize("present", [None, answer("proposed")])
def test_a_refusal_without_a_visible_change_says_what_the_api_said(present: AnswerOut | None) -> None:
    said = decision_conflict("Approve", present, detail="it is stale.", now=NOW)
    assert said.startswith("Nothing was done: it is stale. ")
    assert "press “Approve” once more" in said
