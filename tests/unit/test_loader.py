"""The loader: cache first, signature checked, untrusted code never by accident."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from data.models.cache import find, version_dir
from data.models.loader import RESIDUAL_TAG, ModelLoader
from data.stubs import MemoryRegistry
from tests.builders import a_history
from tests.mlflow_models import HISTORY_IN, crowd_following_graph, mean_out, model_file, onnx_model, our_model, pyfunc_model, staying_graph
from trajops.deployments.model_ref import ModelRef
from trajops.errors import InvalidInput, NotFound, RegistryUnavailable, SignatureMismatch, UnsafeModel
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.trajectories import WindowSpec

REF = ModelRef("trajectory", 1)
RESIDUAL = {RESIDUAL_TAG: json.dumps((np.arange(1, 13)[:, None, None] * np.eye(2)).tolist())}


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
def loader(registry: MemoryRegistry, tmp_path: Path) -> ModelLoader:
    return ModelLoader(registry, tmp_path / "cache")


def test_our_artefact_comes_back_as_the_forecaster_that_was_saved(registry: MemoryRegistry, loader: ModelLoader, tmp_path: Path) -> None:
    registry.add(REF, our_model(tmp_path / "m", ConstantVelocity()))
    loaded = loader.load(REF)
    assert loaded.family == "constant_velocity"
    assert np.array_equal(loaded.forecast(a_history(3)).mean_m, ConstantVelocity().forecast(a_history(3)).mean_m)


def test_cache_serves_while_the_registry_is_away_also_after_a_restart(registry: MemoryRegistry, tmp_path: Path) -> None:
    registry.add(REF, our_model(tmp_path / "m", ConstantVelocity()))
    ModelLoader(registry, tmp_path / "cache").load(REF)
    registry.is_away = True
    assert ModelLoader(registry, tmp_path / "cache").load(REF).family == "constant_velocity"


def test_version_that_was_never_loaded_needs_the_registry(registry: MemoryRegistry, loader: ModelLoader) -> None:
    registry.is_away = True
    with pytest.raises(RegistryUnavailable, match=r"trajectory/1 is not in the local cache, and the registry is away"):
        loader.load(REF)


def test_unknown_version(loader: ModelLoader) -> None:
    with pytest.raises(NotFound):
        loader.load(REF)


@pytest.mark.parametrize("damage", ["changed", "missing", "added"])
def test_damaged_cache_is_not_served(registry: MemoryRegistry, loader: ModelLoader, tmp_path: Path, damage: str) -> None:
    registry.add(REF, our_model(tmp_path / "m", ConstantVelocity()))
    loader.load(REF)
    model = version_dir(tmp_path / "cache", REF) / "model"
    if damage == "changed":
        (model / "trajops" / "arrays.npz").write_bytes(b"other")
    elif damage == "missing":
        (model / "trajops" / "arrays.npz").unlink()
    else:
        (model / "more.txt").write_text("more")
    assert find(tmp_path / "cache", REF) is None
    registry.is_away = True
    with pytest.raises(RegistryUnavailable):
        loader.load(REF)
    registry.is_away = False
    assert loader.load(REF).family == "constant_velocity"


def test_another_model_under_the_same_number_replaces_the_cached_one(registry: MemoryRegistry, loader: ModelLoader, tmp_path: Path) -> None:
    registry.add(REF, our_model(tmp_path / "m", ConstantVelocity()), created_ns=1)
    loader.load(REF)
    registry.add(REF, onnx_model(tmp_path / "other", staying_graph()), created_ns=2, tags=RESIDUAL)
    assert loader.load(REF).family == "onnx_model"


def test_foreign_graph_is_served_with_the_covariance_measured_for_it(registry: MemoryRegistry, loader: ModelLoader, tmp_path: Path) -> None:
    registry.add(REF, onnx_model(tmp_path / "m", staying_graph()), tags=RESIDUAL)
    history = a_history(2)
    forecast = loader.load(REF).forecast(history)
    assert np.allclose(forecast.best_m, history[:, -1:], atol=1e-6)
    assert np.allclose(forecast.covariance_m2[1, 0, :, 0, 0], np.arange(1, 13))


def test_foreign_graph_with_weights_in_a_file_beside_it(registry: MemoryRegistry, loader: ModelLoader, tmp_path: Path) -> None:
    folder = onnx_model(tmp_path / "m", staying_graph())
    graph = onnx.load(folder / "model.onnx")
    for tensor in graph.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    onnx.save_model(graph, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (folder / "weights.bin").stat().st_size > 0
    registry.add(REF, folder, tags=RESIDUAL)
    assert loader.load(REF).family == "onnx_model"


def test_foreign_model_without_covariance_must_be_adopted_first(registry: MemoryRegistry, loader: ModelLoader, tmp_path: Path) -> None:
    registry.add(REF, onnx_model(tmp_path / "m", staying_graph()))
    with pytest.raises(SignatureMismatch, match=r"trajectory/1: .*covariance"):
        loader.load(REF)


def test_graph_that_depends_on_the_origin_is_refused(registry: MemoryRegistry, loader: ModelLoader, tmp_path: Path) -> None:
    registry.add(REF, onnx_model(tmp_path / "m", staying_graph(weight=0.5)), tags=RESIDUAL)
    with pytest.raises(SignatureMismatch, match="answers differently where the scene lies elsewhere"):
        loader.load(REF)


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        pytest.param(None, None, r"declares no tensor signature; log it with the input history float32 \(-1, 8, 2\)", id="none"),
        pytest.param(
            [{"name": "x", "type": "double"}, {"name": "y", "type": "double"}],
            None,
            r"takes x double \(\); y double \(\); wanted is one",
            id="columns",
        ),
        pytest.param(
            [{**HISTORY_IN[0], "tensor-spec": {"dtype": "float32", "shape": [-1, 10, 2]}}],
            None,
            r"takes history float32 \(-1, 10, 2\); wanted is one input: history float32 \(-1, 8, 2\)",
            id="ten positions",
        ),
        pytest.param(
            [{**HISTORY_IN[0], "tensor-spec": {"dtype": "int64", "shape": [-1, 8, 2]}}], None, r"takes history int64", id="whole numbers"
        ),
        pytest.param(
            HISTORY_IN, mean_out(-1, 1, 6, 2), r"gives mean float32 \(-1, 1, 6, 2\); wanted is mean \(-1, -1, 12, 2\)", id="six steps"
        ),
        pytest.param(HISTORY_IN, [{**mean_out()[0], "name": "path"}], r"gives path float32 .*; wanted is at least mean", id="another name"),
    ],
)
def test_wrong_signature_says_what_was_found_and_what_is_wanted(
    registry: MemoryRegistry, loader: ModelLoader, tmp_path: Path, inputs: object, outputs: object, said: str
) -> None:
    registry.add(REF, model_file(tmp_path / "m", {"onnx": {"data": "model.onnx"}}, inputs, outputs))
    with pytest.raises(SignatureMismatch, match=said):
        loader.load(REF)


def test_pyfunc_is_refused_without_consent(registry: MemoryRegistry, tmp_path: Path) -> None:
    told: list[str] = []
    registry.add(REF, pyfunc_model(tmp_path / "m"))
    loader = ModelLoader(registry, tmp_path / "cache", on_unsafe=lambda ref, reason: told.append(reason))
    with pytest.raises(UnsafeModel, match="TRAJOPS_ALLOW_PICKLED_MODELS=true"):
        loader.load(REF)
    assert told == []


@pytest.mark.parametrize(
    ("flavours", "said"),
    [
        pytest.param({"sklearn": {}}, "has the flavours sklearn; wanted is onnx or python_function", id="neither"),
        pytest.param({"onnx": {"data": "../../secret"}}, "lies outside of its folder", id="a path out of the folder"),
        pytest.param({"trajops": {"artifact": "/etc"}}, "lies outside of its folder", id="an absolute path"),
        pytest.param({"onnx": {"data": "model.onnx"}}, "cannot be read", id="no graph"),
    ],
)
def test_broken_model_files_are_refused(
    registry: MemoryRegistry, loader: ModelLoader, tmp_path: Path, flavours: dict[str, object], said: str
) -> None:
    registry.add(REF, model_file(tmp_path / "m", flavours))
    with pytest.raises(SignatureMismatch, match=said):
        loader.load(REF)


def test_folder_that_is_not_a_model(registry: MemoryRegistry, loader: ModelLoader, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "MLmodel").write_text("just text")
    registry.add(REF, tmp_path / "m")
    with pytest.raises(SignatureMismatch, match="not an MLflow model"):
        loader.load(REF)


def test_model_made_for_another_window_is_refused(registry: MemoryRegistry, loader: ModelLoader, tmp_path: Path) -> None:
    registry.add(REF, our_model(tmp_path / "m", ConstantVelocity(window=WindowSpec(t_pred=6))))
    with pytest.raises(SignatureMismatch, match="was made for"):
        loader.load(REF)


def test_warm_up_refuses_a_model_whose_agents_depend_on_each_other(registry: MemoryRegistry, loader: ModelLoader, tmp_path: Path) -> None:
    registry.add(REF, onnx_model(tmp_path / "m", crowd_following_graph()), tags=RESIDUAL)
    with pytest.raises(SignatureMismatch, match="trajectory/1 fails check_batch_size"):
        loader.load(REF)


@pytest.mark.parametrize("name", ["..", "", ".hidden", "a/../../b"])
def test_names_cannot_leave_the_cache(tmp_path: Path, name: str) -> None:
    try:
        folder = version_dir(tmp_path, ModelRef(name, 1))
    except InvalidInput:
        return
    assert folder.parent.parent == tmp_path
