"""Metrics: hand-computed cases, invariances, and controls that must fail."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from tests.builders import a_forecast
from trajops import metrics
from trajops.errors import InvalidInput, ShapeError
from trajops.trajectories import FloatArray, Forecast

positions = st.floats(-100, 100, allow_subnormal=False)
scenes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5)).flatmap(
    lambda axes: st.tuples(
        hnp.arrays(np.float64, (*axes, 2), elements=positions),
        hnp.arrays(np.float64, (axes[0], axes[2], 2), elements=positions),
    )
)


def off_by(*offsets_m: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """A prediction that misses the truth by the given offset at each step: (1, T, 2) each."""
    truth = np.arange(2.0 * len(offsets_m)).reshape(1, -1, 2)
    return truth + np.array(offsets_m), truth


def correlated(rng: np.random.Generator, *shape: int) -> FloatArray:
    """Random symmetric positive definite matrices (*shape, 2, 2)."""
    root = rng.normal(size=(*shape, 2, 2))
    return root @ np.swapaxes(root, -1, -2) + 0.05 * np.eye(2)


# --- displacement


@pytest.mark.parametrize(
    ("offsets_m", "ade_m", "fde_m"),
    [
        pytest.param([(0, 0), (0, 0)], 0.0, 0.0, id="exact"),
        pytest.param([(3, 4), (3, 4)], 5.0, 5.0, id="3-4-5 at each step"),
        pytest.param([(0, 0), (0, 1), (0, -5)], 2.0, 5.0, id="grows to the side"),
        pytest.param([(6, 8), (0, 0)], 5.0, 0.0, id="late recovery"),
    ],
)
def test_displacement_by_hand(offsets_m: list[tuple[float, float]], ade_m: float, fde_m: float) -> None:
    predicted, truth = off_by(*offsets_m)
    assert metrics.ade(predicted, truth) == pytest.approx([ade_m])
    assert metrics.fde(predicted, truth) == pytest.approx([fde_m])


def test_the_minima_over_modes_are_independent() -> None:
    truth = np.zeros((1, 2, 2))
    modes = np.array([[[[1.0, 0.0], [1.0, 0.0]], [[4.0, 0.0], [0.0, 0.5]], [[9.0, 0.0], [9.0, 0.0]]]])
    assert metrics.min_ade(modes, truth) == pytest.approx([1.0]), "the first mode: (1 + 1) / 2"
    assert metrics.min_fde(modes, truth) == pytest.approx([0.5]), "the second mode, whose average is 2.25"


def test_agents_are_not_mixed() -> None:
    truth = np.zeros((2, 1, 2))
    modes = np.array([[[[1.0, 0.0]], [[2.0, 0.0]]], [[[7.0, 0.0]], [[5.0, 0.0]]]])
    assert metrics.min_fde(modes, truth).tolist() == [1.0, 5.0]
    assert metrics.displacement(modes, truth).shape == (2, 2, 1)


@pytest.mark.parametrize(
    ("final_m", "missed"),
    [pytest.param(1.99, False, id="near"), pytest.param(2.0, False, id="exactly the threshold"), pytest.param(2.01, True, id="far")],
)
def test_a_miss_ends_beyond_the_threshold(final_m: float, missed: bool) -> None:
    predicted, truth = np.array([[[[50.0, 0.0], [final_m, 0.0]]]]), np.zeros((1, 2, 2))
    assert metrics.is_miss(predicted, truth).tolist() == [missed]


def test_the_miss_rate_is_a_share_of_agents() -> None:
    modes = np.array([0.0, 3.0, 1.0, 5.0])[:, None, None, None] * np.ones((4, 1, 1, 2)) / math.sqrt(2)
    truth = np.zeros((4, 1, 2))
    assert metrics.miss_rate(modes, truth) == 0.5
    assert metrics.miss_rate(modes, truth, threshold_m=4.0) == 0.25
    assert math.isnan(metrics.miss_rate(modes[:0], truth[:0]))


# --- partial truth


def test_partial_truth_is_scored_over_what_is_known() -> None:
    predicted, truth = off_by((0, 2), (0, 4), (0, 60))
    truth[0, 2] = np.nan
    mask = np.array([[True, True, False]])
    assert metrics.ade(predicted, truth, mask) == pytest.approx([3.0])
    assert np.isnan(metrics.fde(predicted, truth, mask)).all()
    assert metrics.min_ade(predicted[:, None], truth, mask) == pytest.approx([3.0])
    assert np.isnan(metrics.displacement(predicted, truth, mask)[0]).tolist() == [False, False, True]


def test_what_stands_in_an_unknown_step_is_ignored() -> None:
    predicted, truth = off_by((0, 2), (0, 4), (0, 6))
    mask = np.array([[False, True, True]])
    other = truth.copy()
    other[0, 0] = 1e9
    assert metrics.ade(predicted, truth, mask) == pytest.approx([5.0])
    np.testing.assert_array_equal(metrics.ade(predicted, truth, mask), metrics.ade(predicted, other, mask))
    np.testing.assert_array_equal(
        metrics.nll(a_forecast(predicted[:, None]), truth, mask), metrics.nll(a_forecast(predicted[:, None]), other, mask)
    )


def test_nothing_known_gives_nan_and_no_warning() -> None:
    predicted, truth = off_by((0, 2), (0, 4))
    nothing = np.zeros((1, 2), dtype=bool)
    forecast = a_forecast(predicted[:, None])
    assert np.isnan(metrics.ade(predicted, truth, nothing)).all()
    assert np.isnan(metrics.nll(forecast, truth, nothing)).all()
    assert not metrics.inside(forecast, truth, mask=nothing).any()
    assert math.isnan(metrics.coverage(forecast, truth, mask=nothing))


@pytest.mark.parametrize(
    ("predicted", "truth", "mask"),
    [
        pytest.param(np.zeros((1, 3, 2)), np.zeros((1, 2, 2)), None, id="steps differ"),
        pytest.param(np.zeros((2, 3, 2)), np.zeros((1, 3, 2)), None, id="agents differ"),
        pytest.param(np.zeros((1, 3, 2)), np.full((1, 3, 2), np.nan), None, id="truth not known, and no mask"),
        pytest.param(np.full((1, 3, 2), np.inf), np.zeros((1, 3, 2)), None, id="prediction not finite"),
        pytest.param(np.zeros((1, 3, 2)), np.full((1, 3, 2), np.nan), np.ones((1, 3), dtype=bool), id="truth said to be known"),
        pytest.param(np.zeros((1, 3, 2)), np.zeros((1, 3, 2)), np.ones((1, 2), dtype=bool), id="mask of another length"),
        pytest.param(np.zeros((1, 3, 2)), np.zeros((1, 3, 2)), np.ones((1, 3)), id="mask of numbers"),
        pytest.param(np.zeros((1, 1, 3, 2)), np.zeros((1, 3, 2)), None, id="modes where one prediction belongs"),
    ],
)
def test_shapes_that_disagree_are_refused(predicted: FloatArray, truth: FloatArray, mask: FloatArray | None) -> None:
    with pytest.raises(ShapeError):
        metrics.ade(predicted, truth, mask)  # type: ignore[arg-type]


def test_no_mode_is_refused() -> None:
    with pytest.raises(ShapeError, match="at least one mode"):
        metrics.min_ade(np.zeros((1, 0, 3, 2)), np.zeros((1, 3, 2)))


# --- likelihood


@pytest.mark.parametrize(
    ("offset_m", "std_m", "nats"),
    [
        pytest.param(0.0, 1.0, math.log(2 * math.pi), id="at the mean of the unit circle"),
        pytest.param(1.0, 1.0, math.log(2 * math.pi) + 0.5, id="one standard deviation off"),
        pytest.param(0.0, 2.0, math.log(2 * math.pi) + math.log(4), id="twice as wide: ln 4 more"),
        pytest.param(6.0, 2.0, math.log(2 * math.pi) + math.log(4) + 4.5, id="three standard deviations off"),
    ],
)
def test_gaussian_nll_by_hand(offset_m: float, std_m: float, nats: float) -> None:
    forecast = a_forecast([[[[offset_m, 0.0]]]], std_m=std_m)
    assert metrics.nll(forecast, np.zeros((1, 1, 2))) == pytest.approx(np.array([[nats]]))


def test_likelihood_equals_scipy_for_correlated_mixtures() -> None:
    rng = np.random.default_rng(3)
    forecast = Forecast(rng.normal(size=(4, 3, 5, 2)), correlated(rng, 4, 3, 5), rng.dirichlet(np.ones(3), size=4))
    truth = rng.normal(size=(4, 5, 2))
    got = metrics.nll(forecast, truth)
    for agent, step in np.ndindex(4, 5):
        density = sum(
            forecast.weights[agent, mode]
            * stats.multivariate_normal(forecast.mean_m[agent, mode, step], forecast.covariance_m2[agent, mode, step]).pdf(
                truth[agent, step]
            )
            for mode in range(3)
        )
        assert got[agent, step] == pytest.approx(-math.log(density))


def test_the_likelihood_stays_finite_far_away_and_with_an_impossible_mode() -> None:
    means = np.array([[[[0.0, 0.0]], [[1.0, 0.0]]]])
    forecast = a_forecast(means, std_m=0.01, weights=[1.0, 0.0])
    far = metrics.nll(forecast, np.array([[[1000.0, 0.0]]]))
    assert far == pytest.approx(np.array([[0.5 * 1e10 + math.log(2 * math.pi) + 2 * math.log(0.01)]]))


def test_a_mode_of_weight_zero_changes_nothing() -> None:
    one = metrics.nll(a_forecast([[[[0.3, 0.0]]]], std_m=0.5), np.zeros((1, 1, 2)))
    two = metrics.nll(a_forecast([[[[0.3, 0.0]], [[0.0, 0.0]]]], std_m=0.5, weights=[1.0, 0.0]), np.zeros((1, 1, 2)))
    np.testing.assert_allclose(one, two)


@pytest.mark.parametrize(
    "covariance",
    [
        pytest.param([[0.0, 0.0], [0.0, 1.0]], id="flat along x"),
        pytest.param([[1.0, 1.0], [1.0, 1.0]], id="flat along the diagonal"),
        pytest.param([[1.0, 2.0], [2.0, 1.0]], id="indefinite"),
        pytest.param([[-1.0, 0.0], [0.0, -1.0]], id="negative"),
        pytest.param([[np.nan, 0.0], [0.0, 1.0]], id="not a number"),
        pytest.param([[1.0, 0.0], [0.0, np.inf]], id="infinite"),
    ],
)
def test_a_covariance_that_is_none_is_refused(covariance: list[list[float]]) -> None:
    forecast = Forecast(np.zeros((1, 1, 1, 2)), np.array(covariance).reshape(1, 1, 1, 2, 2), np.ones((1, 1)))
    with pytest.raises(InvalidInput, match="positive definite"):
        metrics.nll(forecast, np.zeros((1, 1, 2)))
    with pytest.raises(InvalidInput, match="positive definite"):
        metrics.inside(forecast, np.zeros((1, 1, 2)))


# --- coverage


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_the_quantile_equals_scipy(level: float) -> None:
    assert metrics.chi_square_quantile(level) == pytest.approx(stats.chi2.ppf(level, 2))


@pytest.mark.parametrize("level", [0.0, 1.0, 90.0, float("nan")])
def test_a_level_that_is_no_probability_is_refused(level: float) -> None:
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        metrics.chi_square_quantile(level)


def test_inside_follows_the_ellipse_and_not_a_circle() -> None:
    covariance = np.array([[4.0, 0.0], [0.0, 0.25]]).reshape(1, 1, 1, 2, 2)
    forecast = Forecast(np.zeros((1, 1, 1, 2)), covariance, np.ones((1, 1)))
    radius = math.sqrt(stats.chi2.ppf(0.9, 2))
    assert metrics.inside(forecast, np.array([[[2 * radius - 0.01, 0.0]]])).all()
    assert not metrics.inside(forecast, np.array([[[2 * radius + 0.01, 0.0]]])).any()
    assert not metrics.inside(forecast, np.array([[[0.0, 2 * radius - 0.01]]])).any()


def test_only_the_likeliest_mode_counts() -> None:
    forecast = a_forecast([[[[0.0, 0.0]], [[9.0, 0.0]]]], std_m=1.0, weights=[0.7, 0.3])
    assert not metrics.inside(forecast, np.array([[[9.0, 0.0]]])).any()


def test_coverage_counts_known_steps_only() -> None:
    forecast = a_forecast(np.zeros((1, 1, 4, 2)), std_m=1.0)
    truth = np.array([[[0.0, 0.0], [9.0, 0.0], [0.5, 0.0], [0.0, 0.0]]])
    assert metrics.coverage(forecast, truth) == 0.75
    assert metrics.coverage(forecast, truth, mask=np.array([[True, True, False, False]])) == 0.5


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_an_honest_forecast_has_its_nominal_coverage_and_an_overconfident_one_has_not(level: float) -> None:
    rng = np.random.default_rng(11)
    covariance = correlated(rng, 2000, 1, 4)
    noise = np.einsum("aktij,aktj->akti", np.linalg.cholesky(covariance), rng.normal(size=(2000, 1, 4, 2)))
    honest = Forecast(np.zeros((2000, 1, 4, 2)), covariance, np.ones((2000, 1)))
    vain = Forecast(honest.mean_m, covariance / 4, honest.weights)
    truth = noise[:, 0]
    assert metrics.coverage(honest, truth, level) == pytest.approx(level, abs=0.02)
    assert metrics.coverage(vain, truth, level) < level - 0.1
    assert metrics.nll(honest, truth).mean() < metrics.nll(vain, truth).mean(), "likelihood is a proper score"


# --- properties


@given(scenes, st.floats(-50, 50), st.floats(-50, 50), st.floats(-math.pi, math.pi))
@settings(deadline=None)
def test_metrics_do_not_depend_on_the_frame(scene: tuple[FloatArray, FloatArray], x_m: float, y_m: float, angle_rad: float) -> None:
    modes, truth = scene
    rotation = np.array([[math.cos(angle_rad), -math.sin(angle_rad)], [math.sin(angle_rad), math.cos(angle_rad)]])
    moved_modes, moved_truth = modes @ rotation.T + (x_m, y_m), truth @ rotation.T + (x_m, y_m)
    assert metrics.min_ade(moved_modes, moved_truth) == pytest.approx(metrics.min_ade(modes, truth), abs=1e-9)
    assert metrics.min_fde(moved_modes, moved_truth) == pytest.approx(metrics.min_fde(modes, truth), abs=1e-9)
    covariance = np.broadcast_to(np.array([[2.0, 0.7], [0.7, 0.5]]), (*modes.shape, 2))
    weights = np.full(modes.shape[:2], 1 / modes.shape[1])
    here = metrics.nll(Forecast(modes, covariance, weights), truth)
    there = metrics.nll(Forecast(moved_modes, rotation @ covariance @ rotation.T, weights), moved_truth)
    np.testing.assert_allclose(there, here, rtol=1e-7, atol=1e-7)


@given(scenes)
@settings(deadline=None)
def test_the_best_mode_is_no_worse_than_any(scene: tuple[FloatArray, FloatArray]) -> None:
    modes, truth = scene
    for mode in range(modes.shape[1]):
        assert (metrics.min_ade(modes, truth) <= metrics.ade(modes[:, mode], truth) + 1e-12).all()
        assert (metrics.min_fde(modes, truth) <= metrics.fde(modes[:, mode], truth) + 1e-12).all()
    assert (metrics.min_ade(modes, truth) <= metrics.displacement(modes[:, 0], truth).max(axis=-1) + 1e-12).all()


@given(scenes)
@settings(deadline=None)
def test_a_full_mask_changes_nothing(scene: tuple[FloatArray, FloatArray]) -> None:
    modes, truth = scene
    everything = np.ones(truth.shape[:2], dtype=bool)
    forecast = a_forecast(modes)
    np.testing.assert_array_equal(metrics.min_ade(modes, truth), metrics.min_ade(modes, truth, everything))
    np.testing.assert_array_equal(metrics.nll(forecast, truth), metrics.nll(forecast, truth, everything))
    np.testing.assert_array_equal(metrics.inside(forecast, truth), metrics.inside(forecast, truth, mask=everything))


@given(scenes)
@settings(deadline=None)
def test_a_higher_level_never_covers_less(scene: tuple[FloatArray, FloatArray]) -> None:
    modes, truth = scene
    forecast = a_forecast(modes, std_m=30.0)
    assert (metrics.inside(forecast, truth, 0.5) <= metrics.inside(forecast, truth, 0.9)).all()


def test_moving_the_prediction_alone_changes_the_error() -> None:
    """Control of the invariances: they hold because both move, not because the metrics are blind."""
    predicted, truth = off_by((0, 1), (0, 1))
    assert metrics.ade(predicted + np.array([3.0, 0.0]), truth) != pytest.approx(metrics.ade(predicted, truth))
