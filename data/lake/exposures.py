"""Who was answered in which arm, and how well, as tables on a cursor; and the additive sums over units that DuckDB makes of them.

Ids and units are known by their hashes: of a million, two share one of 2**64 numbers with a probability of 3e-8. A shadow counts where the
answer beside it does, and that answer is the control's.

Two tables are left on the cursor. `exposed` has a row for each prediction: `prediction_id`, `unit`, `arm` (counted from 1, in the order of
the plan), `shadow_of`, and what is counted. `scored` has the outcomes of all that are of interest.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import duckdb

from data.lake.queries import SERVED, TRUTH_SLACK_S
from data.lake.schema import BEST_OUTCOME
from trajops.clock import to_ns
from trajops.contracts.experiments import ExperimentPlan, Metric
from trajops.experiments.routed import UnitKind
from trajops.services.predict import BASELINE
from trajops.trajectories import DEFAULT_WINDOW

_UNITS: dict[UnitKind, str] = {"agent": "hash(scene_id, agent_id)", "client": "hash(client_id)", "scene": "hash(scene_id)"}
_METRICS: dict[Metric, str] = {"ade_m": "ade_m", "fde_m": "fde_m", "miss_rate": "is_miss::INTEGER"}

_EXPOSURE = f"""
    hash(prediction_id) AS prediction_id, {{unit}} AS unit, received_ns <= $due_ns AS is_due, model_name = '{BASELINE.name}' AS has_failed,
    latency_ms > $slow_ms::FLOAT AS is_slow, received_ns >= $recent_ns AS is_recent, received_ns, latency_ms {{more}}
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
        cv_ade_m {more}
    FROM outcomes WHERE {condition}
"""
_OF_EXPERIMENT = "experiment_id = $experiment_id"
_OF_ANSWERS = "hash(prediction_id) IN (SELECT shadow_of FROM exposed)"

_JUMPERS = "SELECT unit FROM exposed GROUP BY unit HAVING min(arm) < max(arm)"
_LEAVE_OUT = "DELETE FROM exposed WHERE unit IN (SELECT unit FROM jumpers)"
_TABLES = ("exposed", "scored", "jumpers")


def expose(
    cursor: duckdb.DuckDBPyConnection,
    prefix: str,
    experiment_id: str,
    plan: ExperimentPlan,
    at: datetime,
    slow_ms: float,
    *,
    counted_since: datetime | None = None,
    of_exposed: str = "",
    of_scored: str = "",
) -> int:
    """Leave both tables of an experiment, without units that were answered in several arms; the number of those.

    Args:
        cursor: to leave them on.
        prefix: defines the tables of the lake.
        experiment_id: whose.
        plan: its arms, mode and unit.
        at: now.
        slow_ms: an answer that took longer is slow.
        counted_since: what was received since then is recent; None: nothing is.
        of_exposed: further columns out of `predictions`, each after a comma.
        of_scored: further columns out of `outcomes`.
    """
    variants = [arm.variant for arm in plan.arms]
    given = {"experiment_id": experiment_id, "variants": variants} | _parameters(at, slow_ms, counted_since)
    outcomes, is_shadow = _OF_EXPERIMENT, plan.is_beside
    if is_shadow:
        given["control_version"] = plan.arms[0].model_version
        outcomes += f" OR {_OF_ANSWERS}"
    query = (_SHADOW if is_shadow else _LIVE).format(unit=_UNITS[plan.unit], more=of_exposed)
    cursor.execute(f"CREATE OR REPLACE TEMP TABLE exposed AS {prefix} {query}", given)
    jumpers = 0 if is_shadow else _leave_out_jumpers(cursor)
    scored = _SCORED.format(condition=outcomes, more=of_scored)
    cursor.execute(f"CREATE OR REPLACE TEMP TABLE scored AS {prefix} {scored}", {"experiment_id": experiment_id})
    return jumpers


def expose_traffic(cursor: duckdb.DuckDBPyConnection, prefix: str, unit: UnitKind, until: datetime) -> None:
    """Leave both tables of all served traffic, as if it were one arm."""
    query = _TRAFFIC.format(unit=_UNITS[unit], more="")
    cursor.execute(f"CREATE OR REPLACE TEMP TABLE exposed AS {prefix} {query}", _parameters(until, float("inf")))
    scored = _SCORED.format(condition=_SERVED, more="")
    cursor.execute(f"CREATE OR REPLACE TEMP TABLE scored AS {prefix} {scored}", {"sources": list(SERVED)})


@contextmanager
def cleared(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Leave nothing on a cursor that others use after us."""
    try:
        yield
    finally:
        for table in _TABLES:
            cursor.execute(f"DROP TABLE IF EXISTS {table}")


def _parameters(at: datetime, slow_ms: float, counted_since: datetime | None = None) -> dict[str, Any]:
    due_ns = to_ns(at) - round((DEFAULT_WINDOW.horizon_s + TRUTH_SLACK_S) * 1e9)
    recent_ns = to_ns(at if counted_since is None else counted_since)
    return {"sources": list(SERVED), "due_ns": due_ns, "slow_ms": slow_ms, "recent_ns": recent_ns}


def _leave_out_jumpers(cursor: duckdb.DuckDBPyConnection) -> int:
    cursor.execute(f"CREATE OR REPLACE TEMP TABLE jumpers AS {_JUMPERS}")
    [(jumpers,)] = cursor.execute("SELECT count(*) FROM jumpers").fetchall()
    if jumpers:
        cursor.execute(_LEAVE_OUT)
    return int(jumpers)


# Queries over both tables


def best(metric: Metric) -> str:
    """WITH clause that defines `best`: of each prediction the best whole outcome, the metric as `y`, the covariate over the same as `x`."""
    return f"""
        WITH best AS (
            SELECT *, {_METRICS[metric]} AS y, cv_ade_m AS x FROM (SELECT * FROM scored WHERE is_complete {BEST_OUTCOME})
            WHERE y IS NOT NULL AND x IS NOT NULL
        )
    """  # noqa: S608 - names of our own schema


def arm_sums(metric: Metric) -> str:
    """Query for one row an arm: the fields of `ArmSums`, the means over units of ADE, FDE, miss rate and coverage, recent units."""
    return f"""
        {best(metric)}
        SELECT arm, count(*) AS units, sum(y) AS y, sum(y * y) AS yy, sum(x) AS x, sum(x * x) AS xx, sum(x * y) AS xy, avg(ade_m),
            avg(fde_m), avg(miss_rate), avg(inside_share), count(*) FILTER (is_recent)
        FROM (
            SELECT unit, arm, avg(y) AS y, avg(x) AS x, avg(ade_m) AS ade_m, avg(fde_m) AS fde_m, avg(is_miss::INTEGER) AS miss_rate,
                avg(inside_share) AS inside_share, bool_or(is_recent) AS is_recent
            FROM exposed JOIN best USING (prediction_id) GROUP BY unit, arm
        ) GROUP BY arm
    """  # noqa: S608 - names of our own


def pair_sums(metric: Metric) -> str:
    """Query for one row an arm of a shadow: the fields of `PairSums`, and recent units."""
    return f"""
        {best(metric)}
        SELECT arm, count(*), sum(a), sum(b), sum(a * a), sum(b * b), sum(a * b), count(*) FILTER (is_recent) FROM (
            SELECT unit, arm, avg(control.y) AS a, avg(own.y) AS b, bool_or(is_recent) AS is_recent
            FROM exposed
                JOIN best own ON own.prediction_id = exposed.prediction_id
                JOIN best control ON control.prediction_id = exposed.shadow_of
            GROUP BY unit, arm
        ) GROUP BY arm
    """  # noqa: S608 - names of our own
