"""Job `validate_versions`: what it looks at, in which order, and what it leaves for the next run."""

from datetime import UTC, datetime
from typing import Any

import pytest

from data.stubs import MemoryDatabase
from tests.record_builders import asked, check, validation
from trajops.contracts.validations import ValidationOut
from trajops.errors import RegistryUnavailable
from trajops.records import ModelVersion
from workers.jobs.validate_versions import BUDGET_S, validate_versions

NAME = "trajectory"


class Shop:
    """Control state, and a battery that remembers what it was run over."""

    def __init__(self) -> None:
        self.database = MemoryDatabase()
        self.run_over: list[tuple[int, str, str]] = []
        self.bad: set[int] = set()
        self.away: set[int] = set()
        self.now_s = 0.0
        with self.database.unit_of_work() as uow:
            for number in (1, 2, 3):
                uow.model_versions.put(ModelVersion(NAME, number, "kalman", None, {}, {}, "d" * 64, datetime(2026, 1, 1, tzinfo=UTC)))

    def validate(self, version: ModelVersion, *, cause: Any, by: str) -> tuple[ValidationOut, str]:
        self.now_s += 20.0
        if version.model_version in self.away:
            raise RegistryUnavailable("MLflow is away")
        self.run_over.append((version.model_version, cause, by))
        state = "failed" if version.model_version in self.bad else "passed"
        found = validation(version.model_version, len(self.run_over), check("latency", state), cause=cause, by=by)
        return found, f"# Card {version.model_version}"

    def run(self) -> dict[str, Any]:
        return validate_versions(NAME, self.database.unit_of_work, self.validate, lambda: self.now_s)


@pytest.fixture
def shop() -> Shop:
    return Shop()


def test_what_was_never_validated_is_looked_at_newest_first_and_once(shop: Shop) -> None:
    with shop.database.unit_of_work() as uow:
        uow.validations.add(validation(2), "# Card")
    shop.bad = {1}
    done = shop.run()
    assert shop.run_over == [(3, "first_look", "worker:validate_versions"), (1, "first_look", "worker:validate_versions")]
    assert done == {"validated": [3, 1], "passed": [3], "failed": [1], "waiting": 0}
    assert shop.run() == {"validated": [], "passed": [], "failed": [], "waiting": 0}
    with shop.database.unit_of_work(read_only=True) as uow:
        assert {one.model_version: one.is_passed for one in uow.validations.latest(NAME)} == {3: True, 2: True, 1: False}
        assert [entry.action for entry in uow.audit.newest()] == ["model.validated"] * 2


def test_what_is_asked_for_comes_first_also_where_it_was_validated(shop: Shop) -> None:
    with shop.database.unit_of_work() as uow:
        uow.validations.add(validation(1), "# Card")
        uow.validations.ask(asked(2, 1, by="ben"), "a reason")
        uow.validations.ask(asked(1, 0), "a reason")
        uow.validations.ask(asked(77), "a version that nobody knows")
    assert shop.run()["validated"] == [1, 2]
    assert shop.run_over == [(1, "asked_for", "ada"), (2, "asked_for", "ben")]
    assert shop.run()["validated"] == [3], "two of twenty seconds each are what one run begins"


def test_a_run_ends_in_time_and_says_what_waits(shop: Shop) -> None:
    assert BUDGET_S < 40
    assert shop.run() == {"validated": [3, 2], "passed": [3, 2], "failed": [], "waiting": 1}


def test_while_the_registry_is_away_versions_wait_and_no_verdict_is_written(shop: Shop) -> None:
    shop.away = {3}
    done = shop.run()
    assert done == {
        "validated": [2],
        "passed": [2],
        "failed": [],
        "waiting": 2,
        "sentence": "some versions wait: MLflow is away",
    }
    with shop.database.unit_of_work(read_only=True) as uow:
        assert [one.model_version for one in uow.validations.latest(NAME)] == [2]
