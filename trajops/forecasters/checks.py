"""The conformance suite: what every forecaster must do, whatever its family.

`check_forecaster` asks only through the Forecaster protocol, so that it holds for a family the product has never seen. Each
check raises SignatureMismatch with the family, the check's name and what went wrong.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from trajops.errors import ShapeError, SignatureMismatch, TrajOpsError
from trajops.ports import Forecaster
from trajops.trajectories import FloatArray, Forecast, WindowSpec

# Single precision inside a model is enough: positions of a few tens of metres, errors of a few micrometres.
_RELATIVE, _ABSOLUTE_M = 1e-4, 1e-3

Check = Callable[[Forecaster], None]


def probe_histories(window: WindowSpec, seed: int = 0) -> FloatArray:
    """Histories of every kind that traffic brings, (12, t_obs, 2) metres around the origin.

    Walkers, runners, one that turns and one that brakes, one that reverses, one with sensor noise, one that stands
    perfectly still, and one that stands in noise.
    """
    rng = np.random.default_rng(seed)
    ahead_s = (np.arange(window.t_obs) - window.t_obs + 1)[:, None] * window.dt_s
    headings = rng.uniform(0, 2 * np.pi, 6)
    speeds_mps = np.array([0.3, 1.2, 1.5, 3.0, 7.0, 10.0])
    straight = [speed * ahead_s * np.array([np.cos(angle), np.sin(angle)]) for speed, angle in zip(speeds_mps, headings, strict=True)]
    turning = np.hstack((np.sin(0.6 * ahead_s), 1 - np.cos(0.6 * ahead_s))) * 2.0
    braking = np.hstack((1.5 * ahead_s - 0.4 * ahead_s**2, 0.1 * ahead_s))
    reversing = np.hstack((np.abs(ahead_s + 1.3), 0.2 * ahead_s))
    noisy = straight[1] + rng.normal(scale=0.05, size=(window.t_obs, 2))
    standing = np.zeros((window.t_obs, 2))
    trembling = rng.normal(scale=0.01, size=(window.t_obs, 2))
    starts = rng.uniform(-20, 20, size=(12, 1, 2))
    return np.stack([*straight, turning, braking, reversing, noisy, standing, trembling]) + starts


def check_window(forecaster: Forecaster) -> None:
    """The family has a name, and the window is a WindowSpec."""
    if not isinstance(forecaster.family, str) or not forecaster.family:
        raise SignatureMismatch("family must be a name, for example `kalman`")
    if not isinstance(forecaster.window, WindowSpec):
        raise SignatureMismatch(f"window must be a WindowSpec, not {type(forecaster.window).__name__}")


def check_shapes(forecaster: Forecaster) -> None:
    """Any number of agents, none included, gets (A, K, t_pred, 2) with one K."""
    histories = probe_histories(forecaster.window)
    modes = forecaster.forecast(histories).mean_m.shape[1]
    if modes < 1:
        raise SignatureMismatch("there must be at least one mode")
    for agents in (0, 1, 2, len(histories)):
        forecast = forecaster.forecast(histories[:agents])
        wanted = (agents, modes, forecaster.window.t_pred, 2)
        if forecast.mean_m.shape != wanted:
            raise SignatureMismatch(f"{agents} agents must get means of shape {wanted}, not {forecast.mean_m.shape}")


def check_refuses_wrong_shapes(forecaster: Forecaster) -> None:
    """A history of another shape raises ShapeError instead of an answer."""
    t_obs = forecaster.window.t_obs
    for shape in ((1, t_obs - 1, 2), (1, t_obs + 1, 2), (1, t_obs, 3), (t_obs, 2), (1, 1, t_obs, 2)):
        try:
            forecaster.forecast(np.zeros(shape))
        except ShapeError:
            continue
        raise SignatureMismatch(f"a history of shape {shape} must raise ShapeError; check it at the border")


def check_finite(forecaster: Forecaster) -> None:
    """Every number is finite, also for agents that stand, race, or are far from the origin."""
    histories = probe_histories(forecaster.window)
    for name, case in (("ordinary", histories), ("far", histories + 1e6), ("racing", 20.0 * histories), ("standing", 0.0 * histories)):
        forecast = forecaster.forecast(case)
        if not all(np.isfinite(array).all() for array in (forecast.mean_m, forecast.covariance_m2, forecast.weights)):
            raise SignatureMismatch(f"{name} agents get a number that is not finite")


def check_translation(forecaster: Forecaster) -> None:
    """A scene that lies elsewhere gets the same forecast there."""
    histories = probe_histories(forecaster.window)
    shift_m = np.array([1024.0, -512.0])
    here, there = forecaster.forecast(histories), forecaster.forecast(histories + shift_m)
    _require_equal("a scene moved by 1.1 km", _moved(here, np.eye(2), shift_m), there)


def check_rotation(forecaster: Forecaster) -> None:
    """A scene that is turned gets the forecast turned: means and covariances."""
    histories = probe_histories(forecaster.window)
    for angle_rad in (0.7, np.pi / 2, np.pi):
        turn = np.array([[np.cos(angle_rad), -np.sin(angle_rad)], [np.sin(angle_rad), np.cos(angle_rad)]])
        here, there = forecaster.forecast(histories), forecaster.forecast(histories @ turn.T)
        _require_equal(f"a scene turned by {angle_rad:.2f} rad", _moved(here, turn, np.zeros(2)), there)


def check_batch_size(forecaster: Forecaster) -> None:
    """An agent's forecast does not depend on who is asked about with it, or in which order."""
    histories = probe_histories(forecaster.window)
    together = forecaster.forecast(histories)
    for row in range(len(histories)):
        _require_equal(f"agent {row} asked about alone", _rows(together, [row]), forecaster.forecast(histories[row : row + 1]))
    backwards = list(range(len(histories)))[::-1]
    _require_equal("the batch in reverse", _rows(together, backwards), forecaster.forecast(histories[::-1]))
    many = [row % len(histories) for row in range(100)]
    _require_equal("a batch of 100", _rows(together, many), forecaster.forecast(histories[many]))


def check_stateless(forecaster: Forecaster) -> None:
    """The same question gets the same answer, bit for bit, whatever was asked in between; the question is left as it was."""
    histories = probe_histories(forecaster.window)
    question = histories.copy()
    for rows in (slice(None), slice(0, 1)):
        first = forecaster.forecast(question[rows])
        kept = _copy(first)
        forecaster.forecast(-3.0 * histories[::-1])
        forecaster.forecast(-3.0 * histories[:1])
        if not _identical(first, kept):
            raise SignatureMismatch("an answer changes when the next question is asked; do not return buffers that are used again")
        if not _identical(kept, forecaster.forecast(question[rows])):
            raise SignatureMismatch("the same question gets another answer the second time; forecasters keep no state")
    if not np.array_equal(question, histories):
        raise SignatureMismatch("the history is changed in place; work on a copy")


def check_threads(forecaster: Forecaster) -> None:
    """Four threads asking at once get what they would get one after the other."""
    histories = probe_histories(forecaster.window)
    questions = [histories[row : row + 1] + row for row in range(len(histories))] + [histories]
    alone = [forecaster.forecast(question) for question in questions]

    def ask(turn: int) -> bool:
        index = turn % len(questions)
        return _identical(alone[index], forecaster.forecast(questions[index]))

    with ThreadPoolExecutor(4) as pool:
        if not all(pool.map(ask, range(400))):
            raise SignatureMismatch("threads that ask at once get another answer; share nothing that is written to")


def check_covariance(forecaster: Forecaster) -> None:
    """Every covariance is symmetric positive definite, also of an agent that stands."""
    histories = probe_histories(forecaster.window)
    covariance_m2 = forecaster.forecast(np.concatenate((histories, 20.0 * histories))).covariance_m2
    swapped = covariance_m2.swapaxes(-1, -2)
    if not np.allclose(covariance_m2, swapped, rtol=1e-5, atol=1e-9):
        raise SignatureMismatch("covariances must be symmetric")
    smallest = float(np.linalg.eigvalsh((covariance_m2 + swapped) / 2).min())
    if not smallest > 0:
        raise SignatureMismatch(f"covariances must be positive definite, but one has the eigenvalue {smallest:.3g} m²; add a floor")


def check_weights(forecaster: Forecaster) -> None:
    """Weights are probabilities that sum to one, the likeliest mode first."""
    weights = forecaster.forecast(probe_histories(forecaster.window)).weights
    if (weights < 0).any() or not np.allclose(weights.sum(axis=1), 1.0, atol=1e-5):
        raise SignatureMismatch("weights must be probabilities that sum to one over the modes")
    if (weights > weights[:, :1]).any():
        raise SignatureMismatch("the likeliest mode must come first")


CHECKS: tuple[Check, ...] = (
    check_window,
    check_shapes,
    check_refuses_wrong_shapes,
    check_stateless,
    check_finite,
    check_translation,
    check_rotation,
    check_batch_size,
    check_threads,
    check_covariance,
    check_weights,
)


def check_forecaster(forecaster: Forecaster, *, is_turning_free: bool = True) -> None:
    """Run every check and stop at the first that fails.

    Args:
        forecaster: any model.
        is_turning_free: also ask for equivariance to rotation; foreign models need not have it.

    Raises:
        SignatureMismatch: which check failed, and why.
    """
    for check in CHECKS:
        if check is check_rotation and not is_turning_free:
            continue
        try:
            check(forecaster)
        except TrajOpsError as error:
            raise SignatureMismatch(f"{forecaster.family} fails {check.__name__}: {error}", check=check.__name__) from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise SignatureMismatch(
                f"{forecaster.family} fails {check.__name__} with {type(error).__name__}: {error}", check=check.__name__
            ) from error


def _moved(forecast: Forecast, turn: FloatArray, shift_m: FloatArray) -> Forecast:
    return Forecast(forecast.mean_m @ turn.T + shift_m, turn @ forecast.covariance_m2 @ turn.T, forecast.weights)


def _rows(forecast: Forecast, rows: list[int]) -> Forecast:
    return Forecast(forecast.mean_m[rows], forecast.covariance_m2[rows], forecast.weights[rows])


def _copy(forecast: Forecast) -> Forecast:
    return Forecast(forecast.mean_m.copy(), forecast.covariance_m2.copy(), forecast.weights.copy())


def _identical(one: Forecast, other: Forecast) -> bool:
    names = ("mean_m", "covariance_m2", "weights")
    return all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in names)


def _require_equal(what: str, wanted: Forecast, got: Forecast) -> None:
    """Compare two forecasts to single precision."""
    for name in ("mean_m", "covariance_m2", "weights"):
        left, right = getattr(wanted, name), getattr(got, name)
        if left.shape != right.shape:
            raise SignatureMismatch(f"{what} gets {name} of shape {right.shape} instead of {left.shape}")
        # An entry of a covariance may be zero by symmetry: it is small beside the whole matrix.
        size = np.abs(left).max(axis=(-1, -2), keepdims=True) if name == "covariance_m2" else np.abs(left)
        excess = np.abs(left - right) - _RELATIVE * size
        if excess.size and excess.max() > _ABSOLUTE_M:
            raise SignatureMismatch(f"{what} gets another {name}, by up to {float(np.abs(left - right).max()):.3g}")
