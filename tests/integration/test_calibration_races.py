"""Calibrations that are put into force at once in a real database: one of a version stands."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from data.sql.engine import Database
from tests.record_builders import calibration
from trajops.clock import SystemClock
from trajops.errors import Conflict
from trajops.services.calibrations import Calibrations


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'control.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    database = Database(url)
    database.migrate()
    yield database
    database.close()


def test_of_many_that_are_applied_at_once_one_is_in_force(database: Database) -> None:
    service = Calibrations(database.unit_of_work, SystemClock())
    for version in range(1, 9):
        with database.unit_of_work() as work:
            numbers = [work.calibrations.add(calibration(version_number=version)).number for _ in range(4)]
        together = threading.Barrier(len(numbers))

        def apply(number: int, together: threading.Barrier = together) -> Any:
            together.wait()
            try:
                return service.apply(number, "proposed", actor="ada", reason="because of the test")
            except Conflict as conflict:
                return conflict

        with ThreadPoolExecutor(len(numbers)) as pool:
            answers = list(pool.map(apply, numbers))
        with database.unit_of_work(read_only=True) as work:
            assert [one.model_version for one in work.calibrations.in_force()] == list(range(1, version + 1)), answers
