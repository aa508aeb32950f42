"""Fit the Gaussian MLP with autograd's reverse mode: Adam on a likelihood and a displacement, seconds on one core.

Squared errors lose to constant velocity on pedestrians; what wins is the Gaussian likelihood together with the average
displacement, inputs with a little noise, and every window also seen in the mirror.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import value_and_grad

from trajops.errors import InvalidInput
from trajops.forecasters.calibration import calibrated
from trajops.forecasters.frames import agent_frame, feature_count, to_agent_frame
from trajops.forecasters.gaussian_mlp import GaussianMLP
from trajops.trajectories import FloatArray, WindowSpec
from trajops.windows import Windows

Parameters = list[FloatArray]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the network is trained.

    Attributes:
        hidden: width of both hidden layers.
        epochs: passes over the windows.
        batch: windows per gradient step.
        rate: Adam's largest step size; it falls to zero along a half cosine.
        jitter_m: mean standard deviation of the noise on each observed coordinate, metres.
        displacement_weight: nats that one typical displacement counts beside the likelihood.
        averaging: decay per step of the averaged parameters, which are the ones that are kept.
        seed: of the initial weights, the order and the noise.
    """

    hidden: int = 80
    epochs: int = 30
    batch: int = 256
    rate: float = 6e-3
    jitter_m: float = 0.02
    displacement_weight: float = 1.0
    averaging: float = 0.995
    seed: int = 0


def fit(train: Windows, calibration: Windows, *, recipe: Recipe | None = None, level: float = 0.9) -> GaussianMLP:
    """Train on `train` and calibrate the covariances on `calibration`.

    Args:
        train: at least one batch of windows.
        calibration: windows of other agents.
        recipe: how to train.
        level: nominal probability of the calibrated ellipse.

    Raises:
        InvalidInput: if there are fewer windows than one batch, or too few calibration windows for that level.
    """
    recipe = recipe or Recipe()
    if len(train) < recipe.batch:
        raise InvalidInput(
            f"the network needs at least {recipe.batch} windows to train on, not {len(train)}; lower the batch or record more"
        )
    rng = np.random.default_rng(recipe.seed)
    typical_m = max(float(np.linalg.norm(train.truth_m - train.history_m[:, -1:], axis=2).mean()), 1e-3)
    parameters = _initial(rng, recipe.hidden, train.window, typical_m)
    gradient = value_and_grad(_loss)
    averaged = [array.copy() for array in parameters]
    first = [np.zeros_like(array) for array in parameters]
    second = [np.zeros_like(array) for array in parameters]
    total = recipe.epochs * (len(train) // recipe.batch)
    for step, (features, scale_m, truth_m) in enumerate(_batches(rng, train, recipe), 1):
        _, slopes = gradient(parameters, features, scale_m, truth_m, recipe.displacement_weight / typical_m)
        rate = recipe.rate * min(1.0, step / 100) * 0.5 * (1 + math.cos(math.pi * step / total))
        decay = min(recipe.averaging, step / (step + 10))
        norm = math.sqrt(sum(float(np.vdot(slope, slope)) for slope in slopes))
        clip = min(1.0, 5.0 / (norm + 1e-12))
        for index, slope in enumerate(slopes):
            first[index] += 0.1 * (clip * slope - first[index])
            second[index] += 0.005 * ((clip * slope) ** 2 - second[index])
            move = first[index] / (1 - 0.9**step) / (np.sqrt(second[index] / (1 - 0.995**step)) + 1e-8)
            parameters[index] -= (rate * move).astype(np.float32)
            averaged[index] += (1 - decay) * (parameters[index] - averaged[index])
    *layers, log_floor = averaged
    network = GaussianMLP(layers[::2], layers[1::2], np.exp(log_floor.astype(np.float64)), train.window)
    return calibrated(network, calibration.history_m, calibration.truth_m, level)


def _initial(rng: np.random.Generator, hidden: int, window: WindowSpec, typical_m: float) -> Parameters:
    """Weights, biases and log floors of a network that starts as straight ahead at the mean speed, with a growing spread."""
    ahead = np.arange(1, window.t_pred + 1)
    sizes = (feature_count(window.t_obs), hidden, hidden, 7 * window.t_pred)
    parameters: Parameters = []
    for inputs, outputs in pairwise(sizes):
        gain = 0.1 if outputs == sizes[-1] else 1.0
        parameters.append((rng.normal(size=(inputs, outputs)) * gain * math.sqrt(2 / inputs)).astype(np.float32))
        parameters.append(np.zeros(outputs, dtype=np.float32))
    start = np.zeros((3 * window.t_pred, 2))
    start[: window.t_pred, 0] = ahead
    start[window.t_pred :] = np.repeat(0.3 * ahead, 2)[:, None] * np.tile(np.eye(2), (window.t_pred, 1))
    parameters[-1] = np.concatenate((start.ravel(), 0.03 * typical_m * ahead / window.t_pred)).astype(np.float32)
    parameters.append(np.full(window.t_pred, math.log(1e-3), dtype=np.float32))
    return parameters


def _batches(rng: np.random.Generator, train: Windows, recipe: Recipe) -> Iterator[tuple[FloatArray, FloatArray, FloatArray]]:
    """Yield features (B, F), scales (B,) and truths in the agents' frames (B, T, 2), float32, for every gradient step."""
    history_m = train.history_m - train.history_m[:, -1:]
    truth_m = train.truth_m - train.history_m[:, -1:]
    for _ in range(recipe.epochs):
        order = rng.permutation(len(train))
        for start in range(0, len(train) - recipe.batch + 1, recipe.batch):
            rows = order[start : start + recipe.batch]
            mirror = np.stack((np.ones(recipe.batch), rng.choice((-1.0, 1.0), size=recipe.batch)), axis=1)[:, None]
            # From none to twice the named noise, so that agents standing perfectly still are seen as well.
            jitter_m = rng.uniform(0, 2 * recipe.jitter_m, size=(recipe.batch, 1, 1))
            noisy_m = history_m[rows] * mirror + jitter_m * rng.normal(size=(recipe.batch, train.window.t_obs, 2))
            features, rotation, scale_m = agent_frame(noisy_m)
            turned_m = to_agent_frame(truth_m[rows] * mirror, noisy_m[:, -1], rotation)
            yield features, scale_m.astype(np.float32), turned_m.astype(np.float32)


def _loss(parameters: Parameters, features: FloatArray, scale_m: FloatArray, truth_m: FloatArray, displacement_weight: float) -> Any:
    """Gaussian negative log likelihood per step plus the weighted average displacement; see GaussianMLP for the form."""
    *layers, log_floor = parameters
    values = features
    for index in range(0, len(layers) - 2, 2):
        values = anp.maximum(anp.dot(values, layers[index]) + layers[index + 1], 0.0)
    values = anp.dot(values, layers[-2]) + layers[-1]
    t_pred = truth_m.shape[1]
    floor = values[:, 6 * t_pred :] ** 2 + anp.exp(log_floor)
    moved = values[:, : 6 * t_pred] * scale_m[:, None]
    error = truth_m - anp.reshape(moved[:, : 2 * t_pred], truth_m.shape)
    vectors = anp.reshape(moved[:, 2 * t_pred :], (len(scale_m), t_pred, 4))
    x0, y0, x1, y1 = vectors[:, :, 0], vectors[:, :, 1], vectors[:, :, 2], vectors[:, :, 3]
    xx, yy, xy = x0 * x0 + x1 * x1 + floor, y0 * y0 + y1 * y1 + floor, x0 * y0 + x1 * y1
    dx, dy = error[:, :, 0], error[:, :, 1]
    determinant = xx * yy - xy * xy
    squared = dx * dx + dy * dy
    mahalanobis = (yy * dx * dx - 2.0 * xy * dx * dy + xx * dy * dy) / determinant
    likelihood = 0.5 * anp.mean(mahalanobis + anp.log(determinant))
    return likelihood + displacement_weight * anp.mean(anp.sqrt(squared + 1e-6))
