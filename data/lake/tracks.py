"""What was observed, as tracks again: the histories of predictions and the observations of an agent joined to one line.

So the lake is a recording as good as any other: models are trained on it, and compared on what really happened.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from data.lake.samples import AGENT, HISTORIES, IS_HISTORY, OBSERVATIONS, samples_of
from trajops.clock import to_ns
from trajops.drift.gaps import Gap
from trajops.trajectories import Scene, Track
from trajops.truth import Samples

if TYPE_CHECKING:
    from data.lake.reader import LakeReader

_IS_WANTED = "list_contains($sources, source) AND hash(scene_id, agent_id) % 10000 < $kept"
_GAPS = "CREATE OR REPLACE TEMP TABLE gaps AS SELECT unnest($scenes::VARCHAR[]) AS of_scene, unnest($begins::BIGINT[]) AS begin_ns, "
_GAPS += "unnest($ends::BIGINT[]) AS end_ns"
_IS_KEPT = """
    AND NOT EXISTS (FROM gaps WHERE of_scene IS NULL AND received_ns >= begin_ns AND received_ns < end_ns)
    AND NOT EXISTS (FROM gaps WHERE of_scene = scene_id AND received_ns >= begin_ns AND received_ns < end_ns)
"""
# What is judged is what predictions say, so an agent that nobody asks for is not among them, whatever is posted about it.
_PREDICTED = "predictions WHERE {condition} AND " + IS_HISTORY
_AGENTS = f"SELECT DISTINCT {AGENT}, scene_id, agent_id FROM {_PREDICTED}"  # noqa: S608 - names of our own schema
_COUNT = f"SELECT count(*) FROM ({_AGENTS})"  # noqa: S608 - names of our own schema
_OBSERVATIONS = f"{OBSERVATIONS} AND (scene_id, agent_id) IN (SELECT (scene_id, agent_id) FROM {_PREDICTED})"  # noqa: S608


def recorded_scenes(
    lake: "LakeReader",
    since: datetime,
    until: datetime,
    sources: Sequence[str],
    *,
    max_agents: int | None = None,
    without: Sequence[Gap] = (),
) -> list[Scene]:
    """The tracks of agents that were predicted in [since, until), with what was posted about them, scene by scene.

    Args:
        lake: where predictions and observations are read.
        since: aware.
        until: aware.
        sources: whose rows count, for example `live` and `replay`.
        max_agents: of more, about so many are taken: always the same ones, and each of them whole.
        without: what was received then, there, is left out, so that tracks have gaps; and so is who was predicted only then.

    Returns:
        Scenes by id, with tracks by agent id; times are the agents' own clock, positions metres. A track may have gaps.

    Raises:
        Unavailable: if the lake cannot be read.
    """
    condition = _IS_WANTED + _IS_KEPT * bool(without)
    gaps: dict[str, list[Any]] = {"scenes": [gap.scene for gap in without]}
    gaps |= {"begins": [to_ns(gap.since) for gap in without], "ends": [to_ns(gap.until) for gap in without]}

    def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> tuple[Samples, dict[int, tuple[str, str]]]:
        asked = {"sources": list(sources), "kept": 10_000}
        if without:
            cursor.execute(_GAPS, gaps)
        if max_agents is not None:
            [(agents,)] = cursor.execute(prefix + _COUNT.format(condition=condition), asked).fetchall()
            asked["kept"] = min(10_000, -(-10_000 * max_agents // max(1, agents)))
        samples = samples_of(cursor, prefix, f"{HISTORIES};{_OBSERVATIONS}".format(condition=condition), asked)
        # Names last: the live spool grows while it is read, and who came meanwhile has a name and no samples yet, not the reverse.
        names = cursor.execute(prefix + _AGENTS.format(condition=condition), asked).fetchall()
        return samples, {agent: (scene_id, agent_id) for agent, scene_id, agent_id in names}

    samples, names = lake.read(("predictions", "observations"), work, since_ns=to_ns(since), until_ns=to_ns(until))
    samples = samples.settled()
    agents, starts = np.unique(samples.agents, return_index=True)
    tracks: dict[str, list[Track]] = defaultdict(list)
    for agent, start, stop in zip(agents, starts, np.append(starts[1:], len(samples)), strict=False):
        scene_id, agent_id = names[int(agent)]
        tracks[scene_id].append(Track(agent_id, samples.times_s[start:stop], samples.positions_m[start:stop]))
    return [Scene(scene_id, tuple(sorted(found, key=lambda track: track.agent_id))) for scene_id, found in sorted(tracks.items())]


def recorded_agents(lake: "LakeReader", since: datetime, until: datetime, sources: Sequence[str]) -> int:
    """How many agents `recorded_scenes` would find.

    Raises:
        Unavailable: if the lake cannot be read.
    """

    def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> int:
        asked = {"sources": list(sources), "kept": 10_000}
        [(agents,)] = cursor.execute(prefix + _COUNT.format(condition=_IS_WANTED), asked).fetchall()
        return int(agents)

    return lake.read(("predictions",), work, since_ns=to_ns(since), until_ns=to_ns(until))
