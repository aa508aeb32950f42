"""The lake as scenes: which ones a range holds, and a bounded piece of one.

Time ranges are of the server's clock, by which files are laid out; times in what is read are the agents' own.
"""

import logging
from datetime import datetime
from typing import Any

import duckdb
import numpy as np

from data.lake import slices
from data.lake.queries import SERVED
from data.lake.reader import LakeReader
from data.lake.samples import SAMPLES, samples_of
from trajops.clock import to_ns, utc
from trajops.contracts.scenes import MAX_MODES, SceneBounds, SceneMode, SceneOut, ScenePrediction
from trajops.ports import SceneRows
from trajops.trajectories import FloatArray
from trajops.truth import Samples

# Bounds are of so many newest rows of each table: a list of positions costs ten times as much to read as an id.
BOUNDS_ROWS = 20_000

_SERVED = "scene_id IS NOT NULL AND agent_id IS NOT NULL AND list_contains($sources, source)"
_SCENES = f"""
    SELECT scene_id, count(DISTINCT agent), sum(predictions)::BIGINT, sum(observations)::BIGINT, min(first_ns), max(newest_ns) FROM (
        SELECT scene_id, hash(agent_id) AS agent, count(*) AS predictions, 0 AS observations, min(received_ns) AS first_ns,
            max(received_ns) AS newest_ns
        FROM predictions WHERE {_SERVED} GROUP BY scene_id, agent
        UNION ALL
        SELECT scene_id, hash(agent_id), 0, count(*), min(received_ns), max(received_ns) FROM observations WHERE {_SERVED} GROUP BY ALL
    ) GROUP BY scene_id
"""  # noqa: S608 - names of our own schema
_BOUNDS = f"""
    SELECT scene_id, min(x), min(y), max(x), max(y) FROM (
        SELECT scene_id, history_m[-2] AS x, history_m[-1] AS y FROM predictions WHERE {_SERVED}
        UNION ALL SELECT scene_id, x_m, y_m FROM observations WHERE {_SERVED}
    ) WHERE isfinite(x) AND isfinite(y) GROUP BY scene_id
"""  # noqa: S608 - names of our own schema
_WANTED = f"scene_id = $scene AND {_SERVED}"
_AGENTS = f"""
    SELECT agent_id, hash($scene, agent_id), sum(predictions)::BIGINT, max(newest_ns) FROM (
        SELECT agent_id, count(*) AS number, count(*) AS predictions, max(received_ns) AS newest_ns
        FROM predictions WHERE {_WANTED} GROUP BY agent_id
        UNION ALL SELECT agent_id, count(*), 0, max(received_ns) FROM observations WHERE {_WANTED} GROUP BY agent_id
    ) GROUP BY agent_id ORDER BY agent_id IS NOT DISTINCT FROM $agent DESC, sum(number) DESC, agent_id
"""  # noqa: S608 - names of our own schema
_OF_AGENTS = "scene_id = $scene AND agent_id IN $agents AND list_contains($sources, source)"
_COLUMNS = ("prediction_id", "agent_id", "observed_at_s", "dt_s", "model_version", "variant", "weights", "mean_m")
_PREDICTIONS = f"""
    SELECT {", ".join(_COLUMNS)} FROM predictions WHERE {_OF_AGENTS} AND dt_s > 0
    QUALIFY row_number() OVER (PARTITION BY agent_id ORDER BY observed_at_s DESC, received_ns DESC, prediction_id) IN $kept
    ORDER BY agent_id, observed_at_s DESC
"""  # noqa: S608 - names of our own schema
_UNREADABLE = (ValueError, TypeError, OverflowError)

_log = logging.getLogger(__name__)


class LakeScenes:
    """Implements `trajops.ports.SceneSource`."""

    def __init__(self, lake: LakeReader) -> None:
        self._lake = lake

    def scenes(self, since: datetime, until: datetime, max_rows: int) -> tuple[datetime, list[SceneOut]]:
        """Where the range begins that about `max_rows` newest rows of each table are read of, and its scenes.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        since_ns, until_ns = to_ns(since), to_ns(until)
        begin_ns, bounds_ns = (self._begin_ns(since_ns, until_ns, rows) for rows in (max_rows, BOUNDS_ROWS))
        asked = {"sources": list(SERVED)}

        def rows(query: str) -> Any:
            return lambda cursor, prefix: cursor.execute(prefix + query, asked).fetchall()

        tables = ("predictions", "observations")
        found = self._lake.read(tables, rows(_SCENES), since_ns=begin_ns, until_ns=until_ns)
        bounds = {row[0]: row[1:] for row in self._lake.read(tables, rows(_BOUNDS), since_ns=bounds_ns, until_ns=until_ns)}
        return since if begin_ns == since_ns else utc(begin_ns), [_scene(row, bounds.get(row[0])) for row in found]

    def window(
        self, scene_id: str, since: datetime, until: datetime, max_agents: int, agent_id: str | None, max_predictions: int | None
    ) -> SceneRows:
        """A piece of one scene.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        asked: dict[str, Any] = {"sources": list(SERVED), "scene": scene_id}

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> tuple[list[Any], Samples, list[Any], int]:
            agents = cursor.execute(prefix + _AGENTS, asked | {"agent": agent_id}).fetchall()
            chosen = agents[:max_agents]
            if not chosen:
                return [], Samples.empty(), [], 1
            of_agents = asked | {"agents": [row[0] for row in chosen]}
            samples = samples_of(cursor, prefix, SAMPLES.format(condition=_OF_AGENTS), of_agents)
            number = sum(row[2] for row in chosen)
            every = 1 if max_predictions is None else max(1, -(-number // max_predictions))
            kept = [1] if max_predictions is None else list(range(1, number + 1, every))
            predictions = cursor.execute(prefix + _PREDICTIONS, of_agents | {"kept": kept}).fetchall() if number else []
            return agents, samples, predictions, every

        agents, samples, predictions, every = self._lake.read(
            ("predictions", "observations"), work, since_ns=to_ns(since), until_ns=to_ns(until)
        )
        shown = [found for row in predictions if (found := _prediction(row)) is not None]
        newest_ns = max((row[3] for row in agents), default=None)
        tracks = _tracks(samples, {number: name for name, number, *_ in agents[:max_agents]})
        return SceneRows(tracks, shown, len(agents), every, None if newest_ns is None else utc(newest_ns))

    def _begin_ns(self, since_ns: int, until_ns: int, rows: int) -> int:
        return max(slices.newest_since_ns(self._lake, since_ns, until_ns, rows, table) for table in ("predictions", "observations"))


def _scene(row: tuple[Any, ...], bounds: tuple[float, ...] | None) -> SceneOut:
    scene_id, agents, predictions, observations, first_ns, newest_ns = row
    return SceneOut(
        scene_id=scene_id,
        agents=agents,
        predictions=predictions,
        observations=observations,
        first_at=utc(first_ns),
        newest_at=utc(newest_ns),
        bounds=None if bounds is None else SceneBounds(**dict(zip(SceneBounds.model_fields, bounds, strict=True))),
    )


def _tracks(samples: Samples, names: dict[int, str]) -> list[tuple[str, FloatArray, FloatArray]]:
    usable = np.isfinite(samples.times_s) & np.isfinite(samples.positions_m).all(axis=1)
    settled = samples.select(usable).settled()
    numbers, starts = np.unique(settled.agents, return_index=True)
    found = []
    for number, start, stop in zip(numbers, starts, np.append(starts[1:], len(settled)), strict=False):
        if int(number) in names:  # the live spool grows while it is read
            found.append((names[int(number)], settled.times_s[start:stop], settled.positions_m[start:stop]))
    return sorted(found, key=lambda track: track[0])


def _prediction(row: tuple[Any, ...]) -> ScenePrediction | None:
    """A prediction as a map draws it; None where its row cannot be read, and the log names it."""
    told = dict(zip(_COLUMNS, row, strict=True))
    weights, mean_m = told.pop("weights"), told.pop("mean_m")
    try:
        paths = np.reshape(mean_m, (len(weights), -1, 2))[:MAX_MODES].tolist()
        modes = [SceneMode(weight=weight, positions=[(x, y) for x, y in path]) for weight, path in zip(weights, paths, strict=False)]
        return ScenePrediction(**told, modes=modes)
    except _UNREADABLE as error:
        _log.error("prediction %s is left out, because its row in the lake cannot be read: %s", told["prediction_id"], error)
        return None
