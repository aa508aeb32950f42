"""Training runs and versions on a real MLflow server: SQLite behind it, artefacts on disk."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from data.models.cache import DIGEST_TAG, CachedVersion
from data.models.loader import ModelLoader
from data.models.package import CARD_FILE, FAMILY_TAG, VALIDATION_TAG, LoggedVersion, Package, RunRecord
from data.models.registry import MlflowRegistry
from data.sql.engine import Database
from tests.builders import a_crowd, a_history
from tests.mlflow_server import MlflowServer
from trajops.deployments.model_ref import ModelRef
from trajops.errors import RegistryUnavailable
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.settings import Settings
from workers.training.candidates import files_of
from workers.training.evaluate import scene_names
from workers.training.export import to_onnx
from workers.training.run import train

pytestmark = pytest.mark.slow


def a_package() -> Package:
    forecaster = ConstantVelocity()
    return Package(
        family=forecaster.family,
        graph=to_onnx(forecaster).SerializeToString(),
        files=files_of(forecaster),
        window=forecaster.window,
        example_m=a_history(2),
    )


def a_record() -> RunRecord:
    return RunRecord(
        name="constant_velocity",
        params={"seed": "0", "family": "constant_velocity"},
        metrics={"val_ade_m": 0.5, "scene.s1.ade_m": 0.25},
        tags={"mlflow.source.git.commit": "a" * 40},
        dataset="walkers",
        fingerprint="b" * 64,
        artifacts={"plots/calibration.json": '{"data": []}', "plots/report.html": "<html></html>"},
    )


@pytest.fixture
def registry(mlflow_url: str) -> Iterator[MlflowRegistry]:
    registry = MlflowRegistry(mlflow_url)
    yield registry
    registry.close()


@pytest.fixture
def published(mlflow_url: str) -> LoggedVersion:
    from data.models.mlflow_store import MlflowStore

    return MlflowStore(mlflow_url).publish(f"model-{uuid4().hex}", a_record(), a_package())


def test_a_run_remembers_how_the_model_was_made(mlflow_url: str, published: LoggedVersion) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(mlflow_url, mlflow_url)
    run = client.get_run(published.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"seed": "0", "family": "constant_velocity"}
    assert run.data.metrics == {"val_ade_m": 0.5, "scene.s1.ade_m": 0.25}
    assert run.data.tags["mlflow.source.git.commit"] == "a" * 40
    assert run.data.tags["trajops.data_fingerprint"] == "b" * 64
    assert [(row.dataset.name, row.dataset.digest) for row in run.inputs.dataset_inputs] == [("walkers", "b" * 36)]
    assert sorted(file.path for file in client.list_artifacts(published.run_id, "plots")) == ["plots/calibration.json", "plots/report.html"]
    assert len(run.outputs.model_outputs) == 1
    logged = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    assert (logged.status.name, logged.source_run_id) == ("READY", published.run_id)


def test_a_version_carries_family_and_digest_and_no_stage(mlflow_url: str, published: LoggedVersion) -> None:
    from mlflow import MlflowClient

    version = MlflowClient(mlflow_url, mlflow_url).get_model_version(published.ref.name, str(published.ref.version))
    assert version.tags == {FAMILY_TAG: "constant_velocity", DIGEST_TAG: published.digest}
    assert version.run_id == published.run_id
    assert version.current_stage == "None"


def test_the_artefact_has_signature_example_and_pinned_environment(
    published: LoggedVersion, registry: MlflowRegistry, tmp_path: Path
) -> None:
    cached = CachedVersion.read(registry.fetch(published.ref, tmp_path))
    assert cached is not None
    model = yaml.safe_load((cached.model_dir / "MLmodel").read_text())
    assert model["flavors"]["trajops"] == {"artifact": "trajops", "family": "constant_velocity"}
    assert model["flavors"]["python_function"]["loader_module"] == "mlflow.onnx"
    inputs = json.loads(model["signature"]["inputs"])
    assert inputs == [{"name": "history", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 8, 2]}}]
    outputs = {row["name"]: row["tensor-spec"]["shape"] for row in json.loads(model["signature"]["outputs"])}
    assert outputs == {"mean": [-1, -1, 12, 2], "covariance": [-1, -1, 12, 2, 2], "weights": [-1, -1]}
    assert np.shape(json.loads((cached.model_dir / "input_example.json").read_text())["history"]) == (2, 8, 2)
    requirements = (cached.model_dir / "requirements.txt").read_text().split()
    assert {row.split("==")[0] for row in requirements} >= {"mlflow", "onnx", "onnxruntime", "numpy"}
    assert all("==" in row for row in requirements)
    assert not [name for name in cached.files if name.endswith((".pkl", ".pickle", ".joblib"))]


def test_any_mlflow_client_serves_the_version_as_we_do(
    mlflow_url: str, published: LoggedVersion, registry: MlflowRegistry, tmp_path: Path
) -> None:
    import mlflow

    mlflow.set_tracking_uri(mlflow_url)
    try:
        answer = mlflow.pyfunc.load_model(f"models:/{published.ref}").predict({"history": a_history(3).astype(np.float32)})
    finally:
        mlflow.set_tracking_uri("")
    forecast = ModelLoader(registry, tmp_path).load(published.ref).forecast(a_history(3))
    assert np.allclose(answer["mean"], forecast.mean_m, atol=1e-4)
    assert np.allclose(answer["covariance"], forecast.covariance_m2, rtol=1e-4)
    assert np.allclose(answer["weights"], forecast.weights)


def test_an_artefact_that_was_changed_on_the_server_is_refused(start_mlflow: Callable[[], MlflowServer], tmp_path: Path) -> None:
    from data.models.mlflow_store import MlflowStore

    server = start_mlflow()
    published = MlflowStore(server.url).publish("model", a_record(), a_package())
    (stored,) = (server.folder / "artifacts").rglob("arrays.npz")
    stored.write_bytes(stored.read_bytes() + b"more")
    registry = MlflowRegistry(server.url)
    with pytest.raises(RegistryUnavailable, match="is not what was registered"):
        registry.fetch(published.ref, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("version.json"))
    # The same server goes away: what is warm in the cache stays, what is not cannot come, and nothing hangs.
    stored.write_bytes(stored.read_bytes()[:-4])
    ModelLoader(registry, tmp_path / "cache").load(published.ref)
    server.stop()
    restarted = MlflowRegistry(server.url)
    assert ModelLoader(restarted, tmp_path / "cache").load(published.ref).family == "constant_velocity"
    with pytest.raises(RegistryUnavailable, match="is not in the local cache"):
        ModelLoader(restarted, tmp_path / "cache").load(ModelRef("model", 2))
    with pytest.raises(RegistryUnavailable, match="did not take the run"):
        MlflowStore(server.url).publish("model", a_record(), a_package())
    registry.close()
    restarted.close()


def test_a_run_that_fails_on_the_way_registers_nothing(mlflow_url: str) -> None:
    from mlflow import MlflowClient

    from data.models.mlflow_store import MlflowStore

    package = a_package()
    broken = Package(package.family, b"not a graph", package.files, package.window, package.example_m)
    name = f"model-{uuid4().hex}"
    with pytest.raises(Exception, match=r"(?i)pars"):
        MlflowStore(mlflow_url, experiment=name).publish(name, a_record(), broken)
    client = MlflowClient(mlflow_url, mlflow_url)
    (run,) = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    assert run.info.status == "FAILED"
    assert not client.search_model_versions(f"name='{name}'")


def test_training_registers_candidates_and_mirrors_them(mlflow_url: str, registry: MlflowRegistry, tmp_path: Path) -> None:
    settings = Settings(var_dir=tmp_path, mlflow_url=mlflow_url, model_name=f"model-{uuid4().hex}")
    database = Database(settings.sql_url)
    database.migrate()
    said: list[str] = []
    scenes = [a_crowd("north", 1), a_crowd("south", 2)]
    versions = train(settings, scenes, families=["constant_velocity", "kalman"], database=database, dataset="crowd", progress=said.append)
    assert [(version.ref.version, version.family) for version in versions] == [(1, "constant_velocity"), (2, "kalman")]
    with database.unit_of_work(read_only=True) as unit_of_work:
        rows = unit_of_work.model_versions.all(settings.model_name)
    assert [row.family for row in rows] == ["kalman", "constant_velocity"]
    wanted = {"val_ade_m", "val_fde_m", "val_miss_rate", "val_nll", "val_coverage_50", "val_coverage_90", "val_latency_ms"}
    assert wanted | {"scene.north.ade_m", "scene.south.ade_m"} <= set(rows[0].metrics)
    assert rows[0].params["data_fingerprint"] == rows[1].params["data_fingerprint"]
    assert rows[0].digest == versions[1].digest == registry.describe(versions[1].ref).tags[DIGEST_TAG]
    loaded = ModelLoader(registry, settings.models_dir).load(versions[1].ref)
    assert loaded.family == "kalman"
    assert any("registered" in line for line in said)

    from mlflow import MlflowClient

    client = MlflowClient(mlflow_url, mlflow_url)
    paths = {file.path for file in client.list_artifacts(versions[1].run_id or "", "plots")}
    names = ("error_by_step.json", "calibration.json", "sample_forecasts.json", "report.html")
    assert paths == {f"plots/{name}" for name in names}
    card = Path(client.download_artifacts(versions[1].run_id, CARD_FILE, str(tmp_path))).read_text()
    assert card.startswith(f"# Model card: {settings.model_name}\n")
    assert client.get_run(versions[1].run_id).data.tags[VALIDATION_TAG].startswith("passed: ")
    page = Path(client.download_artifacts(versions[1].run_id, "plots/report.html", str(tmp_path))).read_text()
    assert page.count("Plotly.newPlot(") >= 3
    assert '<script src="http' not in page
    database.engine.dispose()


TRAPS = ["a//b", "a/./b", "a/../b", "a/", "/", ".", "..", "a:b", "a?b", "a_b", "a_b_2", "x" * 260, "x" * 261]


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=300) | st.sampled_from(TRAPS), max_size=12
    )
)
def test_every_scene_has_a_name_of_its_own_that_mlflow_takes(scene_ids: list[str]) -> None:
    from mlflow.utils.validation import _validate_metric_name

    names = scene_names(scene_ids)
    assert names.keys() == set(scene_ids)
    assert len(set(names.values())) == len(names)
    for name in names.values():
        _validate_metric_name(f"scene.{name}.coverage_90")
        assert len(f"scene.{name}.coverage_90") <= 250
