"""Thirty days of telemetry, and how long the dashboards' questions to it take.

The lake is written as the compactor leaves it: an hour a file, predictions and their outcomes, three versions in two variants; the
newest forty minutes are not summed up yet. Numbers that no question reads (positions, covariances) are the same in all rows. Then
`roll_up` sums everything up, and each question is asked once by a process that has just started, with the files dropped from the
page cache (cold), and several times after that (warm; the median).

The value is the slowest question warm, seconds; `slowest_cold_s` the slowest cold. What the same month costs from its rows is measured
on one day of it.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, get_args

from benchmarks.lake_writer import write_hour
from benchmarks.product import ROOT
from benchmarks.record import Measurement
from data.lake import duck, rollups
from data.lake.manifest import Manifest
from data.lake.parquet import HOUR_NS
from data.lake.performance_source import LakePerformanceSource
from data.lake.queries import Lake
from data.lake.rollups import Covered, Rollups
from data.lake.scenes import LakeScenes
from data.sql.engine import Database
from trajops.clock import SystemClock, utc
from trajops.contracts.performance import SliceBy
from trajops.performance.rules import PerformanceRules
from trajops.records import ModelVersion
from trajops.services.performance import Performance
from trajops.services.scenes import Scenes

BEGIN_NS = 1_700_006_400 * 10**9  # 2023-11-15 00:00 UTC
DAYS, ROWS = 30, 50_000_000
NEWEST_NS = 40 * 60 * 10**9
AGENTS, REPEATS = 2_000, 5

_ROW = """
    SELECT md5((i + {first})::VARCHAR) AS prediction_id, {begin} + i * {step} AS received_ns, received_ns / 1e9 AS observed_at_s,
        'scene-' || (i % 7) AS scene_id, 'agent-' || ((i + {first}) % {agents}) AS agent_id, 'client-' || (i % 5) AS client_id,
        'request' AS request_id, 'trajectory' AS model_name, (1 + (i // 11) % 3)::INTEGER AS model_version,
        CASE WHEN i % 4 = 0 THEN 'treatment' ELSE 'control' END AS variant, 7::BIGINT AS epoch, 0.4 AS dt_s,
        list_transform(range(16), lambda x: x::DOUBLE) AS history_m, [1.0::FLOAT] AS weights,
        list_transform(range(24), lambda x: x::DOUBLE) AS mean_m, list_transform(range(36), lambda x: 0.5::FLOAT) AS cov_m2,
        (exp(random()) * 0.3)::FLOAT AS latency_ms, 'live' AS source, NULL::VARCHAR AS experiment_id, NULL::INTEGER AS calibration,
        NULL::VARCHAR AS shadow_of
    FROM range({rows}) r(i)
"""
_OUTCOME = """
    SELECT prediction_id, received_ns + 5000000000 AS scored_ns, received_ns, observed_at_s, scene_id, agent_id, model_name, model_version,
        variant, source, 12 AS steps_scored, true AS is_complete, error_m AS ade_m, error_m * 2 AS fde_m, error_m > 1.1 AS is_miss,
        random() AS nll, 0.9 AS inside_share, 0.5 + random() AS cv_ade_m, 4.8 AS truth_delay_s,
        list_transform(range(12), lambda x: (error_m * x / 6)::FLOAT) AS step_error_m,
        list_transform(range(12), lambda x: 1::FLOAT) AS step_nll, list_transform(range(12), lambda x: true) AS step_inside,
        0.0 AS interpolated_s, NULL::INTEGER AS calibration, (exp(random() * 3) / 4)::FLOAT AS speed_mps, 0.7::FLOAT AS expected_ade_m,
        1.2::FLOAT AS radius_m, list_transform(range(12), lambda x: random()::FLOAT) AS step_distance2,
        NULL::VARCHAR AS experiment_id, NULL::VARCHAR AS shadow_of
    FROM (SELECT *, 0.2 + random() AS error_m FROM hour) WHERE random() < 0.95
"""


def questions(folder: Path, database: Database, end_ns: int, days: float) -> dict[str, Callable[[], Any]]:
    """What the pages ask, by name."""
    lake = Lake(folder / "lake", folder / "spool", database.engine)
    taken_apart = Performance(LakePerformanceSource(lake), database.unit_of_work, PerformanceRules(), "trajectory", 0.9)
    scenes = Scenes(LakeScenes(lake), SystemClock())
    end = utc(end_ns)
    day, month = end - timedelta(days=min(1.0, days)), end - timedelta(days=days)
    slices = {f"slices_by_{by}_24h": partial(taken_apart.slices, day, end, by) for by in get_args(SliceBy)}
    return {
        **slices,
        "estimate_24h": lambda: taken_apart.estimate(day, end),
        "performance_30d": lambda: lake.performance(month, end),
        "traffic_30d": lambda: lake.traffic(month, end),
        "performance_7d": lambda: lake.performance(end - timedelta(days=7), end),
        "performance_24h": lambda: lake.performance(end - timedelta(hours=24), end),
        "performance_1h": lambda: lake.performance(end - timedelta(hours=1), end),
        "performance_5min": lambda: lake.performance(end - timedelta(minutes=5), end),
        "traffic_5min": lambda: lake.traffic(end - timedelta(minutes=5), end),
        "recent": lambda: lake.recent_predictions(50),
        "recent_of_an_agent": lambda: lake.recent_predictions(20, agent_id="agent-7"),
        "counts": lake.counts,
        "scenes_30d": lambda: scenes.seen(month, end),
        "scene_window": lambda: scenes.window("scene-3", end - timedelta(minutes=2), end),
    }


def run(days: int = DAYS, rows: int = ROWS) -> Measurement:
    """Generate, sum up, ask."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = Database(f"sqlite:///{folder / 'control.db'}")
        database.migrate()
        with database.unit_of_work() as work:
            for number in (1, 2, 3):
                work.model_versions.put(ModelVersion("trajectory", number, "kalman", None, {}, {}, "d" * 64, utc(BEGIN_NS)))
        began_s = time.perf_counter()
        end_ns = generate(folder, database, days, rows)
        generated_s = time.perf_counter() - began_s
        clock = _Clock(end_ns)
        began_s = time.perf_counter()
        report = Rollups(folder / "lake", database.engine, clock=clock).run()
        rolled_s = time.perf_counter() - began_s
        _forget(folder)
        database.close()
        asked = [sys.executable, "-m", "benchmarks.lake_30d", str(folder), str(end_ns), str(days)]
        found = json.loads(subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
        lake_bytes = sum(path.stat().st_size for path in (folder / "lake").rglob("*.parquet"))
        rollup_bytes = sum(path.stat().st_size for path in (folder / "lake" / rollups.FOLDER).glob("*.parquet"))
    warm, cold = ({question: both[index] for question, both in found["seconds"].items()} for index in (1, 0))
    details = {
        "slowest_cold_s": round(max(cold.values()), 3),
        **{f"{question}_s": [round(cold[question], 3), round(warm[question], 3)] for question in found["seconds"]},
        "one_day_from_its_rows_s": round(found["from_rows_s"], 2),
        "predictions": rows,
        "hours_rolled": report["rolled"],
        "roll_up_us_a_prediction": round(rolled_s / rows * 1e6, 2),
        "generate_us_a_prediction": round(generated_s / rows * 1e6, 2),
        "lake_bytes_a_prediction": round(lake_bytes / rows, 1),
        "rollup_mb": round(rollup_bytes / 1e6, 1),
    }
    return Measurement(round(max(warm.values()), 4), details)


def generate(folder: Path, database: Database, days: int, rows: int) -> int:
    """Write the lake; the time at which it is looked at."""
    manifest, lake_dir = Manifest(database.engine), folder / "lake"
    end_ns = BEGIN_NS + days * 24 * HOUR_NS + NEWEST_NS
    step_ns = (end_ns - BEGIN_NS) // rows
    with duck.connect(scratch=folder / "scratch") as connection:
        connection.execute("SELECT setseed(0.5)")
        for hour_ns in range(BEGIN_NS, end_ns, HOUR_NS):
            count, first = (min(hour_ns + HOUR_NS, end_ns) - hour_ns) // step_ns, (hour_ns - BEGIN_NS) // step_ns
            query = _ROW.format(first=first, begin=hour_ns, step=step_ns, agents=AGENTS, rows=count)
            connection.execute(f"CREATE OR REPLACE TEMP TABLE hour AS {query}")
            for table, select in (("predictions", "SELECT * FROM hour"), ("outcomes", _OUTCOME)):
                write_hour(connection, lake_dir, manifest, table, hour_ns, select)
    return end_ns


class _Clock:
    def __init__(self, ns: int) -> None:
        self._ns = ns

    def now_ns(self) -> int:
        return self._ns


def _forget(folder: Path) -> None:
    """Drop the files from the page cache, so that the next reader is cold."""
    for path in folder.rglob("*.parquet"):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def ask(folder: Path, end_ns: int, days: float) -> dict[str, Any]:
    """Cold and warm seconds of each question, in a process that has asked nothing before."""
    database = Database(f"sqlite:///{folder / 'control.db'}")
    seconds = {}
    for name in questions(folder, database, end_ns, days):
        _forget(folder)
        question = questions(folder, database, end_ns, days)[name]
        taken = []
        for _ in range(1 + REPEATS):
            began_s = time.perf_counter()
            question()
            taken.append(time.perf_counter() - began_s)
        seconds[name] = (taken[0], statistics.median(taken[1:]))
    real, rollups.covered = rollups.covered, lambda *_, **__: Covered()
    lake, end = Lake(folder / "lake", folder / "spool", database.engine), utc(end_ns)
    began_s = time.perf_counter()
    lake.performance(end - timedelta(days=1), end)
    from_rows_s = time.perf_counter() - began_s
    rollups.covered = real
    return {"seconds": seconds, "from_rows_s": from_rows_s}


if __name__ == "__main__":
    print(json.dumps(ask(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
