"""One body over the registry in memory and over a real MLflow server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from data.models.cache import CachedVersion, find
from data.models.registry import MlflowRegistry
from data.stubs import MemoryRegistry
from tests.mlflow_models import our_model
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict, NotFound
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.ports import ModelRegistry

Register = Callable[[str, Path], ModelRef]


@pytest.fixture(params=["memory", pytest.param("mlflow", marks=pytest.mark.slow)])
def registered(request: pytest.FixtureRequest) -> Iterator[tuple[ModelRegistry, Register]]:
    """A registry, and a way to register a model folder as the next version of a name."""
    if request.param == "memory":
        stub = MemoryRegistry()

        def add(name: str, folder: Path) -> ModelRef:
            ref = ModelRef(name, len(stub.versions(name)) + 1)
            stub.add(ref, folder, created_ns=ref.version)
            return ref

        yield stub, add
        return
    url = request.getfixturevalue("mlflow_url")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(url, url)

    def log(name: str, folder: Path) -> ModelRef:
        logged = client.create_logged_model("0", name="model")
        client.log_model_artifacts(logged.model_id, str(folder))
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            assert error.error_code == "RESOURCE_ALREADY_EXISTS"  # noqa: PT017
        version = client.create_model_version(name, f"models:/{logged.model_id}", model_id=logged.model_id, await_creation_for=0)
        return ModelRef(name, int(version.version))

    registry = MlflowRegistry(url)
    yield registry, log
    registry.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return our_model(tmp_path / "model", ConstantVelocity())


@pytest.fixture
def name() -> str:
    return f"walkers {uuid4().hex[:6]}"


def test_versions_are_numbered_and_newest_first(registered: tuple[ModelRegistry, Register], folder: Path, name: str) -> None:
    registry, register = registered
    assert list(registry.versions(name)) == []
    assert [register(name, folder), register(name, folder)] == [ModelRef(name, 1), ModelRef(name, 2)]
    registry.set_alias(name, "champion", 1)
    rows = registry.versions(name)
    assert [(row["version"], row["aliases"]) for row in rows] == [(2, []), (1, ["champion"])]
    assert {"version", "run_id", "aliases", "tags", "created_ns", "source"} <= set(rows[0])


def test_an_alias_moves_and_goes(registered: tuple[ModelRegistry, Register], folder: Path, name: str) -> None:
    registry, register = registered
    assert dict(registry.aliases(name)) == {}
    register(name, folder), register(name, folder)
    registry.set_alias(name, "champion", 1)
    registry.set_alias(name, "champion", 2)
    registry.set_alias(name, "challenger", 1)
    assert dict(registry.aliases(name)) == {"champion": 2, "challenger": 1}
    registry.delete_alias(name, "champion")
    registry.delete_alias(name, "champion")
    assert dict(registry.aliases(name)) == {"challenger": 1}


def test_a_version_is_deleted_unless_an_alias_points_to_it(registered: tuple[ModelRegistry, Register], folder: Path, name: str) -> None:
    registry, register = registered
    first, second = register(name, folder), register(name, folder)
    registry.set_alias(name, "champion", 1)
    with pytest.raises(Conflict):
        registry.delete_version(first)
    for _ in range(2):
        registry.delete_version(second)
    assert [row["version"] for row in registry.versions(name)] == [1]
    registry.delete_alias(name, "champion")
    registry.delete_version(first)
    assert list(registry.versions(name)) == []


def test_an_alias_needs_a_version(registered: tuple[ModelRegistry, Register], folder: Path, name: str) -> None:
    registry, register = registered
    register(name, folder)
    with pytest.raises(NotFound):
        registry.set_alias(name, "champion", 7)


def test_fetch_publishes_exactly_the_files(registered: tuple[ModelRegistry, Register], folder: Path, name: str, tmp_path: Path) -> None:
    registry, register = registered
    ref = register(name, folder)
    fetched = CachedVersion.read(registry.fetch(ref, tmp_path / "cache"))
    assert fetched is not None
    wanted = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    got = {path.relative_to(fetched.model_dir): path.read_bytes() for path in fetched.model_dir.rglob("*") if path.is_file()}
    assert got == wanted
    assert registry.fetch(ref, tmp_path / "cache") == fetched.folder
    assert find(tmp_path / "cache", ref) == fetched
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [fetched.folder.parent.name]


def test_fetch_of_an_unknown_version(registered: tuple[ModelRegistry, Register], folder: Path, name: str, tmp_path: Path) -> None:
    registry, register = registered
    register(name, folder)
    for ref in (ModelRef(name, 9), ModelRef("nobody", 1)):
        with pytest.raises(NotFound):
            registry.fetch(ref, tmp_path / "cache")
