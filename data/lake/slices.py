"""Scored predictions taken apart: sums by agent, from rows and not from rollups, because an interval needs every agent's own total.

Rows are read from `outcomes` alone, which carry the speed, the radius and the distances that slices need. Of a range that holds more
than is wanted the newest rows count, so that no question takes longer than another (docs/decisions/0023).
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from data.lake import samples
from data.lake.schema import BEST_OUTCOME
from trajops.contracts.performance import Metric, SliceBy
from trajops.metrics import chi_square_quantile
from trajops.performance.intervals import AgentSums
from trajops.performance.rules import SpeedBand
from trajops.trajectories import DEFAULT_WINDOW, FloatArray

if TYPE_CHECKING:
    from data.lake.reader import LakeReader

_WANTED = "is_complete AND list_contains($sources, source)"
# Sorting all rows to find the few predictions that were scored twice would take most of the time.
_TWICE = f"SELECT hash(prediction_id) AS id FROM outcomes WHERE {_WANTED} GROUP BY id HAVING count(*) > 1"  # noqa: S608
_ONCE = f"""
    , best AS NOT MATERIALIZED (
        SELECT * FROM outcomes WHERE {_WANTED} {{without}}
    )
"""  # noqa: S608
_WITHOUT = f"""
    AND hash(prediction_id) NOT IN (SELECT id FROM twice)
    UNION ALL SELECT * FROM (
        SELECT * FROM outcomes WHERE {_WANTED} AND hash(prediction_id) IN (SELECT id FROM twice) {BEST_OUTCOME}
    )
"""  # noqa: S608
_FIGURES: dict[Metric, str] = {
    "ade_m": "ade_m",
    "fde_m": "fde_m",
    "miss_rate": "is_miss::INTEGER",
    "nll": "nll",
    "coverage": "inside_share",
    "radius_m": "radius_m",
}
# Lists are added up in numpy: DuckDB takes four times as long for the sums of each of their entries.
_STEPS = """
    SELECT model_version, hash(scene_id, agent_id, model_version) AS agent, step_error_m, step_nll, step_inside, step_distance2
    FROM best WHERE len(step_error_m) = {steps} AND len(step_nll) = {steps} AND len(step_inside) = {steps}
"""


def band_of(bands: Sequence[SpeedBand], column: str = "speed_mps") -> str:
    """SQL that names the speed band; NULL where the speed is not known."""
    cases = [f"WHEN {column} < {band.below_mps} THEN '{band.band}'" for band in bands[:-1]]
    return f"CASE WHEN {column} IS NULL THEN NULL {' '.join(cases)} ELSE '{bands[-1].band}' END"


def newest_since_ns(lake: "LakeReader", since_ns: int, until_ns: int, max_rows: int, table: str = "outcomes") -> int:
    """Where a range must begin to hold about `max_rows` rows at most, by the counts of the manifest.

    Raises:
        Unavailable: if the manifest cannot be read.
    """
    files = [
        f for f in lake.snapshot((table,)).files if f.table == table and f.max_received_ns >= since_ns and f.min_received_ns < until_ns
    ]
    left = max_rows
    for file in sorted(files, key=lambda one: one.max_received_ns, reverse=True):
        begin_ns, end_ns = max(file.min_received_ns, since_ns), min(file.max_received_ns, until_ns)
        rows = file.rows * (end_ns - begin_ns + 1) / (file.max_received_ns - file.min_received_ns + 1)
        if rows > left:
            return max(since_ns, end_ns - int((end_ns - begin_ns) * left / rows))
        left -= int(rows)
    return since_ns


def agent_sums(
    lake: "LakeReader", since_ns: int, until_ns: int, by: SliceBy, bands: Sequence[SpeedBand], sources: Sequence[str], level: float
) -> list[AgentSums]:
    """Sums by agent of the predictions received in a time range whose whole horizon is known, slice by slice.

    Raises:
        Unavailable: if the lake cannot be read.
    """
    if by == "step":
        return _by_step(_read(lake, since_ns, until_ns, _STEPS.format(steps=DEFAULT_WINDOW.t_pred), sources), level)
    value = {
        "model_version": "'v' || model_version",
        "variant": "variant",
        "scene": "scene_id",
        "speed_band": band_of(bands),
        "calibration": "coalesce(calibration, 0)::VARCHAR",
    }[by]
    figures = ", ".join(f"count({sql}) AS n_{name}, sum({sql}) AS s_{name}" for name, sql in _FIGURES.items())
    query = f"""
        SELECT model_version, {value} AS value, hash(scene_id, agent_id) AS agent, count(*) AS predictions, {figures}
        FROM best WHERE value IS NOT NULL GROUP BY model_version, value, agent
    """  # noqa: S608 - names of our own
    return _by_value(_read(lake, since_ns, until_ns, query, sources), tuple(_FIGURES))


def best_outcomes(cursor: duckdb.DuckDBPyConnection, prefix: str, sources: Sequence[str]) -> str:
    """WITH clause that also defines `best`: the outcomes of whole horizons, of each prediction the one with the best truth.

    Leaves a table `twice` on the cursor.
    """
    cursor.execute(f"CREATE OR REPLACE TEMP TABLE twice AS {prefix} {_TWICE}", {"sources": list(sources)})
    [(several,)] = cursor.execute("SELECT count(*) FROM twice").fetchall()
    return prefix + _ONCE.format(without=_WITHOUT if several else "")


def _read(lake: "LakeReader", since_ns: int, until_ns: int, query: str, sources: Sequence[str]) -> pa.Table:
    def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> pa.Table:
        return samples.arrow(cursor, best_outcomes(cursor, prefix, sources) + query, {"sources": list(sources)})

    return lake.read(("outcomes",), work, since_ns=since_ns, until_ns=until_ns)


def _by_value(rows: pa.Table, figures: tuple[Metric, ...]) -> list[AgentSums]:
    found = []
    for version, value, part in _groups(rows):
        count = {name: _numbers(part, f"n_{name}") for name in figures}
        total = {name: _numbers(part, f"s_{name}") for name in figures}
        found.append(AgentSums(value, version, int(_numbers(part, "predictions").sum()), count, total))
    return found


def _by_step(rows: pa.Table, level: float) -> list[AgentSums]:
    """The radius of a step follows from likelihood and distance: exact for one mode, near to it for several."""
    steps = DEFAULT_WINDOW.t_pred
    _, first, agent = np.unique(rows["agent"].to_numpy(), return_index=True, return_inverse=True)
    versions = rows["model_version"].to_numpy()[first]
    adds = sparse.csr_array((np.ones(len(rows), np.float32), agent.ravel(), np.arange(len(rows) + 1)), (len(rows), len(first))).T
    count = np.repeat(np.bincount(agent.ravel(), minlength=len(first)).astype(float)[:, None], steps, axis=1)
    nll, inside = samples.stored_lists(rows, "step_nll", steps), samples.stored_lists(rows, "step_inside", steps)
    distance2 = samples.stored_lists(_with_distances(rows, steps), "step_distance2", steps)
    radius_m = np.exp(0.5 * (nll - 0.5 * distance2) + np.float32(0.5 * math.log(chi_square_quantile(level) / (2 * math.pi))))
    is_known = np.isfinite(radius_m)
    has_all = bool(is_known.all())
    values: dict[Metric, tuple[FloatArray, FloatArray]] = {
        "ade_m": (count, adds @ samples.stored_lists(rows, "step_error_m", steps)),
        "nll": (count, adds @ nll),
        "coverage": (count, adds @ inside.astype(np.float32)),
        "radius_m": (
            count if has_all else adds @ is_known.astype(np.float32),
            adds @ (radius_m if has_all else np.where(is_known, radius_m, np.float32(0))),
        ),
    }
    return [
        AgentSums(
            str(step + 1),
            int(version),
            int(count[versions == version, step].sum()),
            {name: counted[versions == version, step] for name, (counted, _) in values.items()},
            {name: total[versions == version, step] for name, (_, total) in values.items()},
        )
        for version in np.unique(versions)
        for step in range(steps)
    ]


def _with_distances(rows: pa.Table, steps: int) -> pa.Table:
    """The same rows, with NaN where an old row has no distances."""
    lengths = pc.fill_null(pc.list_value_length(rows["step_distance2"]), 0)
    if pc.all(pc.equal(lengths, steps)).as_py():
        return rows
    none = pa.scalar([math.nan] * steps, pa.list_(pa.float32()))
    place = rows.column_names.index("step_distance2")
    return rows.set_column(place, "step_distance2", pc.if_else(pc.equal(lengths, steps), rows["step_distance2"], none))


def _groups(rows: pa.Table) -> list[tuple[int, str, pa.Table]]:
    """Version, value and rows of each slice, in the order of both."""
    if not len(rows):
        return []
    encoded = pc.dictionary_encode(rows["value"].combine_chunks())
    values = encoded.dictionary.to_pylist()
    places = np.argsort(np.argsort(values))[encoded.indices.to_numpy()]
    groups, group = np.unique(rows["model_version"].to_numpy() * np.int64(len(values)) + places, return_inverse=True)
    ordered, ends = rows.take(pa.array(np.argsort(group.ravel(), kind="stable"))), np.cumsum(np.bincount(group.ravel()))
    begins = np.concatenate([[0], ends[:-1]])
    return [
        (int(number // len(values)), sorted(values)[number % len(values)], ordered.slice(int(begin), int(end - begin)))
        for number, begin, end in zip(groups, begins, ends, strict=True)
    ]


def _numbers(rows: pa.Table, name: str) -> FloatArray:
    values: Any = rows[name].to_numpy()
    result: FloatArray = np.nan_to_num(values.astype(float))
    return result
