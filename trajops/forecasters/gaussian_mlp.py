"""Gaussian MLP: a small network in the agent's own frame, with a full covariance at every step.

The network sees the agent's steps, rotated to its heading and divided by its mean step length, and answers for each
predicted step a mean μ and two vectors q₀, q₁ in the same units, and a length r in metres. With s the mean step length
and R the rotation::

    mean       = last position + s R μ
    covariance = s² R (q₀ q₀ᵀ + q₁ q₁ᵀ) Rᵀ + (r² + floor_t) I

which is positive definite whatever the network says, needs no exponential, and turns with the agent. An agent that
stands (s = 0) is predicted to stay; r says how likely it is to start walking, and in no direction more than another.

Points are complex numbers inside: turning and stretching is then one product, and the cost of few agents is the number of
numpy calls.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trajops.errors import ShapeError
from trajops.forecasters.frames import SCALE_FLOOR_M, SPEED_FLOOR_M, checked_history, feature_count, frozen, heading_weights
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Forecast, WindowSpec, checked

ComplexArray = NDArray[np.complexfloating[Any, Any]]

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
        self._heading = frozen(heading_weights(window.t_obs), np.complex128)
        self._mean = frozen(np.full(window.t_obs - 1, 1 / (window.t_obs - 1)))

    @property
    def parameter_count(self) -> int:
        """Number of fitted numbers."""
        return sum(array.size for array in (*self.weights, *self.biases, self.floor_m2))

    def forecast(self, history_m: FloatArray) -> Forecast:
        """Predict (A, t_obs, 2) metres → Forecast of (A, 1, t_pred, 2).

        Raises:
            ShapeError: if the history does not have that shape.
        """
        history = np.ascontiguousarray(checked_history(history_m, self.window))
        agents, t_pred = len(history), self.window.t_pred
        points = history.view(np.complex128)[:, :, 0]
        steps = points[:, 1:] - points[:, :-1]
        scale_m = np.dot(np.abs(steps), self._mean)
        unit = _unit(np.dot(steps, self._heading))
        size = 2 * (self.window.t_obs - 1)
        features = np.ones((agents, size + 2), dtype=np.float32)
        features[:, :size] = (steps * (unit.conj() / (scale_m + SCALE_FLOOR_M))[:, None]).view(np.float64)
        features[:, size] = np.log(scale_m + SPEED_FLOOR_M)
        values = self._network(features)
        moved = values[:, : 6 * t_pred].view(np.complex64) * (unit * scale_m)[:, None]
        mean_m = moved[:, :t_pred] + points[:, -1:]
        q0, q1 = moved[:, t_pred::2], moved[:, t_pred + 1 :: 2]
        length_m = values[:, 6 * t_pred :]
        round_m2 = length_m * length_m + self.floor_m2
        covariance = np.empty((agents, 1, t_pred, 2, 2))
        covariance[:, 0, :, 0, 0] = q0.real * q0.real + q1.real * q1.real + round_m2
        covariance[:, 0, :, 1, 1] = q0.imag * q0.imag + q1.imag * q1.imag + round_m2
        covariance[:, 0, :, 0, 1] = covariance[:, 0, :, 1, 0] = q0.real * q0.imag + q1.real * q1.imag
        return Forecast(mean_m.view(np.float64).reshape(agents, 1, t_pred, 2), covariance, np.ones((agents, 1)))

    def _network(self, features: FloatArray) -> FloatArray:
        """(A, 7 t_pred) answers of the layers to features that end in a one."""
        if len(features) <= _BLOCK:
            return self._layers(features)
        return np.concatenate([self._layers(features[start : start + _BLOCK]) for start in range(0, len(features), _BLOCK)])

    def _layers(self, values: FloatArray) -> FloatArray:
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


def _unit(heading: ComplexArray) -> ComplexArray:
    """Headings at length one, east for an agent without one."""
    length = np.abs(heading)
    if length.all():
        return np.asarray(heading / length)
    moves = length > 0
    return np.where(moves, heading / np.where(moves, length, 1.0), 1.0)


def _fold(matrix: FloatArray, bias: FloatArray, is_last: bool) -> FloatArray:
    """Take the bias into the matrix: the inputs end in a one, and so do the outputs of every layer but the last."""
    folded = np.vstack((matrix, bias))
    if not is_last:
        one = np.zeros((len(folded), 1), dtype=np.float32)
        one[-1] = 1.0
        folded = np.hstack((folded, one))
    return frozen(folded, np.float32)
