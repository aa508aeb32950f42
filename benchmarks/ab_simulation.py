"""Experiments that nobody has to wait for: displacement errors of agents in two arms, looked at many times while they come in.

Errors are lognormal with an effect of the agent and an AR(1) process inside its track, 11 predictions each; the covariate is an error of
constant velocity on the same track. Its square correlation with the agents' errors is 0.75, their coefficient of variation 0.7.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from trajops.experiments.sums import ArmSums, PairSums
from trajops.trajectories import FloatArray

AGENTS, LOOKS, PREDICTIONS = 2_000, 100, 11
# Units in each arm before anything is decided; harm is acted on sooner, since the champion is always there to go back to.
MIN_UNITS, MIN_HARMED_UNITS = 50, 25
# What agents differ by, what their errors do inside a track, and what constant velocity does not know of either.
_AGENT, _TRACK, _OWN = 0.55, 0.5, 0.24
_PHI, _SHARED = 0.7, 0.8
Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Experiments:
    """(R, U) agents of R experiments in the order of their coming: error, covariate, and whether the treatment answered."""

    error_m: FloatArray
    covariate_m: FloatArray
    is_treated: np.ndarray

    def with_effect(self, change: float) -> "Experiments":
        """The same, if the treatment's errors were this much larger, relatively."""
        return Experiments(np.where(self.is_treated, self.error_m * (1 + change), self.error_m), self.covariate_m, self.is_treated)

    def arms(self, looks: Sequence[int]) -> tuple[ArmSums, ArmSums]:
        """(R, L) sums of both arms after the first so many agents."""
        return _sums(self, ~self.is_treated, looks), _sums(self, self.is_treated, looks)


def draw(rng: Rng, experiments: int, agents: int = AGENTS) -> Experiments:
    """Experiments without any difference between the arms."""
    shape = (experiments, agents)
    agent = rng.normal(0, _AGENT, shape)
    track, velocity = rng.normal(0, 1, shape), rng.normal(0, 1, shape)
    error_m, covariate_m = np.zeros(shape), np.zeros(shape)
    for _ in range(PREDICTIONS):
        error_m += np.exp(agent + _TRACK * track)
        covariate_m += np.exp(agent + _TRACK * (_SHARED * track + np.sqrt(1 - _SHARED**2) * velocity))
        track, velocity = (_PHI * one + np.sqrt(1 - _PHI**2) * rng.normal(0, 1, shape) for one in (track, velocity))
    covariate_m *= np.exp(rng.normal(0, _OWN, shape))
    return Experiments(error_m / PREDICTIONS, covariate_m / PREDICTIONS, rng.random(shape) < 0.5)


def batches(seed: int, experiments: int, agents: int = AGENTS, *, size: int = 100) -> Iterator[Experiments]:
    """So many experiments, some at a time."""
    rng = np.random.default_rng(seed)
    for first in range(0, experiments, size):
        yield draw(rng, min(size, experiments - first), agents)


def evenly(agents: int = AGENTS, looks: int = LOOKS) -> list[int]:
    """After how many agents is looked."""
    return np.linspace(agents / looks, agents, looks).astype(int).tolist()


def is_enough(control: ArmSums, treatment: ArmSums, units: int = MIN_UNITS) -> np.ndarray:
    """(R, L) whether there are units enough in both arms for anything to be decided."""
    enough: np.ndarray = np.minimum(control.units, treatment.units) >= units
    return enough


def first_look(is_reached: np.ndarray, looks: Sequence[int]) -> FloatArray:
    """(R,) agents at the first look at which something was reached; infinite where it never was."""
    return np.where(is_reached.any(axis=1), np.asarray(looks, float)[is_reached.argmax(axis=1)], np.inf)


def welch(control: ArmSums, treatment: ArmSums) -> FloatArray:
    """(R, L) p-values of Welch's test, which holds for one look only."""
    means, variances = [], []
    for arm in (control, treatment):
        units = np.asarray(arm.units)
        means.append(arm.y / units)
        variances.append((arm.yy - arm.y**2 / units) / (units - 1) / units)
    score = (means[1] - means[0]) / np.sqrt(variances[0] + variances[1])
    freedom = (variances[0] + variances[1]) ** 2 / sum(
        one**2 / (np.asarray(arm.units) - 1) for one, arm in zip(variances, (control, treatment), strict=True)
    )
    p_values: FloatArray = 2 * student.sf(np.abs(score), freedom)
    return p_values


def paired(experiments: Experiments, rng: Rng, change: float, looks: Sequence[int], noise: float = 0.25) -> PairSums:
    """(R, L) sums of a shadow: both models on each agent; the treatment's error is the control's, changed, but for what is its own."""
    own = np.exp(rng.normal(-(noise**2) / 2, noise, experiments.error_m.shape))
    a, b = experiments.error_m, experiments.error_m * (1 + change) * own
    return PairSums(*(_cumulated(one, looks) for one in (np.ones_like(a), a, b, a * a, b * b, a * b)))


def _sums(of: Experiments, mine: np.ndarray, looks: Sequence[int]) -> ArmSums:
    y, x = np.where(mine, of.error_m, 0.0), np.where(mine, of.covariate_m, 0.0)
    return ArmSums(*(_cumulated(one, looks) for one in (mine.astype(float), y, y * y, x, x * x, x * y)))


def _cumulated(values: FloatArray, looks: Sequence[int]) -> FloatArray:
    summed: FloatArray = np.cumsum(values, axis=1)[:, np.asarray(looks) - 1]
    return summed
