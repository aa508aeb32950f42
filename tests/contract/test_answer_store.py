"""Answers to alerts in the control state."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from trajops.errors import Conflict, NotFound, StaleVersion
from trajops.policy.answers import Answer, AnswerState, Step, StepState

AT = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


def an_answer(number: int, **changes: Any) -> Answer:
    at = AT + timedelta(seconds=number)
    steps = (Step("pause_rollout", StepState.DONE, "the canary of v3 is paused", at, {"model_version": 3}), Step("rollback"))
    labels = {"model_version": "2"}
    base = Answer(f"x{number}", "worse", f"a{number}", "v2 is worse", labels, AT, AnswerState.WORKING, 1, at, at, steps)
    return replace(base, **changes)


def test_an_answer_comes_back_as_it_was(database: Any) -> None:
    written = an_answer(1)
    with database.unit_of_work() as work:
        work.answers.add(written)
    with database.unit_of_work(read_only=True) as work:
        assert work.answers.get("x1") == written
        assert work.answers.of_alerts(["a1", "a2"]) == [written]
        with pytest.raises(NotFound):
            work.answers.get("x2")


def test_an_alert_is_answered_once(database: Any) -> None:
    with database.unit_of_work() as work:
        work.answers.add(an_answer(1))
    with pytest.raises(Conflict), database.unit_of_work() as work:
        work.answers.add(replace(an_answer(1), answer_id="another"))


def test_an_answer_is_changed_by_whoever_saw_its_last_version(database: Any) -> None:
    with database.unit_of_work() as work:
        work.answers.add(an_answer(1))
    done = an_answer(1, state=AnswerState.DONE, version=2, decided_by="ada")
    with database.unit_of_work() as work:
        work.answers.save(done, 1)
    with pytest.raises(StaleVersion) as late, database.unit_of_work() as work:
        work.answers.save(an_answer(1, version=2), 1)
    assert late.value.details["present_version"] == 2
    with pytest.raises(NotFound), database.unit_of_work() as work:
        work.answers.save(an_answer(2), 1)
    with database.unit_of_work(read_only=True) as work:
        assert work.answers.get("x1") == done


def test_open_ones_are_worked_off_oldest_first_and_shown_newest_first(database: Any) -> None:
    states = [AnswerState.DONE, AnswerState.WORKING, AnswerState.PROPOSED, AnswerState.DISMISSED]
    with database.unit_of_work() as work:
        for number, state in enumerate(states):
            work.answers.add(an_answer(number, state=state))
    with database.unit_of_work(read_only=True) as work:
        assert [answer.answer_id for answer in work.answers.open()] == ["x1", "x2"]
        assert [answer.answer_id for answer in work.answers.newest()] == ["x3", "x2", "x1", "x0"]
        assert [answer.answer_id for answer in work.answers.newest(since=AT + timedelta(seconds=2))] == ["x3", "x2"]
        assert [answer.answer_id for answer in work.answers.newest(limit=1)] == ["x3"]
