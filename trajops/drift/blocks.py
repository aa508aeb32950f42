"""Rows as blocks: how often each agent of a window was in each bin of each column. The unit of every score and of every resampling.

Rows of one agent say nearly the same, so an agent with n rows counts as n / (n + 2) and not as n: a standing agent that is predicted
seven hundred times does not outvote those that walk by.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajops.drift.columns import SHARE_FLOOR, IntArray, Rows, bin_indices, decile_edges, shares
from trajops.trajectories import BoolArray, FloatArray

BinArray = NDArray[np.int8]
MISSING = -1
UNKNOWN = -1
# An agent of two rows counts half as much as one of very many.
SHRINK_ROWS = 2.0
# The change of scale that the second score is made for.
STEP = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """The bins of C columns: equal shares of what the reference says about each scene, so that a slow scene has fine bins where it is slow.

    Attributes:
        columns: C names.
        scene_names: S names.
        edges: by scene and column, inner edges; none where the reference has no number.
        slopes: (S, C, K) relative change of the share of each bin if all values of the scene grew by `STEP`: to first order, the
            direction in which a change of scale moves the histogram.
    """

    columns: tuple[str, ...]
    scene_names: tuple[str, ...]
    edges: tuple[tuple[FloatArray, ...], ...]
    slopes: FloatArray

    @classmethod
    def of(cls, columns: Sequence[str], reference: Rows) -> "Bins":
        """Deciles of the reference, scene by scene and column by column."""
        scenes = [reference.of_scene(name) for name in reference.scene_names]
        known = [[rows.values[name][rows.present(name)] if name in rows.values else np.empty(0) for name in columns] for rows in scenes]
        edges = tuple(tuple(decile_edges(values) for values in scene) for scene in known)
        bins = max((len(inner) + 1 for scene in edges for inner in scene), default=1)
        slopes = np.zeros((len(scenes), len(columns), bins))
        for scene, (values_of, edges_of) in enumerate(zip(known, edges, strict=True)):
            for column, (values, inner) in enumerate(zip(values_of, edges_of, strict=True)):
                if len(values):
                    grown, shrunk = (_shares(values * factor, inner, bins) for factor in (1 + STEP, 1 / (1 + STEP)))
                    slopes[scene, column] = np.log(np.maximum(grown, SHARE_FLOOR) / np.maximum(shrunk, SHARE_FLOOR)) / 2
        return cls(tuple(columns), reference.scene_names, edges, slopes)

    @property
    def count(self) -> int:
        """K, the number of bins of the column that has most."""
        return int(self.slopes.shape[2])

    def apply(self, rows: Rows) -> "Binned":
        """The rows with the bins of their scenes."""
        code = {name: number for number, name in enumerate(self.scene_names)}
        scenes = np.array([code.get(name, UNKNOWN) for name in rows.scene_names], dtype=np.int64)[rows.scenes]
        bins = np.full((len(rows), len(self.columns)), MISSING, dtype=np.int8)
        for scene in np.unique(scenes[scenes >= 0]).tolist():
            chosen = np.flatnonzero(scenes == scene)
            for number, (name, edges) in enumerate(zip(self.columns, self.edges[scene], strict=True)):
                if name in rows.values:
                    values = rows.values[name][chosen]
                    bins[chosen, number] = np.where(np.isfinite(values), bin_indices(values, edges), MISSING)
        return Binned(rows.times_s, rows.agents, scenes, rows.versions, bins)


def _shares(values: FloatArray, edges: FloatArray, bins: int) -> FloatArray:
    return shares(np.bincount(bin_indices(values, edges), minlength=bins).astype(float))


@dataclass(frozen=True, slots=True, eq=False)
class Binned:
    """N rows of which only bins are left.

    Attributes:
        times_s: (N,) seconds.
        agents: (N,) codes of continuous tracks.
        scenes: (N,) codes of scenes of the reference; -1 for one that it does not know.
        versions: (N,) model version that answered.
        bins: (N, C).
    """

    times_s: FloatArray
    agents: IntArray
    scenes: IntArray
    versions: IntArray
    bins: BinArray

    def __len__(self) -> int:
        return len(self.times_s)

    def select(self, mask: BoolArray | IntArray | slice) -> "Binned":
        """The rows where a mask is true, or at the given indices."""
        return Binned(self.times_s[mask], self.agents[mask], self.scenes[mask], self.versions[mask], self.bins[mask])

    def answered_by(self, version: int, is_input: BoolArray) -> "Binned":
        """The same rows; what a model says (columns that are no input) is missing where another version said it."""
        bins = self.bins.copy()
        bins[np.ix_(self.versions != version, ~is_input)] = MISSING
        return Binned(self.times_s, self.agents, self.scenes, self.versions, bins)

    @classmethod
    def concatenate(cls, parts: Sequence["Binned"]) -> "Binned":
        """All rows of the parts, in order."""
        names = ("times_s", "agents", "scenes", "versions", "bins")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """What B agents of one window contribute.

    Attributes:
        parts: (B, C, K) weight of each agent in each bin; sums to n / (n + 2) over the bins, for n rows with a value.
        scenes: (B,) codes.
    """

    parts: NDArray[np.float32]
    scenes: IntArray

    def __len__(self) -> int:
        return len(self.scenes)

    def of_scene(self, scene: int) -> "Blocks":
        """The agents of one scene."""
        is_here = self.scenes == scene
        return Blocks(self.parts[is_here], self.scenes[is_here])

    def repeated(self, times: IntArray) -> "Blocks":
        """Each agent so many times."""
        return Blocks(np.repeat(self.parts, times, axis=0), np.repeat(self.scenes, times))

    @classmethod
    def concatenate(cls, parts: "Sequence[Blocks]") -> "Blocks":
        """All agents of the parts."""
        return cls(np.concatenate([part.parts for part in parts]), np.concatenate([part.scenes for part in parts]))

    def by_scene(self, scenes: int, weights: NDArray[Any] | None = None) -> FloatArray:
        """(R, S, C, K) sums over the agents of each scene, for R draws.

        Args:
            scenes: S; blocks of unknown scenes are left out.
            weights: (R, B) how often each agent was drawn; None: each once, R = 1.
        """
        weights = np.ones((1, len(self)), dtype=np.float32) if weights is None else weights.astype(np.float32)
        flat = self.parts.reshape(len(self), -1)
        sums = np.zeros((len(weights), scenes, flat.shape[1]))
        for scene in range(scenes):
            is_here = self.scenes == scene
            if is_here.any():
                sums[:, scene] = weights[:, is_here] @ flat[is_here]
        return sums.reshape(len(weights), scenes, *self.parts.shape[1:])


def blocks_of(rows: Binned, bins: int) -> Blocks:
    """The agents of one window.

    Args:
        rows: N rows of one window.
        bins: K, from `Bins.count`.
    """
    agents, first, agent = np.unique(rows.agents, return_index=True, return_inverse=True)
    columns = rows.bins.shape[1]
    # One bin more than there are takes what is missing.
    width = bins + 1
    cell = (agent[:, None] * columns + np.arange(columns)) * width + (rows.bins.astype(np.int64) + 1)
    counts = np.bincount(cell.ravel(), minlength=len(agents) * columns * width).reshape(len(agents), columns, width)[..., 1:]
    parts = counts / (counts.sum(axis=-1, keepdims=True) + SHRINK_ROWS)
    return Blocks(parts.astype(np.float32), rows.scenes[first])
