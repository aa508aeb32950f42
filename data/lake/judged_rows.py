"""What traffic is judged by before it is learnt from: few rows of many agents, with what their histories say and nothing else.

Most rows of one agent say the same. Of each agent in each step of a range, the first two and the last two positions keep its median
speed, whether it moves at all, and the time between its positions; so it hardly matters how often an agent is predicted.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from data.lake import samples
from data.lake.drift_rows import history_features
from trajops.drift.columns import Rows
from trajops.drift.learnable import fair_shares

if TYPE_CHECKING:
    from data.lake.reader import LakeReader

_HAS_HISTORY = "dt_s > 0 AND len(history_m) >= 6 AND len(history_m) % 2 = 0 AND list_contains($sources, source)"
_KEY = "hash(scene_id, agent_id, observed_at_s, received_ns)"
# One row of each time: whoever is asked for twice between two of its positions keeps no other time between them.
_KEPT = f"""
    , timed AS (
        SELECT scene_id, agent_id, ($until_ns - received_ns - 1) // $step_ns AS step, observed_at_s, min(received_ns) AS received_ns
        FROM predictions WHERE {_HAS_HISTORY} GROUP BY ALL
    ), named AS (
        SELECT {samples.AGENT}, hash(scene_id) AS scene, {_KEY} AS key, step, observed_at_s FROM timed
    ), placed AS (
        SELECT scene, key, hash(agent, step // $together) AS lot, count(*) OVER (PARTITION BY agent, step) AS rows,
            row_number() OVER (PARTITION BY agent, step ORDER BY observed_at_s) AS place
        FROM named
    )
    SELECT scene, key, lot FROM placed WHERE place <= $ends OR place > rows - $ends
"""  # noqa: S608 - names of our own schema
_COUNTS = "SELECT scene, count(*) FROM kept GROUP BY scene"
_FEWER = """
    DELETE FROM kept USING (SELECT unnest($scenes::UBIGINT[]) AS scene, unnest($shares::DOUBLE[]) AS share) wanted
    WHERE kept.scene = wanted.scene AND kept.lot % 1000000 >= 1000000 * wanted.share
"""
# As a condition that may be NULL, so that keys are what is kept in memory to look them up, and never the histories.
_ROWS = f"""
    SELECT {samples.AGENT}, scene_id, received_ns, observed_at_s, dt_s, history_m
    FROM predictions WHERE {_HAS_HISTORY} AND coalesce({_KEY} IN (SELECT key FROM kept), false)
"""  # noqa: S608 - names of our own schema
# Of each agent in each step, so many from either end.
ENDS = 2
# For so many steps the same agents are read, so that the time between their positions tells; then others, so that more of them are.
TOGETHER = 10
_BATCH = 50_000


def judged_rows(
    lake: "LakeReader", since_ns: int, until_ns: int, sources: Sequence[str], step_ns: int, most: int, *, by_scene: bool = True
) -> Rows:
    """At most about `most` rows of a range, in any order; see `trajops.ports.DriftSource.some`.

    All of version 0: who answered does not matter. Columns are those of `history_features`, `observed_at_s` and `dt_s`.

    Raises:
        Unavailable: if the lake cannot be read.
    """
    asked: dict[str, Any] = {"sources": list(sources)}
    steps = {"until_ns": until_ns, "step_ns": step_ns, "ends": ENDS, "together": TOGETHER}

    def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> Rows:
        cursor.execute("CREATE OR REPLACE TEMP TABLE kept AS " + prefix + _KEPT, {**asked, **steps})
        counts = {scene: int(count) for scene, count in cursor.execute(_COUNTS).fetchall()}
        if sum(counts.values()) > most:
            shares = fair_shares(counts, most) if by_scene else dict.fromkeys(counts, most / sum(counts.values()))
            cursor.execute(_FEWER, {"scenes": list(shares), "shares": list(shares.values())})
        found, scenes = cursor.sql(prefix + _ROWS, params=asked).to_arrow_reader(_BATCH), dict[str, int]()
        parts = [_described(part, scenes) for batch in found for part in _by_length(pa.Table.from_batches([batch]))]
        cursor.execute("DROP TABLE kept")  # the cursor goes on to others
        return _together(parts, scenes)

    return lake.read(("predictions",), work, since_ns=since_ns, until_ns=until_ns)


def _by_length(rows: pa.Table) -> list[pa.Table]:
    return [rows if len(chosen) == len(rows) else rows.take(chosen) for _, chosen in samples.by_length(rows, "history_m")]


def _described(rows: pa.Table, scenes: dict[str, int]) -> dict[str, Any]:
    """Columns of rows whose histories have one length; scenes that were not met yet are given the next numbers."""
    named = rows["scene_id"].combine_chunks().dictionary_encode()
    codes = np.array([scenes.setdefault(name, len(scenes)) for name in named.dictionary.to_pylist()])
    dt_s, length = samples.column(rows, "dt_s"), len(rows["history_m"][0])
    found = {
        "received_s": samples.column(rows, "received_ns") / 1e9,
        "agent": samples.column(rows, "agent").astype(np.int64),
        "scene": codes[named.indices.to_numpy()],
        "observed_at_s": samples.column(rows, "observed_at_s"),
        "dt_s": dt_s,
        **history_features(samples.lists(rows, "history_m", length).reshape(len(rows), -1, 2), dt_s),
    }
    return {name: column.copy() for name, column in found.items()}  # a view would keep all histories in memory


def _together(parts: list[dict[str, Any]], scenes: Mapping[str, int]) -> Rows:
    if not parts:
        numbers = ("received_s", "observed_at_s", "dt_s", *history_features(np.empty((0, 3, 2)), np.empty(0)))
        parts = [dict.fromkeys(numbers, np.empty(0)) | dict.fromkeys(("agent", "scene"), np.empty(0, dtype=np.int64))]
    # Column by column, so that no more than one of them is in memory twice.
    columns = {name: np.concatenate([part.pop(name) for part in parts]) for name in tuple(parts[0])}
    times_s, agents, codes = (columns.pop(name) for name in ("received_s", "agent", "scene"))
    return Rows(times_s, agents, np.zeros(len(times_s), dtype=np.int64), columns, codes, tuple(scenes) or ("",))
