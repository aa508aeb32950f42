"""A domain classifier: can anything tell the current agents from those of the reference? What no column shows alone may show in two.

Each agent is one row: its mean normal score in every column, within its scene, then squares and products of those. Fisher's linear
discriminant with a ridge (Friedman 1989, Regularized discriminant analysis) is fitted on four fifths of the current agents and tried on
the last, five times over; its score is the area under the ROC curve against agents of the reference. With products it is a quadratic
classifier, which is what a change of a correlation takes, and since only means of the current agents enter, it costs milliseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from scipy.special import ndtri

from trajops.drift.blocks import Blocks
from trajops.drift.profile import Profile, Stretch
from trajops.drift.rules import CalibrationRule, DomainRule
from trajops.drift.thresholds import Gumbel, clean_windows
from trajops.trajectories import BoolArray, FloatArray

FOLDS = 5
CARRIERS = 5
LEAST_AGENTS = 100
LIMIT = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The reference as the classifier sees it at one time of the day.

    Attributes:
        mean: (F,) of its features.
        precision: (F, F) inverse of their covariance, with the ridge.
        sample: (M, F) features of some of its agents.
    """

    mean: FloatArray
    precision: FloatArray
    sample: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """What is kept of the agents of one window.

    Attributes:
        count: their number.
        total: (F,) sum of their features.
        products: (F, F) sum of products.
        features: (M, F) of some of them, in random order.
    """

    count: int
    total: FloatArray
    products: FloatArray
    features: FloatArray


@dataclass(slots=True, eq=False)
class Domain:
    """Tells traffic from one reference.

    Attributes:
        profile: windows of the reference.
        columns: C names.
        used: (C,) columns that it looks at.
        rule: size of the sample, ridge.
        scores: (S, C, K) normal score of each bin.
    """

    profile: Profile
    columns: Sequence[str]
    used: BoolArray
    rule: DomainRule
    scores: FloatArray
    _sides: dict[int, Side] = field(default_factory=dict)
    _thresholds: dict[int, float] = field(default_factory=dict)
    _moments: dict[float, Moments] = field(default_factory=dict)

    @classmethod
    def of(cls, profile: Profile, columns: Sequence[str], is_truth: BoolArray, rule: DomainRule) -> "Domain":
        """Prepare the bins' normal scores. Columns that wait for truth and those that are constant are left out."""
        total = sum((stretch.totals for stretch in profile.stretches), np.zeros(profile.slopes.shape))
        count = total.sum(axis=-1, keepdims=True)
        share = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
        scores = ndtri(np.clip(np.cumsum(share, axis=-1) - share / 2, 0.005, 0.995))
        is_varied = ((share.max(axis=-1) < 0.95) & (count[..., 0] > 0)).any(axis=0)
        return cls(profile, columns, is_varied & ~is_truth, rule, scores)

    def names(self) -> list[str]:
        """Names of the features: columns, their squares, and pairs."""
        used = [name for name, is_used in zip(self.columns, self.used, strict=True) if is_used]
        return [*used, *(f"{name}²" for name in used), *(f"{one} × {other}" for one, other in combinations(used, 2))]

    def features(self, blocks: Blocks) -> FloatArray:
        """(B, F) of the agents that have a value in every column: those of known scenes, whom the version answers that is compared."""
        known = (blocks.scenes >= 0) & (blocks.parts[:, self.used].sum(axis=-1) > 0).all(axis=-1)
        parts, scores = blocks.parts[known][:, self.used], self.scores[:, self.used]
        weight = parts.sum(axis=-1)
        summed = np.zeros(weight.shape)
        for scene in np.unique(blocks.scenes[known]).tolist():
            here = blocks.scenes[known] == scene
            summed[here] = np.einsum("bck,ck->bc", parts[here], scores[scene])
        single = np.clip(np.divide(summed, weight, out=np.zeros_like(summed), where=weight > 0), -LIMIT, LIMIT)
        pairs = [single[:, one] * single[:, other] for one, other in combinations(range(single.shape[1]), 2)]
        return np.column_stack([single, single**2 - 1, *pairs])

    def auc(self, current: FloatArray, side: Side) -> float:
        """Area under the ROC curve of agents that the classifier was not fitted on.

        Args:
            current: (N, F) features.
            side: the reference.
        """
        fold = np.arange(len(current)) % FOLDS
        total, areas = current.sum(axis=0), []
        for number in range(FOLDS):
            held = current[fold == number]
            fitted = (total - held.sum(axis=0)) / max(1, len(current) - len(held))
            weights = side.precision @ (fitted - side.mean)
            reference = np.sort(side.sample @ weights)
            values = held @ weights
            below = np.searchsorted(reference, values, side="left") + np.searchsorted(reference, values, side="right")
            areas.append(below.sum() / 2 / len(reference))
        return float(np.sum(areas) / len(current))

    def carriers(self, current: FloatArray, side: Side) -> list[str]:
        """Features that tell both sides apart, strongest first: their share of the squared distance of the means."""
        apart = current.mean(axis=0) - side.mean
        share = apart * (side.precision @ apart)
        names = self.names()
        return [names[number] for number in np.argsort(-share)[:CARRIERS].tolist() if share[number] > 0.02 * share.sum()]

    def usual(self, at_s: float) -> Side | None:
        """The reference around this time of the day; None without enough agents."""
        phase = self.profile.phase(at_s)
        if phase not in self._sides:
            made = self._side(self.profile.near(self.profile.phase_s(at_s)))
            if made is None:
                return None
            self._sides[phase] = made
        return self._sides[phase]

    def threshold(self, agents: int, size: int, calibration: CalibrationRule, rate: float) -> float | None:
        """AUC that clean windows of so many agents reach with a probability of `rate`; None if the reference has too few windows.

        Args:
            agents: in a window.
            size: what the answer is remembered under.
            calibration: number of windows, seed.
            rate: of false alarms.
        """
        if size not in self._thresholds:
            found = []
            for taken, pooled, drawn in clean_windows(self.profile, calibration, agents, None):
                side = self._side(self.profile.without(taken))
                if side is not None:
                    for row in drawn.astype(int):
                        features = self.features(pooled.repeated(row))
                        found += [self.auc(features, side)] if len(features) else []
            if len(found) < calibration.windows // 2:
                return None
            clean = np.array(found)
            wanted = max(self.rule.min_auc, float(clean.max()), float(Gumbel.fit(clean).upper(rate)))
            # An AUC ends at 1: beyond half of the way from the largest clean one to there nothing could be told apart any more.
            self._thresholds[size] = min(wanted, (1.0 + float(clean.max())) / 2)
        return self._thresholds[size]

    def _side(self, stretches: Sequence[Stretch]) -> Side | None:
        parts = [self._moments_of(stretch) for stretch in stretches]
        count = sum(part.count for part in parts)
        if count < LEAST_AGENTS:
            return None
        mean = np.sum([part.total for part in parts], axis=0) / count
        covariance = np.sum([part.products for part in parts], axis=0) / count - np.outer(mean, mean)
        ridge = self.rule.ridge * np.diag(np.maximum(np.diag(covariance), 1e-3))
        share = min(1.0, self.rule.sample / count)
        sample = np.concatenate([part.features[: max(1, round(share * part.count))] for part in parts])
        return Side(mean, np.linalg.inv(covariance + ridge), sample)

    def _moments_of(self, stretch: Stretch) -> "Moments":
        if stretch.at_s not in self._moments:
            features = self.features(stretch.blocks)
            kept = np.random.default_rng(len(features)).permutation(len(features))[: self.rule.sample]
            moments = Moments(len(features), features.sum(axis=0), features.T @ features, features[kept])
            self._moments[stretch.at_s] = moments
        return self._moments[stretch.at_s]
