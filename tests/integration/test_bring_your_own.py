"""Models that the product has never seen, logged and registered by plain MLflow calls, adopted and served."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from data.models.loader import ModelLoader
from data.models.package import GOLDEN_TAG, VALIDATION_TAG
from data.models.registry import MlflowRegistry
from data.sql.engine import Database
from tests.builders import a_crowd, a_history
from tests.mlflow_models import staying_graph
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict, SignatureMismatch, UnsafeModel
from trajops.settings import Settings
from workers.training.adopt import adopt

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")]
SCENES = [a_crowd("north", 1), a_crowd("south", 2)]


@pytest.fixture
def registry(mlflow_url: str) -> Iterator[MlflowRegistry]:
    registry = MlflowRegistry(mlflow_url)
    yield registry
    registry.close()


@pytest.fixture
def settings(mlflow_url: str, tmp_path: Path) -> Settings:
    return Settings(var_dir=tmp_path, mlflow_url=mlflow_url, model_name=f"model-{uuid4().hex}")


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.sql_url)
    database.migrate()
    yield database
    database.engine.dispose()


def tensor_signature(steps: int = 12) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    return ModelSignature(
        Schema([TensorSpec(np.dtype("float32"), (-1, 8, 2), name="history")]),
        Schema([TensorSpec(np.dtype("float32"), (-1, 1, steps, 2), name="mean")]),
    )


def register_pyfunc(settings: Settings, steps: int = 12) -> ModelRef:
    """A class of this test's own, by nothing but MLflow."""
    import mlflow

    class Straight(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            history = model_input["history"]
            step = (history[:, -1] - history[:, 3]) / 4
            return {"mean": (history[:, -1:] + np.arange(1, steps + 1)[None, :, None] * step[:, None])[:, None].astype(np.float32)}

    return _log(
        settings,
        lambda: mlflow.pyfunc.log_model(
            name="straight",
            python_model=Straight(),
            signature=tensor_signature(steps),
            registered_model_name=settings.model_name,
            pip_requirements=["numpy"],
        ),
    )


def register_graph(settings: Settings) -> ModelRef:
    import mlflow

    return _log(
        settings,
        lambda: mlflow.onnx.log_model(
            staying_graph(),
            name="staying",
            signature=tensor_signature(),
            registered_model_name=settings.model_name,
            pip_requirements=["onnxruntime"],
        ),
    )


def _log(settings: Settings, log: Any) -> ModelRef:
    import mlflow

    mlflow.set_tracking_uri(settings.registry_url)
    try:
        with mlflow.start_run():
            info = log()
    finally:
        mlflow.set_tracking_uri("")
    return ModelRef(settings.model_name, int(info.registered_model_version))


def test_a_graph_is_adopted_and_served_without_any_consent(settings: Settings, registry: MlflowRegistry, database: Database) -> None:
    ref = register_graph(settings)
    loader = ModelLoader(registry, settings.models_dir)
    with pytest.raises(SignatureMismatch, match="covariance"):
        loader.load(ref)
    adopted = adopt(settings, ref.version, SCENES, database=database, registry=registry)
    assert adopted.family == "onnx_model"
    with database.unit_of_work(read_only=True) as unit_of_work:
        row = unit_of_work.model_versions.get(ref)
        assert [(entry.action, entry.after) for entry in unit_of_work.audit.newest()] == [
            ("model.validated", {"is_passed": True, "failed": {}})
        ]
        validated = unit_of_work.validations.newest(ref)
        assert validated is not None
        assert (validated.cause, validated.is_passed, {one.check for one in validated.checks if one.state == "skipped"}) == (
            "adoption",
            True,
            {"worst_scenes", "calibration"},
        )
    assert row.params["covariance"] == "measured"
    assert row.metrics["val_ade_m"] == adopted.metrics["val_ade_m"] > 0
    assert row.metrics["val_coverage_90"] == pytest.approx(0.9, abs=0.15)
    forecast = loader.load(ref).forecast(a_history(2))
    assert np.allclose(forecast.best_m, a_history(2)[:, -1:], atol=1e-5)
    assert GOLDEN_TAG in registry.describe(ref).tags
    assert registry.describe(ref).tags[VALIDATION_TAG].startswith("passed: 5 of 7 checks passed, 2 skipped.")
    spread_m2 = np.linalg.det(forecast.covariance_m2[0, 0])
    assert (np.diff(spread_m2) > 0).all()
    with pytest.raises(Conflict, match=f"{ref} is already known: it was adopted on"):
        adopt(settings, ref.version, SCENES, database=database, registry=registry)
    with database.unit_of_work(read_only=True) as unit_of_work:
        assert unit_of_work.model_versions.get(ref) == row


def test_a_class_never_seen_is_refused_until_somebody_consents_and_then_audited(
    settings: Settings, registry: MlflowRegistry, database: Database
) -> None:
    ref = register_pyfunc(settings)
    with pytest.raises(UnsafeModel, match="TRAJOPS_ALLOW_PICKLED_MODELS"):
        adopt(settings, ref.version, SCENES, database=database, registry=registry)
    consenting = settings.model_copy(update={"allow_pickled_models": True})
    adopted = adopt(consenting, ref.version, SCENES, database=database, registry=registry)
    assert adopted.family == "pyfunc_model"
    with database.unit_of_work(read_only=True) as unit_of_work:
        assert unit_of_work.model_versions.get(ref).metrics["val_ade_m"] < 1.0
        entries = unit_of_work.audit.newest()
    assert entries
    assert {(entry.action, entry.subject) for entry in entries} == {("model.load_unsafe", str(ref)), ("model.validated", str(ref))}
    told: list[tuple[ModelRef, str]] = []
    serving = ModelLoader(registry, settings.models_dir, allow_pickled=True, on_unsafe=lambda *event: told.append(event))
    history = a_history(2)
    forecast = serving.load(ref).forecast(history)
    assert np.allclose(forecast.best_m[0, :, 0], history[0, -1, 0] + 0.4 * np.arange(1, 13), atol=1e-4)
    assert forecast.covariance_m2.shape == (2, 1, 12, 2, 2)
    assert [event[0] for event in told] == [ref]
    with pytest.raises(UnsafeModel):
        ModelLoader(registry, settings.models_dir).load(ref)


def test_a_class_with_another_signature_is_refused_before_its_code_runs(
    settings: Settings, registry: MlflowRegistry, database: Database
) -> None:
    ref = register_pyfunc(settings, steps=6)
    consenting = settings.model_copy(update={"allow_pickled_models": True})
    with pytest.raises(SignatureMismatch, match=r"gives mean float32 \(-1, 1, 6, 2\); wanted is mean \(-1, -1, 12, 2\)"):
        adopt(consenting, ref.version, SCENES, database=database, registry=registry)
    with database.unit_of_work(read_only=True) as unit_of_work:
        assert unit_of_work.audit.newest() == []
        assert unit_of_work.model_versions.all(settings.model_name) == []
