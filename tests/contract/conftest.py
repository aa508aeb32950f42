"""The control state in memory, over SQLite and over PostgreSQL: one body of tests for all three."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data.sql.engine import Database
from data.stubs import MemoryDatabase


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "memory":
        yield MemoryDatabase()
        return
    url = f"sqlite:///{tmp_path / 'control.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    real = Database(url)
    real.migrate()
    yield real
    real.close()
