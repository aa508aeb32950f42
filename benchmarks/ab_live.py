"""The verdict on a running experiment of a million exposures, from the rows of the lake.

A hundred thousand agents in two arms, ten predictions each, 833 a second. Each prediction was scored twice while its truth came in, and
most of them a third time when it was complete, as the job that joins truth does it. All but the last minute lies in Parquet as the
compactor leaves it, the last minute in the spool, in segments of ten seconds. The value is the time from asking to the verdict, the
slowest of several asks, seconds; the first one is asked of a reader that has answered nothing before.
"""

import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import duckdb

from benchmarks.lake_writer import write_hour
from benchmarks.record import Measurement
from data.lake import duck
from data.lake.experiment_source import LakeExperiments
from data.lake.manifest import Manifest
from data.lake.reader import LakeReader
from data.lake.schema import COLUMNS
from data.sql.engine import Database
from trajops.clock import utc
from trajops.contracts.experiments import ExperimentPlan
from trajops.experiments.verdict import judge

BEGIN_NS = 1_700_006_400 * 10**9  # 2023-11-15 00:00 UTC
UNITS, PREDICTIONS, DT_S = 100_000, 10, 0.4
RUNNING_S, SPOOLED_S, SEGMENT_S, FILE_S = 1_200, 60, 10, 300
EXPERIMENT, ASKS = "experiment", 7

# Agents come one after the other; `u` says how hard one is to predict, for whichever model.
_ROW = f"""
    SELECT md5(a || '-' || k) AS prediction_id, {BEGIN_NS} + (a * {{every_ns}} + k * {DT_S} * 1e9)::BIGINT AS received_ns,
        received_ns / 1e9 AS observed_at_s, 'scene-' || (a % 7) AS scene_id, 'agent-' || a AS agent_id, 'client-' || (a % 5) AS client_id,
        'request' AS request_id, CASE WHEN hash(a, 1) % 200 = 0 AND k = 0 THEN 'baseline' ELSE 'trajectory' END AS model_name,
        (1 + hash(a) % 2)::INTEGER AS model_version, CASE WHEN model_version = 1 THEN 'control' ELSE 'treatment' END AS variant,
        7::BIGINT AS epoch, {DT_S} AS dt_s, list_transform(range(16), lambda x: x / 3) AS history_m, [1.0::FLOAT] AS weights,
        list_transform(range(24), lambda x: x / 7) AS mean_m, list_transform(range(36), lambda x: 0.5::FLOAT) AS cov_m2,
        (exp(random()) * 0.3)::FLOAT AS latency_ms, 'live' AS source, '{EXPERIMENT}' AS experiment_id, NULL::INTEGER AS calibration,
        NULL::VARCHAR AS shadow_of, 0.2 + (hash(a, 2) % 1000 / 1000.0) ** 2 AS u
    FROM range({{first}}, {{last}}) agents(a), range({PREDICTIONS}) moments(k)
"""
_OUTCOME = """
    SELECT prediction_id, received_ns + (steps * 0.4e9)::BIGINT + 1000000000 AS scored_ns, received_ns, observed_at_s, scene_id, agent_id,
        model_name, model_version, variant, source, steps AS steps_scored, steps = 12 AS is_complete, error_m AS ade_m,
        CASE WHEN steps = 12 THEN error_m * 2 END AS fde_m, CASE WHEN steps = 12 THEN error_m > 1.1 END AS is_miss, random() AS nll,
        0.9 AS inside_share, u * (0.9 + 0.4 * random()) AS cv_ade_m, steps * 0.4 AS truth_delay_s,
        list_transform(range(12), lambda x: CASE WHEN x < steps THEN (error_m * x / 6)::FLOAT END) AS step_error_m,
        list_transform(range(12), lambda x: CASE WHEN x < steps THEN 1::FLOAT END) AS step_nll,
        list_transform(range(12), lambda x: CASE WHEN x < steps THEN true END) AS step_inside,
        0.0 AS interpolated_s, NULL::INTEGER AS calibration, 1.3::FLOAT AS speed_mps, 0.7::FLOAT AS expected_ade_m, 1.2::FLOAT AS radius_m,
        list_transform(range(12), lambda x: CASE WHEN x < steps THEN random()::FLOAT END) AS step_distance2, experiment_id, shadow_of
    FROM (
        SELECT *, u * (0.8 + 0.4 * random()) * CASE WHEN variant = 'treatment' THEN 0.97 ELSE 1 END AS error_m
        FROM part, (SELECT unnest([5, 10, 12])::INTEGER AS steps)
    ) WHERE steps < 12 OR hash(prediction_id) % 100 < 95
"""


def run(units: int = UNITS, asks: int = ASKS) -> Measurement:
    """Generate, ask."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = Database(f"sqlite:///{folder / 'control.db'}")
        database.migrate()
        generate(folder, database, units)
        lake = LakeReader(folder / "lake", folder / "spool", database.engine)
        source, plan = LakeExperiments(lake), a_plan()
        started, at = utc(BEGIN_NS), utc(BEGIN_NS) + timedelta(seconds=RUNNING_S + 10)
        taken = []
        for _ in range(asks):
            began_s = time.perf_counter()
            verdict = judge(plan, source.figures(EXPERIMENT, plan, started, at, slow_ms=0.8), started)
            taken.append(time.perf_counter() - began_s)
        lake.close()
        database.close()
    rows = sum(arm.predictions for arm in verdict.arms)
    details = {"rows": rows, "units": verdict.units, "p50_s": round(statistics.median(taken), 3)}
    return Measurement(round(max(taken), 3), details)


def generate(folder: Path, database: Database, units: int) -> None:
    """Write lake and spool."""
    manifest, every_ns = Manifest(database.engine), RUNNING_S * 10**9 // units
    (folder / "spool").mkdir()
    with duck.connect(scratch=folder / "scratch") as connection:
        connection.execute("SELECT setseed(0.5)")
        compacted_s = RUNNING_S - SPOOLED_S
        for begin_s in range(0, compacted_s, FILE_S):
            _make(connection, every_ns, begin_s, min(begin_s + FILE_S, compacted_s))
            for table, select in (("predictions", "SELECT * FROM part"), ("outcomes", _OUTCOME)):
                write_hour(connection, folder / "lake", manifest, table, BEGIN_NS, select)
        for begin_s in range(compacted_s, RUNNING_S, SEGMENT_S):
            _make(connection, every_ns, begin_s, begin_s + SEGMENT_S)
            for table, select in (("predictions", "SELECT * FROM part"), ("outcomes", _OUTCOME)):
                _write_segment(connection, folder / "spool" / f"{table}.benchmark.{begin_s:06d}.ndjson", table, select)


def _make(connection: duckdb.DuckDBPyConnection, every_ns: int, begin_s: int, end_s: int) -> None:
    """Leave a table `part` with the predictions of the agents that come in a stretch of time."""
    query = _ROW.format(every_ns=every_ns, first=begin_s * 10**9 // every_ns, last=end_s * 10**9 // every_ns)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE part AS {query}")


def _write_segment(connection: duckdb.DuckDBPyConnection, path: Path, table: str, select: str) -> None:
    rows = f"SELECT {', '.join(COLUMNS[table])} FROM ({select}) ORDER BY received_ns"
    connection.execute(f"COPY ({rows}) TO {duck.literal(str(path))} (FORMAT json)")


def a_plan() -> ExperimentPlan:
    """Two arms alike in size."""
    arms = [{"variant": name, "model_version": number, "weight": 0.5} for number, name in enumerate(("control", "treatment"), 1)]
    return ExperimentPlan.model_validate({"name": "live", "hypothesis": "The treatment is nearer to the truth.", "arms": arms})
