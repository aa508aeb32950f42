"""Track, Scene, Forecast: the arrays of the domain, with shapes checked at the border.

Array order is (A, K, T, 2): agents, modes, time steps, x and y. Positions are metres in the scene's frame;
times are seconds on the scene's clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajops.errors import ShapeError

FloatArray = NDArray[np.floating[Any]]
BoolArray = NDArray[np.bool_]


def checked(name: str, array: object, *shape: int | None, dtype: type = np.float64) -> FloatArray:
    """Return `array` as floats of exactly `shape`.

    Args:
        name: what the array is, for the message.
        array: anything numpy can read.
        shape: the expected shape; None leaves an axis free.
        dtype: numpy float type of the result.

    Raises:
        ShapeError: if the shape differs, or a number is not finite.
    """
    try:
        result: FloatArray = np.asarray(array, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"{name} must be numbers in a regular array: {error}") from error
    if result.ndim != len(shape) or any(want is not None and want != got for want, got in zip(shape, result.shape, strict=True)):
        wanted = ", ".join("any" if axis is None else str(axis) for axis in shape)
        raise ShapeError(f"{name} must have shape ({wanted}), not {result.shape}")
    if not np.isfinite(result).all():
        raise ShapeError(f"{name} holds a number that is not finite; leave the observation out instead")
    return result


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """How much is seen and how much is predicted: `t_obs` positions in, `t_pred` out, `dt_s` seconds apart."""

    t_obs: int = 8
    t_pred: int = 12
    dt_s: float = 0.4

    def __post_init__(self) -> None:
        if self.t_obs < 2 or self.t_pred < 1 or not self.dt_s > 0:
            raise ShapeError(f"a window needs t_obs ≥ 2, t_pred ≥ 1 and dt_s > 0, not {self}")

    @property
    def steps(self) -> int:
        """Length of a whole window: observed and predicted steps."""
        return self.t_obs + self.t_pred

    @property
    def horizon_s(self) -> float:
        """How far a forecast reaches beyond the last observation, seconds."""
        return self.t_pred * self.dt_s


DEFAULT_WINDOW = WindowSpec()


@dataclass(frozen=True, slots=True)
class Track:
    """The states of one agent in time order.

    Attributes:
        agent_id: stable name of the agent within its scene.
        times_s: (T,) strictly increasing seconds.
        positions_m: (T, 2) metres.

    Raises:
        ShapeError: on wrong shapes, numbers that are not finite, or times that do not increase.
    """

    agent_id: str
    times_s: FloatArray
    positions_m: FloatArray

    def __post_init__(self) -> None:
        times_s = checked("times_s", self.times_s, None)
        positions_m = checked("positions_m", self.positions_m, len(times_s), 2)
        if (np.diff(times_s) <= 0).any():
            raise ShapeError(f"times_s of track {self.agent_id} must strictly increase; sort it and drop duplicates")
        object.__setattr__(self, "times_s", times_s)
        object.__setattr__(self, "positions_m", positions_m)

    def __len__(self) -> int:
        return len(self.times_s)


@dataclass(frozen=True, slots=True)
class Scene:
    """Agents that share one clock and one frame."""

    scene_id: str
    tracks: tuple[Track, ...]

    def by_agent(self) -> Mapping[str, Track]:
        """Tracks by agent id."""
        return {track.agent_id: track for track in self.tracks}


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """K possible futures of each agent, with probability and per-step uncertainty.

    Attributes:
        mean_m: (A, K, T, 2) positions, metres.
        covariance_m2: (A, K, T, 2, 2) symmetric positive definite, square metres.
        weights: (A, K) probabilities that sum to one over K; the first mode is the likeliest.
    """

    mean_m: FloatArray
    covariance_m2: FloatArray
    weights: FloatArray

    def __post_init__(self) -> None:
        if self.mean_m.ndim != 4 or self.mean_m.shape[-1] != 2:
            raise ShapeError(f"mean_m must have shape (A, K, T, 2), not {self.mean_m.shape}")
        agents, modes, steps, _ = self.mean_m.shape
        if self.covariance_m2.shape != (agents, modes, steps, 2, 2):
            raise ShapeError(f"covariance_m2 must have shape {(agents, modes, steps, 2, 2)}, not {self.covariance_m2.shape}")
        if self.weights.shape != (agents, modes):
            raise ShapeError(f"weights must have shape {(agents, modes)}, not {self.weights.shape}")

    @property
    def best_m(self) -> FloatArray:
        """(A, T, 2) mean of each agent's likeliest mode, metres."""
        return self.mean_m[:, 0]
