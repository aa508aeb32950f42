"""The agent's frame, the network's arithmetic, the trees' conversion, and the speed of a single forecast."""

import math
import timeit
from collections.abc import Mapping
from itertools import pairwise
from typing import Self

import lightgbm
import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from trajops.errors import InvalidInput, ShapeError
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.forecasters.frames import SCALE_FLOOR_M, SPEED_FLOOR_M, agent_frame, feature_count
from trajops.forecasters.gaussian_mlp import GaussianMLP
from trajops.forecasters.kalman import Kalman, KalmanNoise
from trajops.forecasters.linear import LinearForecaster
from trajops.ports import Forecaster
from trajops.trajectories import FloatArray, WindowSpec
from trajops.windows import Windows
from workers.training import fit_boosting, fit_constant_velocity, fit_mlp
from workers.training.export import tree_attributes


def network(hidden: int = 80, seed: int = 0) -> GaussianMLP:
    rng = np.random.default_rng(seed)
    sizes = (15, hidden, hidden, 84)
    weights = [rng.normal(size=(one, two)) * math.sqrt(2 / one) for one, two in pairwise(sizes)]
    return GaussianMLP(weights, [0.1 * rng.normal(size=size) for size in sizes[1:]], np.full(12, 0.01))


def test_frame_of_a_walk_to_the_north_by_hand() -> None:
    history = np.stack((np.zeros(8), 0.5 * np.arange(8)), axis=1)[None]
    features, rotation, scale_m = agent_frame(history)
    np.testing.assert_allclose(scale_m, [0.5])
    np.testing.assert_allclose(rotation, [[[0, -1], [1, 0]]], atol=1e-12)
    along = 0.5 / (0.5 + SCALE_FLOOR_M)
    np.testing.assert_allclose(features, [[along, 0] * 7 + [math.log(0.5 + SPEED_FLOOR_M)]], atol=1e-6)


def test_frame_of_an_agent_that_stands() -> None:
    features, rotation, scale_m = agent_frame(np.full((1, 8, 2), 7.0))
    np.testing.assert_array_equal(rotation, [np.eye(2)])
    np.testing.assert_array_equal(scale_m, [0.0])
    np.testing.assert_allclose(features, [[0.0] * 14 + [math.log(SPEED_FLOOR_M)]])
    assert feature_count(8) == features.shape[1]


@given(angle=st.floats(-math.pi, math.pi), dx=st.floats(-1000, 1000), dy=st.floats(-1000, 1000))
def test_features_do_not_see_place_and_direction(angle: float, dx: float, dy: float) -> None:
    history = np.random.default_rng(0).normal(size=(5, 8, 2)).cumsum(axis=1)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    np.testing.assert_allclose(agent_frame(history @ turn.T + (dx, dy))[0], agent_frame(history)[0], atol=1e-5)


def test_network_that_says_nothing_but_its_bias_by_hand() -> None:
    bias = np.zeros(84)
    bias[:24:2] = np.arange(1, 13)  # go on along the heading, one mean step at a time
    bias[24:72] = np.tile((2.0, 0.0, 0.0, 1.0), 12)  # twice the step along, once across
    bias[72:] = 0.3
    model = GaussianMLP([np.zeros((15, 84))], [bias], np.full(12, 0.01))
    north = np.stack((np.zeros(8), 0.5 * np.arange(8)), axis=1)
    for batch in (north[None], np.stack((north, north))):
        forecast = model.forecast(batch)
        np.testing.assert_allclose(forecast.best_m[0], np.stack((np.zeros(12), 3.5 + 0.5 * np.arange(1, 13)), axis=1), atol=1e-6)
        np.testing.assert_allclose(forecast.covariance_m2[0, 0, 5], np.diag((0.25 + 0.1, 1.0 + 0.1)), atol=1e-6)


def test_rescaling_multiplies_each_step() -> None:
    history = np.random.default_rng(1).normal(size=(3, 8, 2)).cumsum(axis=1)
    factors = np.linspace(0.5, 3, 12)
    plain, rescaled = network().forecast(history), network().rescaled(factors).forecast(history)
    np.testing.assert_allclose(rescaled.covariance_m2, plain.covariance_m2 * factors[:, None, None], rtol=1e-5)
    np.testing.assert_array_equal(rescaled.mean_m, plain.mean_m)


@pytest.mark.parametrize(
    ("weights", "biases", "sentence"),
    [
        ([np.zeros((14, 84))], [np.zeros(84)], "weights"),
        ([np.zeros((15, 83))], [np.zeros(84)], "weights"),
        ([np.zeros((15, 8)), np.zeros((9, 84))], [np.zeros(8), np.zeros(84)], "weights"),
        ([np.zeros((15, 84))], [np.zeros(80)], "biases"),
        ([np.zeros((15, 84))], [], "one bias for each"),
    ],
    ids=["inputs", "outputs", "between layers", "bias", "no bias"],
)
def test_layers_that_do_not_fit_are_refused(weights: list[np.ndarray], biases: list[np.ndarray], sentence: str) -> None:
    with pytest.raises(ShapeError, match=sentence):
        GaussianMLP(weights, biases, np.ones(12))


class Linear(LinearForecaster):
    """The family without a member's way to be kept."""

    @classmethod
    def from_arrays(cls, window: WindowSpec, arrays: Mapping[str, FloatArray]) -> Self:
        raise AssertionError("nothing is kept here")


def test_linear_weights_must_sum_to_one() -> None:
    with pytest.raises(ShapeError, match="sum to one"):
        Linear(np.full((12, 8), 0.2), np.ones(12))


def test_fitted_arrays_cannot_be_written_to() -> None:
    forecast = ConstantVelocity().forecast(np.zeros((1, 8, 2)))
    with pytest.raises(ValueError, match="read-only"):
        forecast.covariance_m2[0, 0, 0] = 0.0


def run_trees(models: list[dict[str, object]], features: np.ndarray) -> np.ndarray:
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", **tree_attributes(models))
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", features.shape[1]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", len(models)])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    session = onnxruntime.InferenceSession(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    answer: np.ndarray = session.run(None, {"x": features})[0]
    return answer


def test_converted_trees_answer_like_lightgbm() -> None:
    rng = np.random.default_rng(2)
    features = np.round(rng.normal(size=(3000, 4)), 2).astype(np.float32)
    targets = np.stack((np.sin(3 * features[:, 0]) + features[:, 1], np.abs(features[:, 2])), axis=1)
    options = {"objective": "l1", "num_leaves": 15, "verbosity": -1, "num_threads": 1}
    boosters = [lightgbm.train(options, lightgbm.Dataset(features, targets[:, one].copy()), 30) for one in (0, 1)]
    wanted = np.stack([booster.predict(features) for booster in boosters], axis=1)
    np.testing.assert_allclose(run_trees([booster.dump_model() for booster in boosters], features), wanted, rtol=1e-5, atol=1e-5)


def test_threshold_is_never_rounded_up() -> None:
    # 0.1 in single precision is larger than 0.1: rounded to the nearest, the feature 0.1f would change sides.
    split = {
        "split_feature": 0,
        "threshold": 0.1,
        "decision_type": "<=",
        "left_child": {"leaf_value": 1.0},
        "right_child": {"leaf_value": 2.0},
    }
    features = np.array([[0.1], [np.nextafter(np.float32(0.1), np.float32(0))]], dtype=np.float32)
    answer = run_trees([{"tree_info": [{"tree_structure": split}]}], features)
    np.testing.assert_array_equal(answer, [[2.0], [1.0]])


def test_categorical_splits_are_refused() -> None:
    split = {
        "split_feature": 0,
        "threshold": "1||2",
        "decision_type": "==",
        "left_child": {"leaf_value": 1},
        "right_child": {"leaf_value": 2},
    }
    with pytest.raises(InvalidInput, match="numerical splits"):
        tree_attributes([{"tree_info": [{"tree_structure": split}]}])


def test_residual_spread_finds_what_made_the_errors() -> None:
    rng = np.random.default_rng(4)
    scale_m = rng.uniform(0, 2, 20000)
    deviation = np.sqrt(np.stack((4.0 * scale_m**2 + 0.25, 0.5 * scale_m**2 + 0.25), axis=1))
    error_m = (rng.normal(size=(20000, 2)) * deviation)[:, None]
    along_across, floor_m2 = fit_boosting.residual_spread(error_m, scale_m)
    np.testing.assert_allclose(along_across, [[4.0, 0.5]], rtol=0.1)
    np.testing.assert_allclose(floor_m2, [0.25], rtol=0.1)


def turning(count: int, seed: int) -> Windows:
    rng = np.random.default_rng(seed)
    heading = rng.uniform(0, 6.28, (count, 1)) + rng.normal(scale=0.1, size=(count, 1)) * np.arange(20)
    steps_m = rng.uniform(0.2, 0.8, (count, 1, 1)) * np.stack((np.cos(heading), np.sin(heading)), axis=2)
    positions_m = np.cumsum(steps_m, axis=1) + rng.normal(scale=0.01, size=(count, 20, 2))
    return Windows(tuple(map(str, range(count))), ("s",) * count, np.zeros(count), positions_m)


def test_training_twice_gives_the_same_network() -> None:
    recipe = fit_mlp.Recipe(epochs=2, batch=64, hidden=16)
    one, two = (fit_mlp.fit(turning(300, 0), turning(200, 1), recipe=recipe) for _ in range(2))
    assert all(np.array_equal(value, two.arrays()[name]) for name, value in one.arrays().items())
    other = fit_mlp.fit(turning(300, 0), turning(200, 1), recipe=fit_mlp.Recipe(epochs=2, batch=64, hidden=16, seed=1))
    assert not np.array_equal(one.weights[0], other.weights[0])


@pytest.mark.parametrize("fit", [fit_mlp.fit, fit_boosting.fit, fit_constant_velocity.fit], ids=["mlp", "boosting", "constant_velocity"])
def test_nothing_to_train_on_is_said(fit: object) -> None:
    few = turning(50, 0)
    with pytest.raises((InvalidInput, ShapeError)):
        fit(few.select(np.zeros(50, dtype=bool)), few)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("forecaster", "budget_us"),
    [(ConstantVelocity(), 10), (Kalman(KalmanNoise(0.5, 0.01, 1.5)), 10), (network(), 100)],
    ids=["constant_velocity", "kalman", "gaussian_mlp"],
)
def test_one_forecast_is_quick(forecaster: Forecaster, budget_us: float) -> None:
    # The best of many short runs: what the code costs, not what the neighbours on the machine do.
    history = turning(1, 0).history_m
    assert min(timeit.repeat(lambda: forecaster.forecast(history), number=20, repeat=200)) / 20 * 1e6 < budget_us
