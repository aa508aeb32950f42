"""The figures of an experiment out of the lake: additive sums over units, which DuckDB makes, so that no row leaves it.

Predictions say who was answered in which arm, outcomes how well. Ids and units are known by their hashes: of a million, two share one of
2**64 numbers with a probability of 3e-8. A shadow counts where the answer beside it does, and that answer is the control's.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import duckdb

from data.lake.queries import SERVED, TRUTH_SLACK_S
from data.lake.reader import LakeReader
from data.lake.schema import BEST_OUTCOME
from data.lake.slices import newest_since_ns
from trajops.clock import to_ns, utc
from trajops.contracts.experiments import ExperimentPlan, Metric
from trajops.experiments.figures import ArmFigures, Figures, TrafficFigures
from trajops.experiments.routed import UnitKind
from trajops.experiments.sums import ArmSums, PairSums
from trajops.services.predict import BASELINE
from trajops.trajectories import DEFAULT_WINDOW

# Of traffic, so many of the newest predictions say enough.
TRAFFIC_ROWS = 1_000_000
_UNITS: dict[UnitKind, str] = {"agent": "hash(scene_id, agent_id)", "client": "hash(client_id)", "scene": "hash(scene_id)"}
_METRICS: dict[Metric, str] = {"ade_m": "ade_m", "fde_m": "fde_m", "miss_rate": "is_miss::INTEGER"}

_EXPOSURE = f"""
    hash(prediction_id) AS prediction_id, {{unit}} AS unit, received_ns <= $due_ns AS is_due, model_name = '{BASELINE.name}' AS has_failed,
    latency_ms > $slow_ms::FLOAT AS is_slow, latency_ms
"""
_SERVED = "list_contains($sources, source)"
_LIVE = f"""
    SELECT {_EXPOSURE}, list_position($variants, variant) AS arm, NULL::UBIGINT AS shadow_of FROM predictions
    WHERE experiment_id = $experiment_id AND list_contains($variants, variant) AND {_SERVED}
"""  # noqa: S608 - names of our own schema
# An answer of another version than the control's, or of one that somebody chose by hand, is nothing to compare a shadow with. What two
# workers have predicted, because both believed that the lease was theirs, counts once.
_SHADOW = f"""
    , shadows AS MATERIALIZED (
        SELECT {_EXPOSURE}, list_position($variants, variant) AS arm, hash(shadow_of) AS shadow_of FROM predictions
        WHERE experiment_id = $experiment_id AND list_contains($variants[2:], variant) AND source = 'shadow' AND shadow_of IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY hash(shadow_of), variant ORDER BY latency_ms, received_ns) = 1
    ), answers AS MATERIALIZED (
        SELECT {_EXPOSURE}, 1 AS arm, NULL::UBIGINT AS shadow_of FROM predictions
        WHERE {_SERVED} AND variant <> 'override' AND (model_version = $control_version OR model_name = '{BASELINE.name}')
            AND hash(prediction_id) IN (SELECT shadow_of FROM shadows)
    )
    SELECT * FROM shadows WHERE shadow_of IN (SELECT prediction_id FROM answers) UNION ALL SELECT * FROM answers
"""  # noqa: S608 - names of our own schema
_TRAFFIC = f"SELECT {_EXPOSURE}, 1 AS arm, NULL::UBIGINT AS shadow_of FROM predictions WHERE {_SERVED}"  # noqa: S608

_SCORED = """
    SELECT hash(prediction_id) AS prediction_id, is_complete, steps_scored, interpolated_s, scored_ns, ade_m, fde_m, is_miss, inside_share,
        cv_ade_m
    FROM outcomes WHERE {condition}
"""
_OF_EXPERIMENT = "experiment_id = $experiment_id"
_OF_ANSWERS = "hash(prediction_id) IN (SELECT shadow_of FROM exposed)"
# With the metric as `y`, and the covariate over the same outcomes as `x`.
_BEST = f"""
    WITH best AS (
        SELECT *, {{metric}} AS y, cv_ade_m AS x FROM (SELECT * FROM scored WHERE is_complete {BEST_OUTCOME})
        WHERE y IS NOT NULL AND x IS NOT NULL
    )
"""  # noqa: S608 - names of our own schema

_JUMPERS = "SELECT unit FROM exposed GROUP BY unit HAVING min(arm) < max(arm)"
_LEAVE_OUT = "DELETE FROM exposed WHERE unit IN (SELECT unit FROM jumpers)"
_COUNTS = """
    SELECT arm, count(*), sum(predictions), sum(due), count(*) FILTER (has_failed), count(*) FILTER (is_slow) FROM (
        SELECT unit, arm, count(*) AS predictions, count(*) FILTER (is_due) AS due, bool_or(has_failed) AS has_failed,
            bool_or(is_slow) AS is_slow
        FROM exposed GROUP BY unit, arm
    ) GROUP BY arm
"""
_JOINED = "SELECT arm, count(*) FROM exposed SEMI JOIN scored USING (prediction_id) WHERE is_due GROUP BY arm"
_LATENCY = "SELECT arm, quantile_cont(latency_ms, [0.5, 0.95, 0.99]) FROM exposed GROUP BY arm"
_SUMS = f"""
    {_BEST}
    SELECT arm, count(*), sum(y), sum(y * y), sum(x), sum(x * x), sum(x * y), avg(ade_m), avg(fde_m), avg(miss_rate), avg(inside_share)
    FROM (
        SELECT unit, arm, avg(y) AS y, avg(x) AS x, avg(ade_m) AS ade_m, avg(fde_m) AS fde_m, avg(is_miss::INTEGER) AS miss_rate,
            avg(inside_share) AS inside_share
        FROM exposed JOIN best USING (prediction_id) GROUP BY unit, arm
    ) GROUP BY arm
"""  # noqa: S608 - names of our own
_PAIRS = f"""
    {_BEST}
    SELECT arm, count(*), sum(a), sum(b), sum(a * a), sum(b * b), sum(a * b) FROM (
        SELECT unit, arm, avg(control.y) AS a, avg(own.y) AS b
        FROM exposed
            JOIN best own ON own.prediction_id = exposed.prediction_id
            JOIN best control ON control.prediction_id = exposed.shadow_of
        GROUP BY unit, arm
    ) GROUP BY arm
"""  # noqa: S608 - names of our own
_NEWEST = "SELECT max(scored_ns) FROM scored"
_TABLES = ("exposed", "scored", "jumpers")


class LakeExperiments:
    """Implements `trajops.ports.ExperimentSource`.

    Args:
        lake: where predictions and outcomes are read.
    """

    def __init__(self, lake: LakeReader) -> None:
        self._lake = lake

    def figures(self, experiment_id: str, plan: ExperimentPlan, since: datetime, at: datetime, slow_ms: float) -> Figures:
        """Figures of the predictions received in [since, at), as far as truth has arrived.

        Live, predictions of served traffic in the arms of the plan count; who was put into one by hand is in none of them. A unit that was
        answered in several arms is counted as a jumper, and left out of everything else. In shadow, what a treatment predicted beside an
        answer counts with that answer, which is the control's as long as the control's version gave it, or the baseline in its place.

        A unit's value is the mean of the metric over its predictions whose whole horizon is known, and its covariate that of constant
        velocity's error over the same ones.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        variants = [arm.variant for arm in plan.arms]
        is_shadow = plan.is_beside
        given = {"experiment_id": experiment_id, "variants": variants} | _exposure_parameters(at, slow_ms)
        outcomes = _OF_EXPERIMENT
        if is_shadow:
            given["control_version"] = plan.arms[0].model_version
            outcomes += f" OR {_OF_ANSWERS}"
        query = (_SHADOW if is_shadow else _LIVE).format(unit=_UNITS[plan.unit])

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> _Found:
            try:
                cursor.execute(f"CREATE OR REPLACE TEMP TABLE exposed AS {prefix} {query}", given)
                jumpers = 0 if is_shadow else _leave_out_jumpers(cursor)
                asked = {"experiment_id": experiment_id}
                cursor.execute(f"CREATE OR REPLACE TEMP TABLE scored AS {prefix} {_SCORED.format(condition=outcomes)}", asked)
                return _found(cursor, plan.metric, jumpers, has_pairs=is_shadow)
            finally:
                _drop(cursor)

        found = self._lake.read(("predictions", "outcomes"), work, since_ns=to_ns(since), until_ns=to_ns(at))
        arms = tuple(found.arm(number, variant, is_paired=is_shadow and number > 1) for number, variant in enumerate(variants, 1))
        return Figures(at, arms, found.jumpers, None if found.newest_ns is None else utc(found.newest_ns))

    def traffic(self, since: datetime, until: datetime, unit: UnitKind, metric: Metric, max_rows: int = TRAFFIC_ROWS) -> TrafficFigures:
        """Units of the served traffic received in [since, until), of whichever arm; of more than `max_rows` predictions the newest.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        since_ns, until_ns = to_ns(since), to_ns(until)
        begin_ns = newest_since_ns(self._lake, since_ns, until_ns, max_rows, "predictions")
        given = _exposure_parameters(until, float("inf"))

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> _Found:
            try:
                cursor.execute(f"CREATE OR REPLACE TEMP TABLE exposed AS {prefix} {_TRAFFIC.format(unit=_UNITS[unit])}", given)
                cursor.execute(
                    f"CREATE OR REPLACE TEMP TABLE scored AS {prefix} {_SCORED.format(condition=_SERVED)}", {"sources": list(SERVED)}
                )
                return _found(cursor, metric, 0, has_pairs=False)
            finally:
                _drop(cursor)

        arm = self._lake.read(("predictions", "outcomes"), work, since_ns=begin_ns, until_ns=until_ns).arm(1, "")
        begin = since if begin_ns == since_ns else utc(begin_ns)
        return TrafficFigures(begin, until, arm.units, arm.predictions, arm.due, arm.joined, arm.sums)


class _Found(NamedTuple):
    """Rows of the queries, by number of the arm."""

    counts: Mapping[int, tuple[int, ...]]
    joined: Mapping[int, tuple[int, ...]]
    latency_ms: Mapping[int, tuple[Any, ...]]
    sums: Mapping[int, tuple[Any, ...]]
    pairs: Mapping[int, tuple[Any, ...]]
    jumpers: int
    newest_ns: int | None

    def arm(self, number: int, variant: str, *, is_paired: bool = False) -> ArmFigures:
        """Figures of one arm; nothing but zeros where nobody was answered in it."""
        units, predictions, due, failed, slow = map(int, self.counts.get(number, (0,) * 5))
        sums = self.sums.get(number, (0.0,) * 6 + (None,) * 4)
        [joined] = self.joined.get(number, (0,))
        [latency_ms] = self.latency_ms.get(number, (None,))
        return ArmFigures(
            variant=variant,
            units=units,
            sums=ArmSums(*map(float, sums[:6])),
            predictions=predictions,
            due=due,
            joined=joined,
            failed_units=failed,
            slow_units=slow,
            means=sums[6:],
            latency_ms=(None, None, None) if latency_ms is None else tuple(latency_ms),
            pairs=PairSums(*map(float, self.pairs.get(number, (0.0,) * 6))) if is_paired else None,
        )


def _exposure_parameters(at: datetime, slow_ms: float) -> dict[str, Any]:
    due_ns = to_ns(at) - round((DEFAULT_WINDOW.horizon_s + TRUTH_SLACK_S) * 1e9)
    return {"sources": list(SERVED), "due_ns": due_ns, "slow_ms": slow_ms}


def _leave_out_jumpers(cursor: duckdb.DuckDBPyConnection) -> int:
    cursor.execute(f"CREATE OR REPLACE TEMP TABLE jumpers AS {_JUMPERS}")
    [(jumpers,)] = cursor.execute("SELECT count(*) FROM jumpers").fetchall()
    if jumpers:
        cursor.execute(_LEAVE_OUT)
    return int(jumpers)


def _found(cursor: duckdb.DuckDBPyConnection, metric: Metric, jumpers: int, *, has_pairs: bool) -> _Found:
    def by_arm(query: str) -> dict[int, tuple[Any, ...]]:
        return {arm: tuple(row) for arm, *row in cursor.execute(query.format(metric=_METRICS[metric])).fetchall()}

    [(newest_ns,)] = cursor.execute(_NEWEST).fetchall()
    return _Found(
        by_arm(_COUNTS), by_arm(_JOINED), by_arm(_LATENCY), by_arm(_SUMS), by_arm(_PAIRS) if has_pairs else {}, jumpers, newest_ns
    )


def _drop(cursor: duckdb.DuckDBPyConnection) -> None:
    for table in _TABLES:
        cursor.execute(f"DROP TABLE IF EXISTS {table}")
