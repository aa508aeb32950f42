"""The folded Kalman filter against the textbook recursion, its limits, and its fit."""

import numpy as np
import pytest

from trajops.errors import InvalidInput, ShapeError
from trajops.forecasters.kalman import MAX_RELAXATION_S, Kalman, KalmanNoise, fold
from trajops.trajectories import DEFAULT_WINDOW, WindowSpec
from trajops.windows import Windows
from workers.training import fit_kalman

NOISE = KalmanNoise(acceleration_m2ps3=0.5, measurement_m2=0.02, start_speed_m2ps2=1.5, relaxation_s=4.0)


def test_one_observed_step_by_hand() -> None:
    # Two observations 1 s apart, no relaxation to speak of, no acceleration: the velocity after the second is
    # v/(v + 2 r) of the difference, because the difference has the variance v + 2 r.
    weights, _ = fold(KalmanNoise(1e-12, 0.5, 3.0), WindowSpec(2, 1, 1.0))
    speed_share = 3.0 / (3.0 + 2 * 0.5)
    position_share = (3.0 + 0.5) / (3.0 + 2 * 0.5)
    np.testing.assert_allclose(weights, [[1 - position_share - speed_share, position_share + speed_share]], rtol=5e-3)


def test_folding_equals_filtering_one_history() -> None:
    window, noise = DEFAULT_WINDOW, NOISE
    history = np.random.default_rng(3).normal(size=(8, 2)).cumsum(axis=0)
    decay = np.exp(-window.dt_s / noise.relaxation_s)
    f = np.array([[1, noise.relaxation_s * (1 - decay)], [0, decay]])
    # Q as the integral of its definition, summed numerically.
    left_s = (np.arange(4000) + 0.5) / 4000 * window.dt_s
    push = np.stack((noise.relaxation_s * (1 - np.exp(-left_s / noise.relaxation_s)), np.exp(-left_s / noise.relaxation_s)))
    q = noise.acceleration_m2ps3 * (push @ push.T) * window.dt_s / 4000
    h = np.array([[1.0, 0.0]])
    x, p = np.array([history[0], [0, 0]]), np.diag([noise.measurement_m2, noise.start_speed_m2ps2])
    for observed in history[1:]:
        x, p = f @ x, f @ p @ f.T + q
        k = p @ h.T / (h @ p @ h.T + noise.measurement_m2)
        x, p = x + k @ (observed[None] - h @ x), (np.eye(2) - k @ h) @ p
    means, variances = [], []
    for _ in range(window.t_pred):
        x, p = f @ x, f @ p @ f.T + q
        means.append(x[0])
        variances.append(p[0, 0] + noise.measurement_m2)
    forecast = Kalman(noise).forecast(history[None])
    np.testing.assert_allclose(forecast.best_m[0], means, rtol=1e-6)
    np.testing.assert_allclose(forecast.covariance_m2[0, 0], np.array(variances)[:, None, None] * np.eye(2), rtol=1e-6)


def test_exact_observations_without_relaxation_repeat_the_last_step() -> None:
    weights, _ = fold(KalmanNoise(10.0, 1e-9, 10.0), DEFAULT_WINDOW)
    line = 0.7 * np.arange(20)
    np.testing.assert_allclose(weights @ line[:8], line[8:], rtol=5e-3)


def test_the_longest_relaxation_is_constant_velocity() -> None:
    _, variance = fold(KalmanNoise(0.6, 1e-9, 10.0, MAX_RELAXATION_S), WindowSpec(8, 1, 0.4))
    # After exact positions only the newest velocity is uncertain: between q dt³/3 and (position + velocity) q dt³ (1/3 + 1 + 1).
    assert 0.6 * 0.4**3 / 3 < variance[0] < 0.6 * 0.4**3 * (1 / 3 + 1 + 1)


@pytest.mark.parametrize(
    "values", [(0.0, 1, 1, 1), (1, -1, 1, 1), (1, 1, float("nan"), 1), (1, 1, 1, 1001.0)], ids=["zero", "negative", "nan", "too long"]
)
def test_impossible_noise_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ShapeError):
        KalmanNoise(*values)


def simulated(count: int, seed: int, noise: KalmanNoise) -> Windows:
    """Windows drawn from the model itself, in 40 small steps for each observed one."""
    rng = np.random.default_rng(seed)
    dt_s = 0.4 / 40
    velocity = rng.normal(scale=np.sqrt(noise.start_speed_m2ps2), size=(count, 2))
    position = np.zeros((count, 2))
    seen = [position.copy()]
    for _ in range(19):
        for _ in range(40):
            position = position + velocity * dt_s
            kick = rng.normal(scale=np.sqrt(noise.acceleration_m2ps3 * dt_s), size=(count, 2))
            velocity = velocity * (1 - dt_s / noise.relaxation_s) + kick
        seen.append(position)
    positions = np.stack(seen, axis=1) + rng.normal(scale=np.sqrt(noise.measurement_m2), size=(count, 20, 2))
    return Windows(tuple(map(str, range(count))), ("s",) * count, np.zeros(count), positions)


def test_fit_finds_the_noise_that_made_the_data() -> None:
    fitted = fit_kalman.fit(simulated(6000, 0, NOISE), simulated(3000, 1, NOISE))
    # Eight observations drown the starting velocity: its variance leaves hardly a trace in the forecasts.
    found, made = fitted.noise, NOISE
    np.testing.assert_allclose(found.acceleration_m2ps3, made.acceleration_m2ps3, rtol=0.1)
    np.testing.assert_allclose(found.measurement_m2, made.measurement_m2, rtol=0.1)
    np.testing.assert_allclose(found.relaxation_s, made.relaxation_s, rtol=0.1)
    np.testing.assert_allclose(fitted.weights, Kalman(NOISE).weights, atol=0.05)
    np.testing.assert_allclose(fitted.variance_m2, Kalman(NOISE).variance_m2, rtol=0.08)


def test_fit_refuses_windows_that_never_move() -> None:
    still = Windows(("a",) * 50, ("s",) * 50, np.zeros(50), np.ones((50, 20, 2)))
    with pytest.raises(InvalidInput, match="never move"):
        fit_kalman.fit(still, still)
