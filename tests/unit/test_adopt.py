"""Adopting a version that is known already changes nothing, neither in the control state nor in the registry."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data.sql.engine import Database
from tests.builders import a_crowd
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict
from trajops.records import ModelVersion
from trajops.settings import Settings
from workers.training import __main__ as command
from workers.training.adopt import adopt
from workers.training.run import TrainedVersion, mirror

REF = ModelRef("trajectory", 2)
TRAINED = TrainedVersion(REF, "kalman", "run2", "d" * 64, {"val_ade_m": 0.5})
PARAMS = {"dataset": "skillcorner", "windows_fit": "900"}


class Untouched:
    """A registry that nobody may ask anything."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the registry was asked for {name}")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'trajops.db'}")
    database.migrate()
    mirror(database, TRAINED, PARAMS)
    yield database
    database.close()


def row(database: Database) -> ModelVersion:
    with database.unit_of_work(read_only=True) as uow:
        return uow.model_versions.get(REF)


def test_a_version_that_was_trained_here_is_not_adopted(database: Database, tmp_path: Path) -> None:
    before = row(database)
    with pytest.raises(Conflict, match=r"trajectory/2 is already known: it was trained here on .* nothing was changed"):
        adopt(Settings(var_dir=tmp_path), 2, [a_crowd()], database=database, registry=Untouched())  # type: ignore[arg-type]
    assert row(database) == before
    assert before.params == PARAMS


def test_a_version_that_becomes_known_while_it_is_measured_keeps_its_row(database: Database) -> None:
    before = row(database)
    with pytest.raises(Conflict, match="already known"):
        mirror(database, TRAINED, {"origin": "adopted"}, replaces=False)
    assert row(database) == before


def test_the_command_says_so_in_one_sentence(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAJOPS_VAR_DIR", str(tmp_path))
    monkeypatch.setenv("TRAJOPS_MLFLOW_URL", "http://127.0.0.1:9")
    assert command.main(["--adopt", "2"]) == 1
    assert capsys.readouterr().err.startswith("trajectory/2 is already known: it was trained here on ")
    assert row(database).params == PARAMS
