"""What the policy has done about alerts."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from data.sql.tables import answers
from trajops.errors import Conflict, NotFound, StaleVersion
from trajops.policy.answers import OPEN_ANSWERS, Answer, AnswerState, Step, StepState


class SqlAnswers:
    """Implements `trajops.stores.AnswerStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, answer: Answer) -> None:
        """Write a new answer; Conflict if its alert has one already."""
        if self.of_alerts([answer.alert_id]):
            raise Conflict(f"the alert {answer.alert_id} is answered already")
        self._connection.execute(insert(answers), _row(answer))

    def get(self, answer_id: str) -> Answer:
        """One answer; NotFound if there is none with that id."""
        row = self._connection.execute(select(answers).where(answers.c.answer_id == answer_id)).mappings().first()
        if row is None:
            raise NotFound(f"there is no answer {answer_id!r}; list them with GET /v1/answers")
        return _answer(dict(row))

    def save(self, answer: Answer, expected_version: int) -> None:
        """Write all of a known answer, if its version is still the expected one; NotFound and StaleVersion otherwise."""
        is_expected = (answers.c.answer_id == answer.answer_id, answers.c.version == expected_version)
        if not self._connection.execute(update(answers).where(*is_expected).values(**_row(answer))).rowcount:
            present = self.get(answer.answer_id)
            raise StaleVersion(
                f"the answer {answer.answer_id} has version {present.version}, not {expected_version}: it has changed",
                present_version=present.version,
            )

    def open(self) -> list[Answer]:
        """Answers that are not over, oldest first."""
        is_open = answers.c.state.in_([state.value for state in OPEN_ANSWERS])
        return self._found(select(answers).where(is_open).order_by(answers.c.created_at, answers.c.answer_id))

    def newest(self, *, since: datetime | None = None, limit: int = 500) -> list[Answer]:
        """Newest first; only those that began at `since` or later, where it is given."""
        statement = select(answers).order_by(answers.c.created_at.desc(), answers.c.answer_id).limit(limit)
        return self._found(statement if since is None else statement.where(answers.c.created_at >= since))

    def of_alerts(self, alert_ids: Sequence[str]) -> list[Answer]:
        """Answers to some alerts."""
        return self._found(select(answers).where(answers.c.alert_id.in_(alert_ids)).order_by(answers.c.created_at))

    def _found(self, statement: Any) -> list[Answer]:
        return [_answer(dict(row)) for row in self._connection.execute(statement).mappings()]


def _row(answer: Answer) -> dict[str, Any]:
    row = asdict(answer)
    row["state"] = answer.state.value
    row["steps"] = [{**asdict(step), "state": step.state.value, "at": step.at and step.at.isoformat()} for step in answer.steps]
    return row


def _answer(row: dict[str, Any]) -> Answer:
    return Answer(**{**row, "state": AnswerState(row["state"]), "steps": tuple(map(_step, row["steps"]))})


def _step(row: dict[str, Any]) -> Step:
    return Step(**{**row, "state": StepState(row["state"]), "at": row["at"] and datetime.fromisoformat(row["at"])})
