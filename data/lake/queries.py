"""What the API, the console and the workers ask the lake: figures, traffic, predictions, rows for drift checks."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, get_args

import duckdb
import pyarrow as pa

from data.lake import predictions
from data.lake.drift_rows import drift_table
from data.lake.reader import LakeReader
from data.lake.schema import BEST_OUTCOME
from trajops.clock import utc
from trajops.contracts.performance import PerformanceOut, PerformancePoint, PerformanceRow
from trajops.contracts.predictions import PredictionOut
from trajops.contracts.status import TrafficPoint
from trajops.errors import InvalidInput, NotFound
from trajops.telemetry import TABLES, Served, Source
from trajops.trajectories import DEFAULT_WINDOW

# Truth for the last step is there this long after its time; then a prediction counts in the join rate.
TRUTH_SLACK_S = 2.0
SERVED: tuple[Served, ...] = get_args(Served)
# A prediction is looked for in ever longer ranges before the newest one, because most are asked for when they are new.
_RANGES_NS: tuple[int | None, ...] = (*(seconds * 10**9 for seconds in (60, 900, 7_200, 86_400)), None)

_BEST = f"best AS (SELECT prediction_id, {{columns}} FROM outcomes {BEST_OUTCOME})"  # noqa: S608 - names of our own schema
_SCORED = """
    SELECT p.received_ns, p.scene_id, p.agent_id, p.model_version, p.variant, p.latency_ms, o.* EXCLUDE (prediction_id)
    FROM predictions p LEFT JOIN best o ON o.prediction_id = p.prediction_id
    WHERE list_contains($sources, p.source)
"""
_WHOLE = ("ade_m", "fde_m", "is_miss", "nll", "inside_share", "cv_ade_m")
_ROWS = """
    SELECT model_version, variant, count(*), count(steps_scored), count(ade_m), count(DISTINCT (scene_id, agent_id)),
        coalesce(count(steps_scored) FILTER (received_ns <= $due) / nullif(count(*) FILTER (received_ns <= $due), 0), 0.0),
        avg(ade_m), avg(fde_m), avg(is_miss::INTEGER), avg(nll), avg(inside_share), avg(cv_ade_m),
        quantile_cont(latency_ms, 0.5), quantile_cont(latency_ms, 0.95)
    FROM scored GROUP BY model_version, variant ORDER BY model_version, variant
"""
_SERIES = """
    SELECT (received_ns - $since) // $width AS bucket, model_version, count(*), count(steps_scored),
        avg(ade_m), avg(fde_m), avg(inside_share)
    FROM scored GROUP BY bucket, model_version ORDER BY bucket, model_version
"""
_STEPS = """
    SELECT model_version, step, avg(error_m) FROM (
        SELECT model_version, unnest(step_error_m) AS error_m, generate_subscripts(step_error_m, 1) AS step FROM scored
    ) GROUP BY model_version, step ORDER BY model_version, step
"""
_NEWEST = "SELECT max(scored_ns) FROM outcomes WHERE list_contains($sources, source)"
_TRAFFIC = """
    SELECT (received_ns - $since) // $width AS bucket, count(*), quantile_cont(latency_ms, 0.5), quantile_cont(latency_ms, 0.95)
    FROM predictions WHERE list_contains($sources, source) GROUP BY bucket
"""


class Lake(LakeReader):
    """The readers of the lake. Safe to call from any number of threads.

    Arguments are those of `LakeReader`.
    """

    def performance(
        self,
        since: datetime,
        until: datetime,
        nominal_coverage: float = 0.9,
        sources: Sequence[str] = SERVED,
        buckets: int = 60,
    ) -> PerformanceOut:
        """Accuracy, calibration and latency of the predictions received in a time range, as far as truth has arrived.

        Accuracy and calibration are means over predictions whose whole horizon is known: early steps are easier, and the
        newest predictions have only those. The error by step takes every known step. `join_rate`
        is the share with any outcome among the predictions older than their horizon and two seconds at `until`; 0 if none is.

        Raises:
            InvalidInput: if the range is empty or `buckets` is not positive.
            Unavailable: if the lake cannot be read.
        """
        since_ns, until_ns, width_ns = _range(since, until, buckets)
        due_ns = until_ns - round((DEFAULT_WINDOW.horizon_s + TRUTH_SLACK_S) * 1e9)
        outcome = ", ".join(("steps_scored", "step_error_m", *(f"CASE WHEN is_complete THEN {name} END AS {name}" for name in _WHOLE)))

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> tuple[list[Any], list[Any], list[Any]]:
            query = f"{prefix}, {_BEST.format(columns=outcome)} {_SCORED}"
            cursor.execute(f"CREATE OR REPLACE TEMP TABLE scored AS {query}", {"sources": list(sources)})
            try:
                return (
                    cursor.execute(_ROWS, {"due": due_ns}).fetchall(),
                    cursor.execute(_SERIES, {"since": since_ns, "width": width_ns}).fetchall(),
                    cursor.execute(_STEPS).fetchall(),
                )
            finally:
                cursor.execute("DROP TABLE scored")

        rows, series, steps = self.read(("predictions", "outcomes"), work, since_ns=since_ns, until_ns=until_ns)
        step_error_m: dict[str, list[float | None]] = {}
        for version, _, error_m in steps:
            step_error_m.setdefault(str(version), []).append(error_m)
        return PerformanceOut(
            since=since,
            until=until,
            nominal_coverage=nominal_coverage,
            rows=[PerformanceRow(**dict(zip(PerformanceRow.model_fields, row, strict=True))) for row in rows],
            series=[
                PerformancePoint(**dict(zip(PerformancePoint.model_fields, (utc(since_ns + row[0] * width_ns), *row[1:]), strict=True)))
                for row in series
            ],
            step_error_m=step_error_m,
            last_outcome_at=self.last_outcome_at(),
        )

    def last_outcome_at(self, sources: Sequence[str] = SERVED) -> datetime | None:
        """When the newest outcome was scored; None before the first.

        It is looked for in the live spool and in the file with the newest predictions, and before these where they hold none.

        Raises:
            Unavailable: if the lake cannot be read.
        """

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> int | None:
            [(scored_ns,)] = cursor.execute(prefix + _NEWEST, {"sources": list(sources)}).fetchall()
            newest: int | None = scored_ns
            return newest

        files = self.snapshot(("outcomes",)).files
        newest_ns = max((file.max_received_ns for file in files), default=0)
        for range_ns in (0, *_RANGES_NS) if files else (None,):
            scored_ns = self.read(("outcomes",), work, since_ns=None if range_ns is None else newest_ns - range_ns)
            if scored_ns is not None:
                return utc(scored_ns)
        return None

    def traffic(self, since: datetime, until: datetime, buckets: int = 60, sources: Sequence[str] = SERVED) -> list[TrafficPoint]:
        """Predictions and latency by time bucket, also the empty ones, oldest first.

        Raises:
            InvalidInput: if the range is empty or `buckets` is not positive.
            Unavailable: if the lake cannot be read.
        """
        since_ns, until_ns, width_ns = _range(since, until, buckets)
        parameters = {"since": since_ns, "width": width_ns, "sources": list(sources)}

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> list[Any]:
            return cursor.execute(prefix + _TRAFFIC, parameters).fetchall()

        rows = self.read(("predictions",), work, since_ns=since_ns, until_ns=until_ns)
        found = {bucket: figures for bucket, *figures in rows}
        points = []
        for bucket in range(-(-(until_ns - since_ns) // width_ns)):
            count, p50_ms, p95_ms = found.get(bucket, (0, None, None))
            at = utc(since_ns + bucket * width_ns)
            points.append(TrafficPoint(at=at, predictions=count, latency_p50_ms=p50_ms, latency_p95_ms=p95_ms))
        return points

    def recent_predictions(self, limit: int = 50, scene_id: str | None = None, agent_id: str | None = None) -> list[PredictionOut]:
        """Newest answered predictions first, with the truth that has arrived; of one scene or agent, where it is given.

        A row that cannot be read is left out.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        condition = "($scene_id IS NULL OR scene_id = $scene_id) AND ($agent_id IS NULL OR agent_id = $agent_id)"
        condition += " AND list_contains($sources, source)"
        return self._find(condition, {"scene_id": scene_id, "agent_id": agent_id, "sources": list(SERVED)}, limit)

    def prediction(self, prediction_id: str) -> PredictionOut:
        """One prediction of any source, with the truth that has arrived.

        Raises:
            NotFound: if the lake has none with that id that can be read.
            Unavailable: if the lake cannot be read.
        """
        found = self._find("prediction_id = $prediction_id", {"prediction_id": prediction_id}, 1)
        if not found:
            raise NotFound(f"the lake holds no prediction {prediction_id} that can be read; take the id from an answer of /predict")
        return found[0]

    def drift_rows(self, since: datetime, until: datetime, sources: Sequence[str] = get_args(Source), agent_share: float = 1.0) -> pa.Table:
        """One row per prediction with what drift is looked for in; see `data.lake.drift_rows` for the columns.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        since_ns, until_ns, _ = _range(since, until, 1)
        return drift_table(self, since_ns, until_ns, sources, agent_share)

    def count(self, table: str) -> int:
        """Rows of one table, compacted or not.

        Raises:
            Unavailable: if the lake cannot be read.
        """

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> int:
            [(rows,)] = cursor.execute(f"{prefix} SELECT count(*) FROM {table}").fetchall()  # noqa: S608 - `read` knows the table
            return int(rows)

        return self.read((table,), work)

    def counts(self) -> dict[str, int]:
        """Rows of each table, compacted or not.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        return {table: self.count(table) for table in TABLES}

    def _find(self, condition: str, parameters: dict[str, Any], limit: int) -> list[PredictionOut]:
        files = self.snapshot(("predictions",)).files
        newest_ns = max((file.max_received_ns for file in files), default=0)
        found = self._newest(condition, parameters, limit, newest_ns + 1)  # the live spool, which is newer
        if len(found) < limit and files:
            for range_ns in _RANGES_NS:
                found = self._newest(condition, parameters, limit, None if range_ns is None else newest_ns - range_ns)
                if len(found) >= limit:
                    break
        return predictions.with_truth(self, found)

    def _newest(self, condition: str, parameters: dict[str, Any], limit: int, since_ns: int | None) -> list[dict[str, Any]]:
        columns = ", ".join(predictions.COLUMNS)
        condition += " AND scene_id IS NOT NULL AND agent_id IS NOT NULL"
        query = f"SELECT {columns} FROM predictions WHERE {condition} ORDER BY received_ns DESC, prediction_id LIMIT {int(limit)}"  # noqa: S608

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> list[dict[str, Any]]:
            rows = cursor.execute(prefix + query, parameters).fetchall()
            return [dict(zip(predictions.COLUMNS, row, strict=True)) for row in rows]

        return self.read(("predictions",), work, since_ns=since_ns)


def _range(since: datetime, until: datetime, buckets: int) -> tuple[int, int, int]:
    """Bounds and bucket width, nanoseconds."""
    since_ns, until_ns = _ns(since), _ns(until)
    if until_ns <= since_ns:
        raise InvalidInput(f"the range must begin before it ends, but since is {since} and until {until}")
    if buckets < 1:
        raise InvalidInput(f"a range has at least one bucket, not {buckets}")
    return since_ns, until_ns, -(-(until_ns - since_ns) // buckets)


def _ns(time: datetime) -> int:
    """Nanoseconds since the epoch of an aware time, without the rounding of a float."""
    if time.tzinfo is None:
        raise InvalidInput("a time without a zone cannot be placed; add one, for example +00:00")
    return (time - utc(0)) // timedelta(microseconds=1) * 1_000
