"""One body over training runs in memory and over a real MLflow server."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from data.models.registry import MlflowRegistry
from data.models.runs import MlflowRuns
from data.stubs import MemoryRegistry, MemoryRuns
from tests.run_builders import a_run
from trajops.errors import InvalidInput, NotFound, RegistryUnavailable
from trajops.ports import ModelRegistry
from trajops.training_runs import COMMIT_TAG, STATUSES, Run, RunQuery, TrainingRuns

Log = Callable[[Run], str]


@pytest.fixture(params=["memory", pytest.param("mlflow", marks=pytest.mark.slow)])
def kept(request: pytest.FixtureRequest) -> Iterator[tuple[TrainingRuns, ModelRegistry, Log]]:
    """Runs, the registry beside them, and a way to log a run; returns its id."""
    if request.param == "memory":
        registry = MemoryRegistry()
        runs = MemoryRuns(registry)

        def add(run: Run) -> str:
            runs.add(run)
            return run.run_id

        yield runs, registry, add
        return
    url = request.getfixturevalue("mlflow_url")
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModelOutput

    client = MlflowClient(url, url)
    experiment_id = client.create_experiment(f"training {uuid4().hex}")

    def log(run: Run) -> str:
        began_ms = int(run.started_at.timestamp() * 1000)
        run_id = str(client.create_run(experiment_id, start_time=began_ms, run_name=run.name, tags=dict(run.tags)).info.run_id)
        for name, value in run.params.items():
            client.log_param(run_id, name, value)
        for name, figure in run.metrics.items():
            client.log_metric(run_id, name, figure)
        for _ in run.model_ids:
            logged = client.create_logged_model(experiment_id, name="model", source_run_id=run_id)
            client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        if run.ended_at is not None:
            client.set_terminated(run_id, run.status.upper(), int(run.ended_at.timestamp() * 1000))
        return run_id

    remote, versions = MlflowRuns(url), MlflowRegistry(url)
    yield remote, versions, log
    remote.close()
    versions.close()


@pytest.fixture
def dataset() -> str:
    """A name that no other test has used on the same server."""
    return f"match {uuid4().hex[:8]}"


def a_run_on(dataset: str, number: int, family: str = "kalman", **fields: object) -> Run:
    metrics = {"val_ade_m": 0.5 - 0.02 * number}
    return a_run(number, family, **({"params": {"family": family, "dataset": dataset}, "metrics": metrics} | fields))


def ids(runs: TrainingRuns, **query: object) -> list[str]:
    return [run.run_id for run in runs.search(RunQuery(**query)).runs]  # type: ignore[arg-type]


def test_a_run_is_read_as_it_was_logged(kept: tuple[TrainingRuns, ModelRegistry, Log], dataset: str) -> None:
    runs, _, log = kept
    run = runs.get(log(a_run_on(dataset, 1)))
    assert (run.name, run.status, run.params["dataset"], run.metrics) == ("kalman", "finished", dataset, {"val_ade_m": 0.48})
    assert (run.started_at, run.ended_at) == (
        datetime(2026, 11, 24, 3, 1, tzinfo=UTC),
        datetime(2026, 11, 24, 3, 1, 20, tzinfo=UTC),
    )
    assert run.tags[COMMIT_TAG] == "1" * 40
    with pytest.raises(NotFound):
        runs.get("0" * 32)


def test_runs_come_newest_first_and_in_pages(kept: tuple[TrainingRuns, ModelRegistry, Log], dataset: str) -> None:
    runs, _, log = kept
    oldest, middle, newest = [log(a_run_on(dataset, number)) for number in (1, 2, 3)]
    assert ids(runs, dataset=dataset) == [newest, middle, oldest]
    page = runs.search(RunQuery(dataset=dataset, limit=2))
    assert [run.run_id for run in page.runs] == [newest, middle]
    assert ids(runs, dataset=dataset, limit=2, page_token=page.next_page_token) == [oldest]
    with pytest.raises(InvalidInput):
        runs.search(RunQuery(page_token="rubbish"))


def test_filters_are_joined(kept: tuple[TrainingRuns, ModelRegistry, Log], dataset: str) -> None:
    runs, _, log = kept
    one = log(a_run_on(dataset, 1))
    two = log(a_run_on(dataset, 2, "gaussian_mlp", name="wide net"))
    failed = log(a_run_on(dataset, 3, status="failed"))
    going = log(a_run_on(dataset, 4, status="running", ended_at=None))
    assert ids(runs, dataset=dataset, family="gaussian_mlp") == [two]
    assert ids(runs, dataset=dataset, status="failed") == [failed]
    assert ids(runs, dataset=dataset, status="running") == [going]
    assert runs.get(going).ended_at is None
    assert ids(runs, dataset=dataset, text="WIDE") == [two]
    assert ids(runs, dataset=dataset, text="1" * 8) == [one]
    assert ids(runs, dataset=dataset, text=one) == [one]
    assert ids(runs, dataset=dataset, family="kalman", status="finished", text="net") == []
    assert ids(runs, dataset=f"{dataset} it's") == []


def test_each_status_can_be_asked_for(kept: tuple[TrainingRuns, ModelRegistry, Log], dataset: str) -> None:
    runs, _, _ = kept
    assert [ids(runs, dataset=dataset, status=status) for status in STATUSES] == [[]] * len(STATUSES)


def test_a_model_is_registered_with_its_run(kept: tuple[TrainingRuns, ModelRegistry, Log], dataset: str) -> None:
    runs, registry, log = kept
    run, without = runs.get(log(a_run_on(dataset, 1))), runs.get(log(a_run_on(dataset, 2, model_ids=())))
    source = runs.model_source(run)
    assert source == f"models:/{run.model_ids[-1]}"
    assert runs.model_source(without) is None
    assert [runs.register(dataset, run, source, {"who": "ada"}), runs.register(dataset, run, source, {})] == [1, 2]
    rows = {row["version"]: (row["run_id"], dict(row["tags"])) for row in registry.versions(dataset)}
    assert rows == {1: (run.run_id, {"who": "ada"}), 2: (run.run_id, {})}


@pytest.mark.slow
def test_a_model_in_the_folder_of_a_run_is_found(mlflow_url: str, dataset: str) -> None:
    from mlflow import MlflowClient

    client, runs, registry = MlflowClient(mlflow_url, mlflow_url), MlflowRuns(mlflow_url), MlflowRegistry(mlflow_url)
    run_id = client.create_run("0", run_name="by hand").info.run_id
    client.log_text(run_id, "x", "notes/a.txt")
    assert runs.model_source(runs.get(run_id)) is None
    client.log_text(run_id, "flavors: {}", "forecaster/MLmodel")
    run = runs.get(run_id)
    source = runs.model_source(run)
    assert source == f"{run.artifact_uri}/forecaster"
    assert runs.register(dataset, run, source, {}) == 1
    assert registry.versions(dataset)[0]["run_id"] == run_id
    runs.close()
    registry.close()


def test_a_text_that_cannot_be_quoted_is_refused_and_a_server_that_is_away_is_said_to_be() -> None:
    away = MlflowRuns("http://127.0.0.1:9", timeout_s=0.5)
    with pytest.raises(RegistryUnavailable):
        away.search(RunQuery())
    with pytest.raises(RegistryUnavailable):
        away.get("0" * 32)
    memory = MemoryRegistry()
    memory.is_away = True
    with pytest.raises(RegistryUnavailable):
        MemoryRuns(memory).search(RunQuery())
