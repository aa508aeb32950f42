"""The lake as performance is judged, estimated and calibrated from it: Arrow tables become arrays of numbers."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.lake import samples, slices
from data.lake.reader import LakeReader
from trajops.clock import utc
from trajops.contracts.performance import SliceBy
from trajops.performance import expected
from trajops.performance.estimation import Errors
from trajops.performance.intervals import AgentSums
from trajops.performance.recalibration import Distances
from trajops.performance.rules import SpeedBand
from trajops.trajectories import DEFAULT_WINDOW

# Whole horizons with all that a calibration needs; rows of before distances were written have none.
_DISTANCES = """
    SELECT received_ns, hash(scene_id, agent_id) AS agent, scene_id, coalesce(calibration, 0) AS calibration, step_distance2
    FROM best WHERE model_name = $model_name AND model_version = $model_version AND len(step_distance2) = {steps}
"""
_SCORED = """
    SELECT received_ns, hash(scene_id, agent_id) AS agent, model_version, speed_mps::DOUBLE AS speed_mps,
        expected_ade_m::DOUBLE AS expected_ade_m, ade_m
    FROM best WHERE speed_mps IS NOT NULL AND expected_ade_m IS NOT NULL
"""
_UNSCORED = """
    SELECT p.received_ns, hash(p.scene_id, p.agent_id) AS agent, p.model_version, p.dt_s, p.history_m,
        p.cov_m2[:len(p.cov_m2) // len(p.weights)] AS cov_m2
    FROM predictions p WHERE list_contains($sources, p.source) AND p.dt_s > 0 AND len(p.weights) > 0
        AND len(p.history_m) = {history} AND len(p.cov_m2) = {covariance} * len(p.weights)
        AND NOT EXISTS (FROM outcomes o WHERE o.prediction_id = p.prediction_id AND o.is_complete)
"""


class LakePerformanceSource:
    """Implements `trajops.ports.PerformanceSource`."""

    def __init__(self, lake: LakeReader) -> None:
        self._lake = lake

    def agent_sums(
        self, since: datetime, until: datetime, by: SliceBy, bands: Sequence[SpeedBand], sources: Sequence[str], level: float, max_rows: int
    ) -> tuple[datetime, list[AgentSums]]:
        """Where the range begins that at most `max_rows` newest rows are read of, and the sums of its slices.

        Each step costs as much as a figure, so that by step a quarter as many rows are read.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        since_ns, until_ns = _ns(since), _ns(until)
        begin_ns = slices.newest_since_ns(self._lake, since_ns, until_ns, max_rows // 4 if by == "step" else max_rows)
        found = slices.agent_sums(self._lake, begin_ns, until_ns, by, bands, sources, level)
        return since if begin_ns == since_ns else utc(begin_ns), found

    def errors(self, since: datetime, until: datetime, scored_since: datetime, sources: Sequence[str], max_rows: int) -> Errors:
        """Scored predictions received in [scored_since, until), and at most `max_rows` of [since, until) that still lack truth.

        Of ten times as many scored ones, and five times as many of all, the newest are looked at.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        scored_ns, since_ns, until_ns = _ns(scored_since), _ns(since), _ns(until)
        parameters = {"sources": list(sources)}

        def scored(cursor: duckdb.DuckDBPyConnection, prefix: str) -> pa.Table:
            return samples.arrow(cursor, slices.best_outcomes(cursor, prefix, sources) + _SCORED, parameters)

        def unscored(cursor: duckdb.DuckDBPyConnection, prefix: str) -> pa.Table:
            query = _UNSCORED.format(history=2 * DEFAULT_WINDOW.t_obs, covariance=3 * DEFAULT_WINDOW.t_pred)
            return samples.arrow(cursor, f"{prefix} {query} ORDER BY p.received_ns DESC LIMIT {int(max_rows)}", parameters)

        begin_ns = slices.newest_since_ns(self._lake, scored_ns, until_ns, 10 * max_rows)
        known = self._lake.read(("outcomes",), scored, since_ns=begin_ns, until_ns=until_ns)
        # What is looked through to find who lacks truth is bounded too.
        begin_ns = slices.newest_since_ns(self._lake, since_ns, until_ns, 5 * max_rows, "predictions")
        waiting = self._lake.read(("predictions", "outcomes"), unscored, since_ns=begin_ns, until_ns=until_ns)
        history_m = samples.lists(waiting, "history_m", 2 * DEFAULT_WINDOW.t_obs).reshape(len(waiting), DEFAULT_WINDOW.t_obs, 2)
        moved_m = np.diff(history_m, axis=1)
        trace_m2, root_m2 = expected.trace_and_root(
            samples.lists(waiting, "cov_m2", 3 * DEFAULT_WINDOW.t_pred).reshape(len(waiting), DEFAULT_WINDOW.t_pred, 3)
        )
        agents = pc.dictionary_encode(pa.chunked_array([*known["agent"].chunks, *waiting["agent"].chunks], pa.uint64()))
        return Errors(
            np.concatenate([_column(known, "received_ns"), _column(waiting, "received_ns")]) / 1e9,
            agents.combine_chunks().indices.to_numpy(),
            np.concatenate([known["model_version"].to_numpy(), waiting["model_version"].to_numpy()]),
            np.concatenate(
                [_column(known, "speed_mps"), np.hypot(moved_m[..., 0], moved_m[..., 1]).mean(axis=1) / _column(waiting, "dt_s")]
            ),
            np.concatenate([_column(known, "expected_ade_m"), expected.distance_m(trace_m2, root_m2).mean(axis=1)]),
            np.concatenate([_column(known, "ade_m"), np.full(len(waiting), np.nan)]),
        )

    def distances(
        self, model_name: str, model_version: int, since: datetime, until: datetime, sources: Sequence[str], max_rows: int
    ) -> Distances:
        """Distances of the truth of one version's newest predictions.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        since_ns, until_ns = _ns(since), _ns(until)
        steps = DEFAULT_WINDOW.t_pred
        parameters = {"sources": list(sources), "model_name": model_name, "model_version": model_version}

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> pa.Table:
            return samples.arrow(cursor, slices.best_outcomes(cursor, prefix, sources) + _DISTANCES.format(steps=steps), parameters)

        begin_ns = slices.newest_since_ns(self._lake, since_ns, until_ns, max_rows)
        rows = self._lake.read(("outcomes",), work, since_ns=begin_ns, until_ns=until_ns)
        scenes = pc.dictionary_encode(rows["scene_id"].combine_chunks())
        return Distances(
            _column(rows, "received_ns") / 1e9,
            rows["agent"].to_numpy(),
            rows["calibration"].to_numpy(),
            samples.lists(rows, "step_distance2", steps),
            scenes.indices.to_numpy(zero_copy_only=False).astype(np.int64),
            tuple(scenes.dictionary.to_pylist()) or ("",),
        )


def _ns(time: datetime) -> int:
    return int(time.timestamp() * 1e6) * 1000


def _column(rows: pa.Table, name: str) -> Any:
    return rows[name].to_numpy().astype(float)
