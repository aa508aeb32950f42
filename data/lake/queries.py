"""What the API, the console and the workers ask the lake: figures, traffic, predictions, rows for drift checks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, get_args

import duckdb
import pyarrow as pa

from data.lake import predictions, sums
from data.lake.drift_rows import AsTrained, drift_table
from data.lake.parquet import HOUR_NS
from data.lake.reader import LakeReader
from data.lake.rollups import BUCKET_NS
from trajops.clock import utc
from trajops.contracts.performance import PerformanceOut, PerformancePoint, PerformanceRow
from trajops.contracts.predictions import PredictionOut
from trajops.contracts.status import TrafficPoint
from trajops.errors import InvalidInput, NotFound
from trajops.telemetry import TABLES, Recorded, Served
from trajops.trajectories import DEFAULT_WINDOW

# Truth for the last step is there this long after its time; then a prediction counts in the join rate.
TRUTH_SLACK_S = 2.0
SERVED: tuple[Served, ...] = get_args(Served)
# A prediction is looked for in ever longer ranges before the newest one, because most are asked for when they are new.
_RANGES_NS: tuple[int | None, ...] = (*(seconds * 10**9 for seconds in (60, 900, 7_200, 86_400)), None)

_IS_WANTED = "list_contains($sources, source)"
_SUMS = f"""
    CREATE OR REPLACE TEMP TABLE sums AS {{prefix}} SELECT *, false AS is_rolled FROM ({{rows}})
    UNION ALL BY NAME SELECT *, true AS is_rolled FROM rolled WHERE {_IS_WANTED}
"""  # noqa: S608 - names of our own schema
_MEANS = ", ".join(f"sum({name}) / nullif(sum(complete), 0)" for name in ("ade_m", "fde_m", "misses", "nll", "inside_share", "cv_ade_m"))
_ROWS = f"""
    SELECT model_version, variant, sum(predictions), sum(scored), sum(complete), any_value(distinct_agents),
        coalesce(sum(due_scored) / nullif(sum(due), 0), 0.0), {_MEANS}
    FROM sums JOIN ({sums.distinct_agents("model_version, variant")}) USING (model_version, variant)
    GROUP BY model_version, variant ORDER BY model_version, variant
"""  # noqa: S608 - names of our own schema
_LATENCY_BINS = f"""
    SELECT model_version, variant, number, sum(entries) FROM ({sums.unnested("latency_bins", "model_version, variant")})
    GROUP BY model_version, variant, number
"""  # noqa: S608 - names of our own schema
_SERIES = """
    SELECT (at_ns - $origin) // $width AS bucket, model_version, sum(predictions), sum(scored),
        sum(ade_m) / nullif(sum(complete), 0), sum(fde_m) / nullif(sum(complete), 0), sum(inside_share) / nullif(sum(complete), 0)
    FROM sums GROUP BY bucket, model_version ORDER BY bucket, model_version
"""
_STEPS = """
    SELECT model_version, step, sum(error_m) / sum(known) FROM (
        SELECT model_version, unnest(step_error_m) AS error_m, unnest(step_count) AS known, generate_subscripts(step_error_m, 1) AS step
        FROM sums WHERE scored > 0
    ) GROUP BY model_version, step HAVING sum(known) > 0 ORDER BY model_version, step
"""
_NEWEST = "SELECT max(scored_ns) FROM outcomes WHERE list_contains($sources, source)"
_TRAFFIC = f"""
    SELECT bucket, number, sum(entries) FROM (
        SELECT (at_ns - $origin) // $width AS bucket, {sums.UNNESTED.format(name="latency_bins")} FROM (
            SELECT at_ns, latency_bins FROM ({sums.of_predictions(_IS_WANTED)})
            UNION ALL SELECT at_ns, latency_bins FROM rolled WHERE {_IS_WANTED}
        )
    ) GROUP BY bucket, number
"""  # noqa: S608 - names of our own schema


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
        Latencies are within 1.6 %. Where a bucket would be five minutes or wider, buckets begin at whole five minutes, or hours, and hours
        that are over are answered from rollups: agents are then counted with a standard error of 9 % where there are many.

        Raises:
            InvalidInput: if the range is empty or `buckets` is not positive.
            Unavailable: if the lake cannot be read.
        """
        range_ns = _buckets(since, until, buckets)
        due_ns = range_ns.until_ns - round((DEFAULT_WINDOW.horizon_s + TRUTH_SLACK_S) * 1e9)
        bucket = {"origin": range_ns.origin_ns, "width": range_ns.width_ns}
        parameters = bucket | {"due": due_ns, "sources": list(sources)}

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
            rows = sums.of_rows(is_kept_short=False, condition=_IS_WANTED)
            cursor.execute(_SUMS.format(prefix=prefix, rows=rows), parameters)
            try:
                return (
                    cursor.execute(_ROWS).fetchall(),
                    cursor.execute(_LATENCY_BINS).fetchall(),
                    cursor.execute(_SERIES, bucket).fetchall(),
                    cursor.execute(_STEPS).fetchall(),
                )
            finally:
                cursor.execute("DROP TABLE sums")

        rows, bins, series, steps = self.read(
            ("predictions", "outcomes"),
            work,
            since_ns=range_ns.since_ns,
            until_ns=range_ns.until_ns,
            rolled_until_ns=due_ns if range_ns.is_rolled else None,
            by_hours=range_ns.by_hours,
        )
        latency: dict[tuple[int, str], dict[int, int]] = defaultdict(dict)
        for version, variant, number, count in bins:
            latency[version, variant][number] = count
        step_error_m: dict[str, list[float | None]] = {}
        for version, _, error_m in steps:
            step_error_m.setdefault(str(version), []).append(error_m)
        return PerformanceOut(
            since=since,
            until=until,
            nominal_coverage=nominal_coverage,
            rows=[
                PerformanceRow(**dict(zip(PerformanceRow.model_fields, (*row, *_latencies(latency[row[0], row[1]])), strict=True)))
                for row in rows
            ],
            series=[
                PerformancePoint(**dict(zip(PerformancePoint.model_fields, (range_ns.begin(bucket), *figures), strict=True)))
                for bucket, *figures in series
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
        range_ns = _buckets(since, until, buckets)
        parameters = {"origin": range_ns.origin_ns, "width": range_ns.width_ns, "sources": list(sources)}

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> list[Any]:
            return cursor.execute(prefix + _TRAFFIC, parameters).fetchall()

        rows = self.read(
            ("predictions",),
            work,
            since_ns=range_ns.since_ns,
            until_ns=range_ns.until_ns,
            rolled_until_ns=range_ns.until_ns if range_ns.is_rolled else None,
            by_hours=range_ns.by_hours,
        )
        bins: dict[int, dict[int, int]] = defaultdict(dict)
        for bucket, number, count in rows:
            bins[bucket][number] = count
        points = []
        for bucket in range(range_ns.number()):
            p50_ms, p95_ms = _latencies(bins[bucket])
            count = sum(bins[bucket].values())
            points.append(TrafficPoint(at=range_ns.begin(bucket), predictions=count, latency_p50_ms=p50_ms, latency_p95_ms=p95_ms))
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

    def drift_rows(
        self,
        since: datetime,
        until: datetime,
        sources: Sequence[str] = get_args(Recorded),
        agent_share: float = 1.0,
        *,
        window_ns: int = 1,
        every: int = 1,
        as_trained: AsTrained | None = None,
    ) -> pa.Table:
        """One row per prediction with what drift is looked for in; see `data.lake.drift_rows` for the columns and the arguments.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        since_ns, until_ns, _ = _range(since, until, 1)
        return drift_table(self, since_ns, until_ns, sources, agent_share, window_ns=window_ns, every=every, as_trained=as_trained)

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


def _latencies(bins: Mapping[int, int]) -> tuple[float | None, float | None]:
    """The median and the 95th percentile of binned latencies, milliseconds."""
    return sums.quantile(bins, 0.5), sums.quantile(bins, 0.95)


class _Buckets(NamedTuple):
    """A time range in parts, nanoseconds; the first bucket begins at `origin_ns`, at or before the range."""

    since_ns: int
    until_ns: int
    origin_ns: int
    width_ns: int
    is_rolled: bool
    by_hours: bool = False

    def number(self) -> int:
        """How many there are."""
        return -(-(self.until_ns - self.origin_ns) // self.width_ns)

    def begin(self, bucket: int) -> datetime:
        """When one begins."""
        return utc(self.origin_ns + bucket * self.width_ns)


def _buckets(since: datetime, until: datetime, buckets: int) -> _Buckets:
    """At most so many buckets; wide ones are whole buckets of the rollups, which then answer."""
    since_ns, until_ns, width_ns = _range(since, until, buckets)
    if width_ns < BUCKET_NS:
        return _Buckets(since_ns, until_ns, since_ns, width_ns, is_rolled=False)
    unit_ns = BUCKET_NS if width_ns < HOUR_NS else HOUR_NS
    origin_ns, width_ns = since_ns // unit_ns * unit_ns, -(-width_ns // unit_ns) * unit_ns
    return _Buckets(since_ns, until_ns, origin_ns, width_ns, is_rolled=True, by_hours=unit_ns == HOUR_NS)


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
