"""One body for the unit of work in memory, over SQLite and over PostgreSQL: what is one transaction. Each store has a file of its own."""

from typing import Any

import pytest

from tests.record_builders import AT, CHAMPION, user
from trajops.deployments.model_ref import ModelRef
from trajops.errors import InvalidInput, NotFound


def test_a_clean_exit_commits(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.users.add(user("ada"))
    with database.unit_of_work(read_only=True) as uow:
        assert uow.users.by_name("ada") == user("ada")


def test_an_error_rolls_everything_back(database: Any) -> None:
    def write_and_fail() -> None:
        with database.unit_of_work() as uow:
            uow.users.add(user("ada"))
            uow.routes.append(CHAMPION, at=AT, actor="ada", reason="first")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    with database.unit_of_work(read_only=True) as uow:
        assert uow.users.all() == []
        assert uow.routes.epoch() == 0


def test_what_is_not_committed_is_invisible(database: Any) -> None:
    with database.unit_of_work() as writing:
        writing.users.add(user("ada"))
        with database.unit_of_work(read_only=True) as reading:
            assert reading.users.by_name("ada") is None


def test_a_reader_cannot_write(database: Any) -> None:
    with pytest.raises(RuntimeError, match="read_only"), database.unit_of_work(read_only=True) as uow:
        uow.users.add(user("ada"))
    with database.unit_of_work() as uow:  # and its connection can be written through again
        assert uow.users.all() == []
        uow.users.add(user("ada"))


@pytest.mark.parametrize(
    ("name", "number"), [("a\x00", 1), ("trajectory", 2**31), ("trajectory", 2**63)], ids=["NUL", "above 32 bits", "above 64 bits"]
)
def test_what_no_column_holds_is_refused_as_what_was_sent_or_not_found(database: Any, name: str, number: int) -> None:
    with pytest.raises((InvalidInput, NotFound)), database.unit_of_work() as uow:
        uow.model_versions.get(ModelRef(name, number))
    with database.unit_of_work(read_only=True) as uow:
        assert uow.users.all() == []
