"""Gaussian MLP: a small network in the agent's own frame, with a full covariance at every step.

The network sees the agent's steps, rotated to its heading and divided by its mean step length, and answers for each
predicted step a mean μ and two vectors q₀, q₁ in the same units, and a length r in metres. With s the mean step length
and R the rotation::

    mean       = last position + s R μ
    covariance = s² R (q₀ q₀ᵀ + q₁ q₁ᵀ) Rᵀ + (r² + floor_t) I

which is positive definite whatever the network says, needs no exponential, and turns with the agent. An agent that
stands (s = 0) is predicted to stay; r says how likely it is to start walking, and in no direction more than another.

One agent takes a path of its own through the same arithmetic: there, the cost is the number of numpy calls.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np

from trajops.errors import ShapeError
from trajops.forecasters.frames import (
    SCALE_FLOOR_M,
    SPEED_FLOOR_M,
    agent_frame,
    checked_history,
    feature_count,
    frozen,
    heading_weights,
)
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Forecast, WindowSpec, checked

# Rows per matrix product. Larger ones wake BLAS's second thread: no faster on an idle machine, and on two busy cores the
# median of 256 agents was 11 ms instead of 0.6 ms, because the threads wait for each other.
_BLOCK = 32


class GaussianMLP:
    """A network of rectified layers whose output is a mean and a covariance for each step.

    Args:
        weights: matrices (inputs, outputs), first layer first; inputs as in `frames.feature_count`, outputs 7 t_pred:
            t_pred means, then q₀ and q₁ of each step, then t_pred lengths r.
        biases: one vector for each matrix.
        floor_m2: (t_pred,) positive variances that every agent has, square metres.
        window: what goes in and comes out.

    Raises:
        ShapeError: if the layers do not fit each other or the window.
    """

    family: ClassVar[str] = "gaussian_mlp"

    def __init__(
        self,
        weights: Sequence[FloatArray],
        biases: Sequence[FloatArray],
        floor_m2: FloatArray,
        window: WindowSpec = DEFAULT_WINDOW,
    ) -> None:
        self.window = window
        if not weights or len(weights) != len(biases):
            raise ShapeError(f"a network needs one bias for each weight matrix, not {len(biases)} for {len(weights)}")
        sizes = [feature_count(window.t_obs), *(np.shape(matrix)[-1] for matrix in weights[:-1]), 7 * window.t_pred]
        self.weights = tuple(
            frozen(checked(f"weights[{index}]", matrix, sizes[index], sizes[index + 1]), np.float32) for index, matrix in enumerate(weights)
        )
        self.biases = tuple(frozen(checked(f"biases[{index}]", bias, sizes[index + 1]), np.float32) for index, bias in enumerate(biases))
        self.floor_m2 = frozen(checked("floor_m2", floor_m2, window.t_pred))
        if (self.floor_m2 <= 0).any():
            raise ShapeError("floor_m2 must be positive at every step")
        last = len(sizes) - 2
        self._folded = tuple(_fold(self.weights[index], self.biases[index], index == last) for index in range(len(self.weights)))
        self._heading = frozen(heading_weights(window.t_obs))
        self._certain = frozen(np.ones((1, 1)))

    @property
    def parameter_count(self) -> int:
        """Number of fitted numbers."""
        return sum(array.size for array in (*self.weights, *self.biases, self.floor_m2))

    def forecast(self, history_m: FloatArray) -> Forecast:
        """Predict (A, t_obs, 2) metres → Forecast of (A, 1, t_pred, 2).

        Raises:
            ShapeError: if the history does not have that shape.
        """
        history = checked_history(history_m, self.window)
        agents, t_pred = len(history), self.window.t_pred
        if agents == 1:
            return self._forecast_one(history[0])
        features, rotation, scale_m = agent_frame(history)
        back = (scale_m[:, None, None] * rotation).swapaxes(1, 2)
        inputs = np.concatenate((features, np.ones((agents, 1), np.float32)), axis=1)
        values = np.empty((agents, 7 * t_pred), dtype=np.float32)
        for start in range(0, agents, _BLOCK):
            values[start : start + _BLOCK] = self._network(inputs[start : start + _BLOCK])
        moved = values[:, : 6 * t_pred].reshape(agents, 3 * t_pred, 2) @ back
        round_m2 = values[:, 6 * t_pred :] ** 2 + self.floor_m2
        mean_m = moved[:, :t_pred] + history[:, -1:]
        x0, y0, x1, y1 = np.moveaxis(moved[:, t_pred:].reshape(agents, t_pred, 4), 2, 0)
        covariance = np.empty((agents, 1, t_pred, 2, 2))
        covariance[:, 0, :, 0, 0] = x0 * x0 + x1 * x1 + round_m2
        covariance[:, 0, :, 1, 1] = y0 * y0 + y1 * y1 + round_m2
        covariance[:, 0, :, 0, 1] = covariance[:, 0, :, 1, 0] = x0 * y0 + x1 * y1
        return Forecast(mean_m[:, None], covariance, np.ones((agents, 1)))

    def _forecast_one(self, history: FloatArray) -> Forecast:
        """Predict (t_obs, 2) with as few numpy calls as will do."""
        steps = history[1:] - history[:-1]
        pairs = steps.tolist()
        scale_m = sum([math.hypot(x, y) for x, y in pairs]) / len(pairs)
        x, y = np.dot(self._heading, steps).tolist()
        length = math.hypot(x, y)
        x, y = (x / length, y / length) if length > 0 else (1.0, 0.0)
        shrink = 1.0 / (scale_m + SCALE_FLOOR_M)
        size = steps.size
        features = np.empty(size + 2, dtype=np.float32)
        features[:size] = np.dot(steps, np.array(((x * shrink, -y * shrink), (y * shrink, x * shrink)))).ravel()
        features[size] = math.log(scale_m + SPEED_FLOOR_M)
        features[size + 1] = 1.0
        t_pred = self.window.t_pred
        x, y = x * scale_m, y * scale_m
        values = self._network(features)
        moved = np.dot(values[: 6 * t_pred].reshape(-1, 2), np.array(((x, y), (-y, x))))
        length_m = values[6 * t_pred :]
        vectors = moved[t_pred:].reshape(t_pred, 2, 2)
        covariance = np.matmul(vectors.transpose(0, 2, 1), vectors)
        covariance.reshape(t_pred, 4)[:, ::3] += (length_m * length_m + self.floor_m2)[:, None]
        return Forecast((moved[:t_pred] + history[-1])[None, None], covariance[None, None], self._certain)

    def _network(self, values: FloatArray) -> FloatArray:
        """Run the layers on features that end in a one."""
        for matrix in self._folded[:-1]:
            values = np.dot(values, matrix)
            np.maximum(values, 0.0, out=values)
        return np.asarray(np.dot(values, self._folded[-1]))

    def rescaled(self, factors: FloatArray) -> Self:
        """Return the same model with the covariance of step t multiplied by factors[t], shape (t_pred,)."""
        factors = checked("factors", factors, self.window.t_pred)
        roots = np.sqrt(factors)
        stretch = np.concatenate((np.ones(2 * self.window.t_pred), np.repeat(roots, 4), roots))
        weights = (*self.weights[:-1], self.weights[-1] * stretch)
        return type(self)(weights, (*self.biases[:-1], self.biases[-1] * stretch), self.floor_m2 * factors, self.window)

    def arrays(self) -> Mapping[str, FloatArray]:
        """Everything that the artefact keeps."""
        layers = {f"weights_{index}": matrix for index, matrix in enumerate(self.weights)}
        return layers | {f"bias_{index}": bias for index, bias in enumerate(self.biases)} | {"floor_m2": self.floor_m2}

    @classmethod
    def from_arrays(cls, window: WindowSpec, arrays: Mapping[str, FloatArray]) -> Self:
        """Build the model from what `arrays` returned."""
        count = sum(name.startswith("weights_") for name in arrays)
        weights = [arrays[f"weights_{index}"] for index in range(count)]
        return cls(weights, [arrays[f"bias_{index}"] for index in range(count)], arrays["floor_m2"], window)


def _fold(matrix: FloatArray, bias: FloatArray, is_last: bool) -> FloatArray:
    """Take the bias into the matrix: the inputs end in a one, and so do the outputs of every layer but the last."""
    folded = np.vstack((matrix, bias))
    if not is_last:
        one = np.zeros((len(folded), 1), dtype=np.float32)
        one[-1] = 1.0
        folded = np.hstack((folded, one))
    return frozen(folded, np.float32)
