"""The embedded real tracks: one football match, tracked from its broadcast, that ships with the product.

Source: SkillCorner Open Data, match 2417 (MIT licence, see README.md beside this file), 10 Hz, as carried by the PyPI
package kloppy 3.19.1. `data.datasets.skillcorner_build` made the Parquet file: every fourth frame (2.5 Hz) of identified
players, without ball and referee, split where a sampled frame is missing and where two samples imply more than 11 m/s. A
camera that pans breaks a match into many pieces; each piece is an agent of its own, so that an agent is one continuous track.

Measured on the shipped file: 7,024 tracks (3,768 in the first half, 3,256 in the second), of which 2,007 have at least 20
steps (988 and 1,019), giving 28,531 windows of 8 + 12 steps (13,298 and 15,233).
Constant velocity from the last step has ADE 5.55 m and FDE 11.80 m over 4.8 s on the second half.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trajops.errors import EnvironmentProblem
from trajops.trajectories import Scene, Track

SHIPPED: Final = Path(__file__).with_name("skillcorner_2417.parquet")
SCENE_IDS: Final = ("first_half", "second_half")
CREDIT: Final = "Tracking data: SkillCorner Open Data, match 2417 (MIT licence), as packaged by kloppy (BSD-3-Clause)."


def load(path: Path = SHIPPED) -> dict[str, Scene]:
    """Read the embedded match.

    Args:
        path: a Parquet file made by `skillcorner_build`.

    Returns:
        Scenes `first_half` and `second_half`: tracks sampled every 0.4 s, seconds since the half's kick-off, metres from the
        centre of the pitch. Agent ids, for example `p12-003` (third continuous track of the twelfth player), are unique
        over both halves.

    Raises:
        EnvironmentProblem: if the file is missing.
    """
    if not path.is_file():
        raise EnvironmentProblem(
            f"the embedded match is missing at {path}; install the application with its data files, or rebuild the file with "
            "`python -m data.datasets.skillcorner_build` (package extra `dataset`)"
        )
    # Not `read_table`: it imports Arrow's datasets and threads for a file of half a megabyte.
    table = pq.ParquetFile(path).read(use_threads=False)
    agents, scenes = table["agent"].combine_chunks(), table["scene"].combine_chunks()
    agent_codes, scene_codes = _numbers(agents.indices), _numbers(scenes.indices)
    times_s = _numbers(table["time_ms"].combine_chunks()) / 1000
    positions_m = np.stack([_numbers(table[name].combine_chunks()) for name in ("x_cm", "y_cm")], axis=-1) / 100
    names, scene_names = agents.dictionary.to_pylist(), scenes.dictionary.to_pylist()
    bounds = np.concatenate([[0], np.flatnonzero(np.diff(agent_codes)) + 1, [len(table)]]).tolist()
    tracks: dict[str, list[Track]] = {scene_id: [] for scene_id in SCENE_IDS}
    for start, stop in pairwise(bounds):
        track = Track(names[agent_codes[start]], times_s[start:stop], positions_m[start:stop])
        tracks[scene_names[scene_codes[start]]].append(track)
    return {scene_id: Scene(scene_id, tuple(members)) for scene_id, members in tracks.items()}


def _numbers(column: pa.Array) -> NDArray[Any]:
    """A column without nulls as numpy; unlike `to_numpy`, this does not import pandas, which takes a second."""
    return np.from_dlpack(column)
