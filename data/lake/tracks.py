"""What was observed, as tracks again: the histories of predictions and the observations of an agent joined to one line.

So the lake is a recording as good as any other: models are trained on it, and compared on what really happened.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from data.lake.samples import AGENT, HISTORIES, OBSERVATIONS, samples_of
from trajops.clock import to_ns
from trajops.drift.doubt import Span
from trajops.trajectories import Scene, Track
from trajops.truth import Samples

if TYPE_CHECKING:
    from data.lake.reader import LakeReader

_IS_WANTED = "list_contains($sources, source) AND hash(scene_id, agent_id) % 10000 < $kept"
_AGENTS = f"""
    SELECT DISTINCT {AGENT}, scene_id, agent_id FROM (
        SELECT scene_id, agent_id FROM predictions WHERE {{condition}}
        UNION ALL SELECT scene_id, agent_id FROM observations WHERE {{condition}}
    )
"""  # noqa: S608 - names of our own schema
_COUNT = f"SELECT count(*) FROM ({_AGENTS})"  # noqa: S608 - names of our own schema


def recorded_scenes(
    lake: "LakeReader",
    since: datetime,
    until: datetime,
    sources: Sequence[str],
    *,
    max_agents: int | None = None,
    without: Sequence[Span] = (),
) -> list[Scene]:
    """The tracks of what was received in [since, until), scene by scene.

    Args:
        lake: where predictions and observations are read.
        since: aware.
        until: aware.
        sources: whose rows count, for example `live` and `replay`.
        max_agents: of more, about so many are taken: always the same ones, and each of them whole.
        without: what was received then is left out, so that tracks have gaps there.

    Returns:
        Scenes by id, with tracks by agent id; times are the agents' own clock, positions metres. A track may have gaps.

    Raises:
        Unavailable: if the lake cannot be read.
    """
    spans = [(to_ns(span.since), to_ns(span.until)) for span in without]
    condition = _IS_WANTED + "".join(f" AND NOT (received_ns >= {begin} AND received_ns < {end})" for begin, end in spans)

    def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> tuple[Samples, dict[int, tuple[str, str]]]:
        asked = {"sources": list(sources), "kept": 10_000}
        if max_agents is not None:
            [(agents,)] = cursor.execute(prefix + _COUNT.format(condition=condition), asked).fetchall()
            asked["kept"] = min(10_000, -(-10_000 * max_agents // max(1, agents)))
        samples = samples_of(cursor, prefix, f"{HISTORIES};{OBSERVATIONS}".format(condition=condition), asked)
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
