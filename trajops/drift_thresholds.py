"""Thresholds for drift scores, drawn from the reference itself: what a clean window of this size scores by chance.

Rows of one track resemble one another, so whole tracks are drawn, never single rows (block bootstrap; Künsch 1989, The
jackknife and the bootstrap for general stationary observations). Half of the clean windows draw tracks from all of the
reference; the other half from one stretch of it, because tracks of the same minutes resemble one another as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trajops.drift import IntArray, Rows, bin_indices, psi, shares
from trajops.drift_rules import CalibrationRule
from trajops.trajectories import BoolArray, FloatArray

# A stretch of the reference starts every fifth of a window.
STRIDES = 5


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Histograms of B blocks: the rows of one track inside one window.

    Attributes:
        counts: (B, K) rows of each block in each bin.
        stretches: (B,) the window that the block lies in.
    """

    counts: FloatArray
    stretches: IntArray


def calibrate(
    reference: Rows, column: str, edges: FloatArray, rule: CalibrationRule, *, window_s: float, agents: int, rows_per_agent: float
) -> float:
    """Score that clean windows of the reference do not reach: the largest of `rule.windows` × `rule.margin`.

    Args:
        reference: rows of the reference.
        column: the column that is scored.
        edges: its bins.
        rule: number of windows, margin, seed.
        window_s: length of the windows that will be judged.
        agents: tracks that such a window holds.
        rows_per_agent: rows of a track in such a window; a denser reference is thinned to it.

    Returns:
        A PSI threshold, at least `rule.min_threshold`.
    """
    rng = np.random.default_rng(rule.seed)
    known = reference.select(reference.present(column))
    base = _blocks(known, column, edges, window_s, 0.0)
    density = float(base.counts.sum()) / max(1, len(base.counts))
    if rows_per_agent < 0.75 * density:
        is_kept: BoolArray = rng.random(len(known)) < rows_per_agent / density
        known = known.select(is_kept)
        base = _blocks(known, column, edges, window_s, 0.0)
    scores = [_scores(base.counts, base.counts, agents, rule.windows - rule.windows // 2, rng)]
    stretches = list(_stretches(known, column, edges, window_s, min_agents=max(2, agents // 4)))
    if len(stretches) >= 2 * STRIDES:
        repeats = -(-(rule.windows // 2) // len(stretches))
        scores += [_scores(base.counts, counts, agents, repeats, rng) for counts in stretches]
    else:
        scores.append(_scores(base.counts, base.counts, agents, rule.windows // 2, rng))
    return max(rule.min_threshold, rule.margin * float(np.concatenate(scores).max()))


def _blocks(rows: Rows, column: str, edges: FloatArray, window_s: float, offset_s: float) -> Blocks:
    """Histogram of each track in each window of a grid that starts `offset_s` after the first row."""
    if not len(rows):
        return Blocks(np.zeros((0, len(edges) + 1)), np.zeros(0, dtype=np.int64))
    stretch = np.floor((rows.times_s - rows.times_s.min() - offset_s) / window_s).astype(np.int64)
    _, agent = np.unique(rows.agents, return_inverse=True)
    first, width = int(stretch.min()), int(np.ptp(stretch)) + 1
    keys, block = np.unique(agent * width + (stretch - first), return_inverse=True)
    bins = len(edges) + 1
    flat = np.bincount(block * bins + bin_indices(rows.values[column], edges), minlength=len(keys) * bins)
    return Blocks(flat.reshape(-1, bins).astype(float), keys % width + first)


def _stretches(rows: Rows, column: str, edges: FloatArray, window_s: float, *, min_agents: int) -> Iterator[FloatArray]:
    """(B, K) block histograms of each whole window inside the reference, one starting every fifth of a window."""
    span_s = float(np.ptp(rows.times_s)) if len(rows) else 0.0
    for offset_s in np.arange(STRIDES) * window_s / STRIDES:
        blocks = _blocks(rows, column, edges, window_s, float(offset_s))
        for stretch in np.unique(blocks.stretches):
            counts = blocks.counts[blocks.stretches == stretch]
            if stretch >= 0 and offset_s + (stretch + 1) * window_s <= span_s and len(counts) >= min_agents:
                yield counts


def _scores(reference: FloatArray, current: FloatArray, agents: int, windows: int, rng: np.random.Generator) -> FloatArray:
    """(windows,) PSI of `agents` blocks drawn from `current` against a reference that is resampled as well.

    Resampling both sides carries the sampling error of both, as a window that the reference has never seen does.
    """
    drawn = rng.multinomial(agents, np.full(len(current), 1 / len(current)), size=windows) @ current
    whole = rng.multinomial(len(reference), np.full(len(reference), 1 / len(reference)), size=windows) @ reference
    return psi(shares(whole.astype(float)), shares(drawn.astype(float)))
