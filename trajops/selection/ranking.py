"""Candidates of one training run, from the best to those that are excluded.

Hard limits come first. Each candidate that keeps them pays points for each figure in which it is behind the best such candidate:
ADE in percent, NLL in nats (it is a logarithm already, so that a difference is a ratio of densities), time and size in doublings.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trajops.contracts.models import family_words
from trajops.contracts.validations import MeasuredOut, RankedOut
from trajops.selection.results import measured, words
from trajops.selection.rules import PointsRule, RankingRule

PARTS = ("ade", "nll", "latency", "size")
SAID = {"ade": "ADE", "nll": "NLL", "latency": "time", "size": "size"}


@dataclass(frozen=True, slots=True)
class CandidateFigures:
    """What a candidate is ranked by.

    Attributes:
        family: of the model.
        ade_m: on the validation windows, metres.
        baseline_ade_m: of constant velocity on the same windows, metres.
        nll: mean over the windows, nats.
        coverage_90: share of the truth inside the nominal 90 % ellipse.
        latency_ms: median time of one forecast of one agent.
        latency_p99_ms: its 99th percentile.
        size_mb: of the files that are loaded to answer.
    """

    family: str
    ade_m: float
    baseline_ade_m: float
    nll: float
    coverage_90: float
    latency_ms: float
    latency_p99_ms: float
    size_mb: float

    @property
    def ade_to_baseline(self) -> float:
        """ADE over that of constant velocity."""
        return self.ade_m / self.baseline_ade_m if self.baseline_ade_m > 0 else (1.0 if self.ade_m == 0 else math.inf)

    @property
    def shown(self) -> Mapping[str, float]:
        """The figures by name, those that are finite."""
        names = ("ade_m", "nll", "coverage_90", "latency_ms", "latency_p99_ms", "size_mb", "ade_to_baseline")
        return {name: float(getattr(self, name)) for name in names if math.isfinite(getattr(self, name))}


def rank(candidates: Sequence[CandidateFigures], rules: RankingRule) -> list[RankedOut]:
    """Rank candidates that were measured on the same windows and the same machine.

    Args:
        candidates: of one training run.
        rules: hard limits and points.

    Returns:
        One row a candidate: the ranked ones, fewest points first, then the excluded ones in the order given. Of equal points the
        smaller ADE comes first.
    """
    beyond = [[figure for figure in _limits(one, rules) if not figure.is_within] for one in candidates]
    kept = [one for one, breaches in zip(candidates, beyond, strict=True) if not breaches]
    parts = {id(one): _parts(one, kept, rules.points) for one in kept}
    order = sorted(kept, key=lambda one: (sum(parts[id(one)].values()), one.ade_m))
    ranked = [
        RankedOut(
            rank=place,
            family=one.family,
            points=sum(parts[id(one)].values()),
            parts=parts[id(one)],
            figures=dict(one.shown),
            sentence=_why(place, order, parts[id(one)]),
        )
        for place, one in enumerate(order, 1)
    ]
    return ranked + [
        RankedOut(
            rank=None,
            family=one.family,
            points=None,
            parts={},
            figures=dict(one.shown),
            sentence=f"Excluded: {'; '.join(map(words, breaches))}.",
        )
        for one, breaches in zip(candidates, beyond, strict=True)
        if breaches
    ]


def _limits(one: CandidateFigures, rules: RankingRule) -> list[MeasuredOut]:
    limits = rules.limits
    return [
        measured("the 99th percentile of its time", one.latency_p99_ms, "ms", at_most=limits.latency_p99_ms),
        measured("its size", one.size_mb, "MB", at_most=limits.size_mb),
        measured("its coverage at 90 %", one.coverage_90, at_least=limits.coverage_90.low, at_most=limits.coverage_90.high),
        measured("its ADE over that of constant velocity", one.ade_to_baseline, at_most=limits.ade_to_baseline),
        measured("its NLL", one.nll, "nats"),
    ]


def _parts(one: CandidateFigures, kept: Sequence[CandidateFigures], points: PointsRule) -> dict[str, float]:
    """Points by figure."""

    def doublings(value: float, best: float, floor: float) -> float:
        return math.log2(max(value, floor) / max(best, floor))

    best_ade_m = min(each.ade_m for each in kept)
    return {
        "ade": points.ade_percent * 100 * (one.ade_m / best_ade_m - 1) if best_ade_m > 0 else 0.0,
        "nll": points.nll_nat * (one.nll - min(each.nll for each in kept)),
        "latency": points.latency_doubling * doublings(one.latency_ms, min(each.latency_ms for each in kept), points.latency_floor_ms),
        "size": points.size_doubling * doublings(one.size_mb, min(each.size_mb for each in kept), points.size_floor_mb),
    }


def _why(place: int, order: Sequence[CandidateFigures], parts: Mapping[str, float]) -> str:
    total = sum(parts.values())
    paid = ", ".join(f"{value:.1f} for its {SAID[name]}" for name, value in parts.items() if value >= 0.05)
    if len(order) == 1:
        return "The only candidate within the hard limits."
    if place == 1:
        return "Behind in no figure that counts." if not paid else f"Fewest points, {total:.1f}: {paid}."
    return f"{total:.1f} points ({paid or 'none worth a tenth'}), behind {family_words(order[place - 2].family)}."
