"""The error of predictions whose truth is still missing.

A covariance says by itself how large an error to expect. What is expected is put right by what was observed: in each speed band the
predictions that have their truth give the ratio of observed to expected error, and the expectation of a prediction without truth is
multiplied by it. That is direct loss estimation with the model's own uncertainty in place of a second model (Nannyml's DLE; for
classes: Guillory et al., "Predicting with confidence on unseen distributions", ICCV 2021). It follows a change of speeds or of what a
model thinks of its own certainty; it cannot see that a model errs more in a way that neither shows, which is what truth is for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from trajops.performance.intervals import Interval, interval
from trajops.performance.rules import SpeedBand
from trajops.trajectories import BoolArray, FloatArray

IntArray = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """N predictions with what their covariances expect, and their error where it is known.

    Attributes:
        received_s: (N,) server's clock, seconds.
        agents: (N,) number of the continuous track, from 0 on, of all rows that are looked at together.
        versions: (N,) model version.
        speed_mps: (N,) mean speed of the history.
        expected_ade_m: (N,) from the covariances.
        ade_m: (N,) observed over the whole horizon; NaN where truth is missing.
    """

    received_s: FloatArray
    agents: IntArray
    versions: IntArray
    speed_mps: FloatArray
    expected_ade_m: FloatArray
    ade_m: FloatArray

    def __len__(self) -> int:
        return len(self.received_s)

    def select(self, mask: BoolArray | IntArray | slice) -> Self:
        """Rows where a mask is true, of a slice, or in another order."""
        return type(self)(
            self.received_s[mask],
            self.agents[mask],
            self.versions[mask],
            self.speed_mps[mask],
            self.expected_ade_m[mask],
            self.ade_m[mask],
        )

    @property
    def is_scored(self) -> BoolArray:
        """(N,) where the error is known."""
        scored: BoolArray = np.isfinite(self.ade_m)
        return scored


def bands_of(speed_mps: FloatArray, bands: Sequence[SpeedBand]) -> IntArray:
    """(N,) number of each agent's speed band."""
    ends = np.array([band.below_mps for band in bands[:-1]], dtype=float)
    numbers: IntArray = np.searchsorted(ends, speed_mps, side="right")
    return numbers


def estimate(known: Errors, wanted: Errors, bands: Sequence[SpeedBand], min_agents: int, confidence: float = 0.95) -> Interval:
    """Mean error that predictions will turn out to have.

    The interval holds two doubts: how expectation and error relate, by agents of the predictions with truth, and by how much single
    agents depart from that, spread over the agents that are asked about.

    Args:
        known: predictions with truth, of the same version.
        wanted: predictions whose mean error is asked for; their own truth is not looked at.
        bands: speed bands.
        min_agents: a band with fewer agents is put right by all bands together.
        confidence: of the interval.

    Returns:
        Metres; NaN where too little is known, or nothing is asked.
    """
    known = known.select(known.is_scored & np.isfinite(known.expected_ade_m) & np.isfinite(known.speed_mps))
    wanted = wanted.select(np.isfinite(wanted.expected_ade_m) & np.isfinite(wanted.speed_mps))
    unknown = Interval(math.nan, math.nan, math.nan, 0)
    if not len(wanted) or _many(known.agents) < max(2, min_agents):
        return unknown
    band, asked = bands_of(known.speed_mps, bands), bands_of(wanted.speed_mps, bands)
    quantile = float(stdtrit(max(1, _many(known.agents) - 1), 0.5 + confidence / 2))
    mean_m = margin2_m2 = 0.0
    for number in np.unique(asked):
        mine, mine_wanted = known.select(band == number), wanted.select(asked == number)
        if _many(mine.agents) < min_agents:
            mine = known
        found = _ratio(mine, confidence)
        expected_m, observed_m = _added(mine.agents, mine.expected_ade_m), _added(mine.agents, mine.ade_m)
        departs = float((expected_m * (observed_m / expected_m - found.mean) ** 2).sum() / expected_m.sum())
        asked_m = _added(mine_wanted.agents, mine_wanted.expected_ade_m) / len(wanted)
        mean_m += found.mean * float(asked_m.sum())
        margin2_m2 += (float(asked_m.sum()) * (found.high - found.low) / 2) ** 2 + quantile**2 * departs * float((asked_m**2).sum())
    margin_m = math.sqrt(margin2_m2)
    return Interval(mean_m, max(0.0, mean_m - margin_m), mean_m + margin_m, _many(wanted.agents))


def _ratio(known: Errors, confidence: float) -> Interval:
    """Observed over expected error."""
    return interval(_added(known.agents, known.expected_ade_m), _added(known.agents, known.ade_m), confidence)


def _added(agents: IntArray, values: FloatArray) -> FloatArray:
    """Sum of values by agent."""
    return np.bincount(agents, values)[np.bincount(agents) > 0].astype(float)


def _many(agents: IntArray) -> int:
    """How many different ones there are."""
    return int(np.count_nonzero(np.bincount(agents)))


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a range: what could be said at its time, and what came out.

    Attributes:
        begin_s: server's clock, seconds.
        predictions: in it.
        scored: of them with truth by now.
        estimated: from the truth that was there when the part began.
        observed_m: mean error of the scored ones; NaN without any.
        last_known_m: mean error of the truth that was there: what one would say without an estimate.
    """

    begin_s: float
    predictions: int
    scored: int
    estimated: Interval
    observed_m: float
    last_known_m: float


def retrace(
    rows: Errors,
    since_s: float,
    until_s: float,
    parts: int,
    bands: Sequence[SpeedBand],
    min_agents: int,
    *,
    reference_s: float,
    horizon_s: float,
    confidence: float = 0.95,
) -> list[Part]:
    """Estimate each part of a range from what was known when it began, beside what was observed of it.

    Args:
        rows: of one version, from `reference_s` before the range on.
        since_s: begin of the range.
        until_s: its end.
        parts: how many.
        bands: speed bands.
        min_agents: as in `estimate`.
        reference_s: how long before a part truth counts.
        horizon_s: how long truth takes to arrive.
        confidence: of the intervals.
    """
    edges = np.linspace(since_s, until_s, parts + 1)
    order = np.argsort(rows.received_s, kind="stable")
    rows, received_s = rows.select(order), rows.received_s[order]

    def between(begin_s: float, end_s: float) -> Errors:
        return rows.select(slice(*np.searchsorted(received_s, [begin_s, end_s]).tolist()))

    found = []
    for begin_s, end_s in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        mine, before = between(begin_s, end_s), between(begin_s - reference_s, begin_s - horizon_s)
        before = before.select(before.is_scored)
        scored = mine.select(mine.is_scored)
        found.append(
            Part(
                begin_s,
                len(mine),
                len(scored),
                estimate(before, mine, bands, min_agents, confidence),
                float(scored.ade_m.mean()) if len(scored) else math.nan,
                float(before.ade_m.mean()) if len(before) else math.nan,
            )
        )
    return found
