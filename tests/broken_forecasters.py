"""Forecasters that are wrong in one way each, made of constant velocity: what the battery must find."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.trajectories import DEFAULT_WINDOW, Forecast


@dataclass
class Sound:
    """Nothing is wrong with it: what the others break."""

    family: str = "constant_velocity"
    window: Any = DEFAULT_WINDOW
    inner: ConstantVelocity = field(default_factory=ConstantVelocity)
    scale: float = 1.0

    def forecast(self, history_m: np.ndarray) -> Forecast:
        made = self.inner.forecast(history_m)
        return Forecast(made.mean_m, made.covariance_m2 * self.scale, made.weights)


class DrawnToTheOrigin(Sound):
    """Not invariant to translation."""

    def forecast(self, history_m: np.ndarray) -> Forecast:
        made = super().forecast(history_m)
        return Forecast(0.99 * made.mean_m, made.covariance_m2, made.weights)


class Eastward(Sound):
    """Not invariant to rotation."""

    def forecast(self, history_m: np.ndarray) -> Forecast:
        made = super().forecast(history_m)
        return Forecast(made.mean_m + np.array([0.5, 0.0]), made.covariance_m2, made.weights)


class Leftward(Sound):
    """Turns with the frame, and is not its own mirror image."""

    def forecast(self, history_m: np.ndarray) -> Forecast:
        made = super().forecast(history_m)
        step_m = history_m[:, -1] - history_m[:, -2]
        left_m = np.stack((-step_m[:, 1], step_m[:, 0]), axis=1)
        return Forecast(made.mean_m + left_m[:, None, None], made.covariance_m2, made.weights)


class Company(Sound):
    """Looks at whoever is asked about with an agent."""

    def forecast(self, history_m: np.ndarray) -> Forecast:
        made = super().forecast(history_m)
        offset_m = 0.1 * len(history_m) if len(history_m) > 1 else 0.0
        return Forecast(made.mean_m + offset_m, made.covariance_m2, made.weights)


class Ordered(Sound):
    """Answers by the place in the batch."""

    def forecast(self, history_m: np.ndarray) -> Forecast:
        made = super().forecast(history_m)
        return Forecast(made.mean_m + 0.1 * np.arange(len(history_m))[:, None, None, None], made.covariance_m2, made.weights)


class Forgetful(Sound):
    """Keeps a state from one question to the next."""

    calls = 0

    def forecast(self, history_m: np.ndarray) -> Forecast:
        made = super().forecast(history_m)
        self.calls += 1
        return Forecast(made.mean_m + 0.02 * self.calls, made.covariance_m2, made.weights)


class Standing(Sound):
    """Gives NaN for whoever stands."""

    def forecast(self, history_m: np.ndarray) -> Forecast:
        made = super().forecast(history_m)
        moves = np.abs(np.diff(history_m, axis=1)).max(axis=(1, 2), initial=0.0) > 0
        return Forecast(np.where(moves[:, None, None, None], made.mean_m, np.nan), made.covariance_m2, made.weights)


class Crashing(Sound):
    """Divides by what may be nothing."""

    def forecast(self, history_m: np.ndarray) -> Forecast:
        if len(history_m) and not np.abs(np.diff(history_m, axis=1)).max():
            raise ZeroDivisionError("no step to divide by")
        return super().forecast(history_m)


class Lenient(Sound):
    """Answers whatever it is given."""

    def forecast(self, history_m: np.ndarray) -> Forecast:
        return super().forecast(np.zeros((1, DEFAULT_WINDOW.t_obs, 2)))


class Slow(Sound):
    """Computes for long; one that slept would leave a cold processor to whoever is timed after it."""

    def forecast(self, history_m: np.ndarray) -> Forecast:
        until_s = time.perf_counter() + 0.15
        while time.perf_counter() < until_s:
            pass
        return super().forecast(history_m)


class Flat(Sound):
    """Certain along one axis."""

    def forecast(self, history_m: np.ndarray) -> Forecast:
        made = super().forecast(history_m)
        return Forecast(made.mean_m, made.covariance_m2 * np.array([[1.0, 0.0], [0.0, 0.0]]), made.weights)


class OffWithSome(Sound):
    """Good on the whole, and far off with the agents that go fastest."""

    def forecast(self, history_m: np.ndarray) -> Forecast:
        made = super().forecast(history_m)
        step_m = history_m[:, -1] - history_m[:, -2]
        is_fast = np.hypot(step_m[:, 0], step_m[:, 1]) > 0.9
        return Forecast(made.mean_m + 3.0 * is_fast[:, None, None, None], made.covariance_m2, made.weights)


class FailsOnSome:
    """Constant velocity in two modes that answers NaN for every agent whose last x is beyond 100 m."""

    family = "fails"
    window = ConstantVelocity().window

    def forecast(self, history_m: np.ndarray) -> Forecast:
        forecast = ConstantVelocity().forecast(history_m)
        mean_m = np.repeat(forecast.mean_m, 2, axis=1)
        mean_m[history_m[:, -1, 0] > 100.0] = np.nan
        return Forecast(mean_m, np.repeat(forecast.covariance_m2, 2, axis=1), np.tile([0.75, 0.25], (len(history_m), 1)))
