"""Split-conformal factors: ranks counted by hand, coverage by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajops import metrics
from trajops.errors import InvalidInput, ShapeError
from trajops.forecasters.calibration import calibrated, conformal_factors, residual_covariance
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.trajectories import Forecast


def unit_forecast(agents: int, steps: int = 1, variance_m2: float = 1.0) -> Forecast:
    covariance = np.broadcast_to(variance_m2 * np.eye(2), (agents, 1, steps, 2, 2))
    return Forecast(np.zeros((agents, 1, steps, 2)), covariance, np.ones((agents, 1)))


def test_factor_is_the_rank_counted_by_hand() -> None:
    # 19 errors of 1 … 19 m; at 90 % the rank is ⌈20 · 0.9⌉ = 18, so the 18 m error must lie on the ellipse.
    truth = np.zeros((19, 1, 2))
    truth[:, 0, 0] = np.arange(1, 20)
    factors = conformal_factors(unit_forecast(19), truth, 0.9)
    np.testing.assert_allclose(factors, [18.0**2 / (-2 * np.log(0.1))])


def test_too_few_windows_for_the_level_say_how_many() -> None:
    with pytest.raises(InvalidInput, match="at least 9 windows, not 8"):
        conformal_factors(unit_forecast(8), np.ones((8, 1, 2)), 0.9)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1])
def test_level_must_be_a_probability(level: float) -> None:
    with pytest.raises(InvalidInput):
        conformal_factors(unit_forecast(50), np.ones((50, 1, 2)), level)


def test_truth_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError):
        conformal_factors(unit_forecast(50), np.ones((50, 2, 2)))


@given(stretch=st.floats(0.01, 100), level=st.sampled_from([0.5, 0.8, 0.9]))
def test_calibration_undoes_any_stretch(stretch: float, level: float) -> None:
    truth = np.random.default_rng(0).normal(size=(200, 3, 2))
    plain = conformal_factors(unit_forecast(200, 3), truth, level)
    stretched = conformal_factors(unit_forecast(200, 3, stretch), truth, level)
    np.testing.assert_allclose(stretched * stretch, plain)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_heavy_tails_are_covered_as_promised(level: float) -> None:
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(40):
        held, new = rng.standard_t(3, size=(2, 400, 12, 2)) * np.arange(1, 13)[:, None]
        history = np.zeros((400, 8, 2))
        forecaster = calibrated(ConstantVelocity(), history, held, level)
        covered.append(metrics.coverage(forecaster.forecast(history), new, level))
    assert np.mean(covered) == pytest.approx(level, abs=0.01)


def test_residual_covariance_is_the_second_moment() -> None:
    error = np.array([[[1.0, 0.0]], [[-1.0, 0.0]], [[0.0, 3.0]], [[0.0, -3.0]]] * 5)
    np.testing.assert_allclose(residual_covariance(np.zeros((20, 1, 2)), error), [[[0.5, 0], [0, 4.5]]], atol=1e-5)


def test_residual_covariance_needs_windows() -> None:
    with pytest.raises(InvalidInput, match="at least 10"):
        residual_covariance(np.zeros((9, 1, 2)), np.zeros((9, 1, 2)))
