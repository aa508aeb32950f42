"""Coastlines near a place, cut to a view and thinned to what can be drawn."""

from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trajops.contracts.scenes import SceneBounds
from trajops.geography import Origin, metres_a_degree, to_metres
from trajops.trajectories import FloatArray

FILE = Path(__file__).with_name("coast.npz")
# Lines go on so far outside of a view, degrees: two points of the coast are closer.
AROUND_DEG = 0.2
# Points of all lines together; a line is thinned where it has more than a pixel needs.
MAX_POINTS = 1_800


class _World(NamedTuple):
    """All points, degrees, and the arc that each belongs to."""

    degrees: FloatArray
    arcs: NDArray[np.int64]


class Coast:
    """Implements `trajops.ports.CoastSource` over the file beside this module, which is read when it is first asked for."""

    def __init__(self, file: Path = FILE) -> None:
        self._file = file
        self._lock = Lock()

    @cached_property
    def _world(self) -> _World:
        with np.load(self._file) as held:
            steps, lengths = held["steps"].astype(np.int64), held["lengths"]
            arcs = np.repeat(np.arange(len(lengths)), lengths)
            whole = np.cumsum(steps, axis=0)
            begins = np.concatenate([[0], np.cumsum(lengths)[:-1]])
            before = np.where(begins[:, None] > 0, whole[begins - 1], 0)
            return _World((whole - before[arcs]) * held["scale"] + held["translate"], arcs)

    def lines(self, origin: Origin, bounds: SceneBounds) -> list[FloatArray]:
        """Pieces of coast in a view.

        Args:
            origin: of the plane.
            bounds: the view, metres.

        Returns:
            (N, 2) metres each, N ≥ 2, at most `MAX_POINTS` together.
        """
        with self._lock:
            world = self._world
        east_m, north_m = metres_a_degree(origin)
        east = (world.degrees[:, 0] - origin.longitude_deg + 180.0) % 360.0 - 180.0
        north = world.degrees[:, 1] - origin.latitude_deg
        inside = (east >= bounds.x_min_m / east_m - AROUND_DEG) & (east <= bounds.x_max_m / east_m + AROUND_DEG)
        inside &= (north >= bounds.y_min_m / north_m - AROUND_DEG) & (north <= bounds.y_max_m / north_m + AROUND_DEG)
        chosen = np.flatnonzero(inside)
        if not len(chosen):
            return []
        breaks = np.flatnonzero((np.diff(chosen) > 1) | (np.diff(world.arcs[chosen]) != 0)) + 1
        found = [to_metres(world.degrees[piece], origin) for piece in np.split(chosen, breaks)]
        cell_m = max(bounds.x_max_m - bounds.x_min_m, bounds.y_max_m - bounds.y_min_m, 1.0) / 1_000
        while True:
            thinned = [line for line in (_thinned(line, cell_m) for line in found) if len(line) >= 2]
            if sum(map(len, thinned)) <= MAX_POINTS:
                return thinned
            cell_m *= 2


def _thinned(line: FloatArray, cell_m: float) -> FloatArray:
    """The first point in each cell that a line enters, and its last one."""
    cells = np.floor(line / cell_m)
    keep = np.concatenate([[True], (np.diff(cells, axis=0) != 0).any(axis=1)])
    keep[-1] = True
    return np.asarray(line[keep])
