"""The lake as the drift check sees it: Arrow tables become rows of numbers, with one code for each continuous track."""

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.lake.drift_rows import COLUMNS, USABLE, AsTrained
from data.lake.judged_rows import judged_rows
from data.lake.queries import Lake
from trajops.clock import to_ns, utc
from trajops.drift.columns import Rows
from trajops.drift.learnable import Tally
from trajops.drift.quality import Counts

_EXTENT = "SELECT count(*), min(received_ns), max(received_ns) FROM predictions WHERE list_contains($sources, source)"
# An agent that is predicted from its own history, and posted besides, is not repeated: each table is counted by itself. Nor is one that is
# asked for again before it moves on: a prediction repeats another one if it says for the same time that the agent was somewhere else.
_PLACE = "hash(history_m[-2], history_m[-1]) AS place"
_COUNTS = f"""
    , positions AS (
        SELECT scene_id, agent_id, observed_at_s, {_PLACE} FROM predictions WHERE list_contains($sources, source)
    ), repeated AS (
        SELECT places, places - (SELECT count(DISTINCT (scene_id, agent_id, observed_at_s)) FROM positions)
            + (SELECT count(*) - count(DISTINCT (scene_id, agent_id, observed_at_s)) FROM observations) AS rows
        FROM (SELECT count(DISTINCT (scene_id, agent_id, observed_at_s, place)) AS places FROM positions)
    )
    SELECT (SELECT count(*) FROM positions),
        (SELECT count(*) FROM predictions p WHERE list_contains($sources, p.source) AND NOT coalesce({USABLE}, false)),
        places + (SELECT count(*) FROM observations), rows FROM repeated
"""  # noqa: S608 - names of our own schema
# The same by scene and step. What is repeated over the border of two steps is not seen, which is little of it.
_TALLY = f"""
    , placed AS (
        SELECT scene_id, ($until_ns - received_ns - 1) // $step_ns AS step, agent_id, observed_at_s, {_PLACE}, count(*) AS predictions,
            count(*) FILTER (NOT coalesce({USABLE}, false)) AS unusable
        FROM predictions p WHERE list_contains($sources, source) GROUP BY ALL
    ), timed AS (
        SELECT scene_id, step, agent_id, observed_at_s, sum(predictions) AS predictions, sum(unusable) AS unusable, count(*) AS places
        FROM placed GROUP BY ALL
    ), counted AS (
        SELECT scene_id, step, sum(predictions) AS predictions, sum(unusable) AS unusable, sum(places) AS places,
            sum(places - 1) AS repeated
        FROM timed GROUP BY ALL
    ), observed AS (
        SELECT scene_id, ($until_ns - received_ns - 1) // $step_ns AS step, count(*) AS positions,
            count(DISTINCT (agent_id, observed_at_s)) AS different
        FROM observations WHERE list_contains($sources, source) GROUP BY ALL
    )
    SELECT scene_id, step, coalesce(c.predictions, 0), coalesce(c.unusable, 0), coalesce(c.places, 0) + coalesce(o.positions, 0),
        coalesce(c.repeated, 0) + coalesce(o.positions - o.different, 0)
    FROM counted c FULL JOIN observed o USING (scene_id, step)
"""  # noqa: S608 - names of our own schema
# With fewer whole windows than this, thresholds rest on agents and not on windows.
FEW_WINDOWS = 60
VALUES = tuple(name for name in COLUMNS if name not in {"received_ns", "agent_id", "scene_id", "model_version", "variant"})


class LakeDriftSource:
    """Implements `trajops.ports.DriftSource`.

    Args:
        lake: where rows are read.
        as_trained: takes calibrations out of them; None: what is predicted counts as it was served.
    """

    def __init__(self, lake: Lake, as_trained: Callable[[], AsTrained] | None = None) -> None:
        self._lake = lake
        self._as_trained = as_trained

    def rows(self, since: datetime, until: datetime, sources: Sequence[str], max_rows: int | None = None, window_s: float = 300.0) -> Rows:
        """Rows received in [since, until) from these sources.

        A larger answer than `max_rows` is thinned to about that many. Of many windows of `window_s`, every so many are whole: thresholds
        are drawn from windows with all that belongs together in them. Of few, a share of the agents is whole.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        if since >= until:
            return to_rows(self._lake.drift_rows(utc(0), utc(1000), ()))
        if max_rows is None:
            return self._read(since, until, sources)
        count, oldest_ns, newest_ns = self._extent(since, until, sources)
        share = min(1.0, max_rows / max(1, count))
        if oldest_ns is None or newest_ns is None or share == 1.0:
            return self._read(since, until, sources)
        windows = (newest_ns - oldest_ns) / 1e9 / window_s
        if windows * share < FEW_WINDOWS:
            return self._read(since, until, sources, share)
        return self._read(since, until, sources, window_ns=round(window_s * 1e9), every=math.ceil(1 / share))

    def _read(self, *args: Any, **options: Any) -> Rows:
        as_trained = None if self._as_trained is None else self._as_trained()
        return to_rows(self._lake.drift_rows(*args, **options, as_trained=as_trained))

    def some(self, since: datetime, until: datetime, sources: Sequence[str], step_s: float, most: int, *, by_scene: bool = True) -> Rows:
        """At most about `most` rows that tell what most agents do, with what their histories say; see `data.lake.judged_rows`.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        return judged_rows(self._lake, to_ns(since), to_ns(until), sources, round(step_s * 1e9), most, by_scene=by_scene)

    def counts(self, since: datetime, until: datetime, sources: Sequence[str]) -> Counts:
        """What the rules on quality take from the tables themselves.

        Raises:
            Unavailable: if the lake cannot be read.
        """

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> Counts:
            [found] = cursor.execute(prefix + _COUNTS, {"sources": list(sources)}).fetchall()
            return Counts(*(int(count) for count in found))

        return self._lake.read(("predictions", "observations"), work, since_ns=_ns(since), until_ns=_ns(until))

    def tally(self, since: datetime, until: datetime, sources: Sequence[str], step_s: float) -> Tally:
        """The same by scene and by steps of a range, which are numbered from its end backwards.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        parameters = {"sources": list(sources), "until_ns": to_ns(until), "step_ns": round(step_s * 1e9)}

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> Tally:
            found: dict[str, dict[int, Counts]] = {}
            for scene, step, *counts in cursor.execute(prefix + _TALLY, parameters).fetchall():
                found.setdefault(scene, {})[int(step)] = Counts(*(int(count) for count in counts))
            return found

        return self._lake.read(("predictions", "observations"), work, since_ns=_ns(since), until_ns=_ns(until))

    def oldest(self, sources: Sequence[str]) -> datetime | None:
        """When the oldest row of these sources was received; None when there is none.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        _, oldest_ns, _ = self._extent(None, None, sources)
        return None if oldest_ns is None else utc(oldest_ns)

    def _extent(self, since: datetime | None, until: datetime | None, sources: Sequence[str]) -> tuple[int, int | None, int | None]:
        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> tuple[int, int | None, int | None]:
            [(rows, oldest_ns, newest_ns)] = cursor.execute(prefix + _EXTENT, {"sources": list(sources)}).fetchall()
            return int(rows), oldest_ns, newest_ns

        return self._lake.read(("predictions",), work, since_ns=_ns(since), until_ns=_ns(until))


def to_rows(table: pa.Table) -> Rows:
    """A table of `data.lake.drift_rows` as numbers; what is NULL becomes NaN."""
    names = pc.binary_join_element_wise(table["scene_id"], table["agent_id"], "\0").combine_chunks()
    agents = pc.dictionary_encode(names).indices.to_numpy(zero_copy_only=False).astype(np.int64)
    scenes = pc.dictionary_encode(table["scene_id"].combine_chunks())
    values = {name: table[name].to_numpy().astype(float) for name in VALUES}
    return Rows(
        table["received_ns"].to_numpy() / 1e9,
        agents,
        table["model_version"].to_numpy().astype(np.int64),
        values,
        scenes.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        tuple(scenes.dictionary.to_pylist()) or ("",),
    )


def _ns(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp() * 1e6) * 1000
