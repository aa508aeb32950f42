"""Makes `coast.npz` of `land-10m.json` of the npm package world-atlas: `python -m data.geography.make land-10m.json`.

The source is a quantised TopoJSON: each arc is a first point and steps from one point to the next, whole numbers on a grid.
"""

import json
import sys
from pathlib import Path

import numpy as np

from data.geography.coast import FILE


def make(source: Path, target: Path = FILE) -> None:
    """Keep the arcs of a TopoJSON as arrays: `points` (N, 2) of the grid, `lengths` of the arcs, `scale` and `translate` in degrees."""
    topology = json.loads(source.read_text(encoding="utf-8"))
    arcs = [np.array(arc, np.int64) for arc in topology["arcs"]]
    grid = topology["transform"]
    np.savez_compressed(
        target,
        steps=np.concatenate(arcs).astype(np.int32),
        lengths=np.array([len(arc) for arc in arcs], np.int32),
        scale=np.array(grid["scale"]),
        translate=np.array(grid["translate"]),
    )


if __name__ == "__main__":
    make(Path(sys.argv[1]))
