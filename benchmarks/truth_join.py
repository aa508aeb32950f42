"""A million predictions joined with the truth that later predictions of the same agents bring, on one core.

Two thousand agents walk for 200 s; each is predicted every 0.4 s, and each history is truth for the predictions before it. First all of
them are scored at once, as after an outage of the workers, then a second lake is followed as the job does it: a run every ten seconds of
traffic at 5,000 predictions a second. The value is the CPU time for the million (all threads of the process), seconds; `busy_share` is
that of the runs that follow, over the time between them.
"""

import tempfile
import time
from pathlib import Path

from benchmarks.lake_writer import write_hour
from benchmarks.record import Measurement
from data.lake import duck
from data.lake.bulk import BulkWriter
from data.lake.manifest import Manifest
from data.lake.missed_truth import MadeUp, MissedTruth
from data.lake.queries import Lake
from data.lake.scoring import TruthRules
from data.lake.spool import Spool
from data.lake.truth import TruthJoin
from data.sql.engine import Database
from trajops.clock import SystemClock

BEGIN_NS = 1_700_006_400 * 10**9  # 2023-11-15 00:00 UTC
AGENTS, STEPS, DT_S = 2_000, 500, 0.4
EVERY_S = 10.0

# Agent `a` after `t` seconds: straight on, with a sway that a straight prediction misses.
_X, _Y = "({a} * 3.0 + ({t}) * (0.5 + {a} % 7 / 5.0))", "(sin(({t}) / 3.0 + {a}) * 2.0)"
_ROWS = f"""
    SELECT md5(s || '-' || a) AS prediction_id, ({{begin}} + (s * {DT_S} + (a % 400) / 1000.0) * 1e9)::BIGINT AS received_ns,
        {{begin}} / 1e9 + s * {DT_S} AS observed_at_s, 'scene' AS scene_id, 'agent-' || a AS agent_id, 'client' AS client_id,
        'request' AS request_id, 'trajectory' AS model_name, (1 + a % 2)::INTEGER AS model_version, 'champion' AS variant,
        1::BIGINT AS epoch, {DT_S} AS dt_s,
        flatten(list_transform(range(-7, 1), lambda k: [{_X.format(a="a", t=f"(s + k) * {DT_S}")},
            {_Y.format(a="a", t=f"(s + k) * {DT_S}")}])) AS history_m,
        [1.0::FLOAT] AS weights,
        flatten(list_transform(range(1, 13), lambda k: [{_X.format(a="a", t=f"(s + k) * {DT_S}")} + k * 0.05,
            {_Y.format(a="a", t=f"(s + k) * {DT_S}")} - k * 0.03])) AS mean_m,
        flatten(list_transform(range(1, 13), lambda k: [k * 0.1::FLOAT, 0.0::FLOAT, k * 0.1::FLOAT])) AS cov_m2,
        0.2::FLOAT AS latency_ms, 'live' AS source, NULL::VARCHAR AS experiment_id, NULL::INTEGER AS calibration,
        NULL::VARCHAR AS shadow_of
    FROM range({{first}}, {{last}}) steps(s), range({AGENTS}) agents(a)
"""


def run(steps: int = STEPS) -> Measurement:
    """Score a range, then follow."""
    with tempfile.TemporaryDirectory() as name:
        at_once_s, done = _at_once(Path(name), steps)
    with tempfile.TemporaryDirectory() as name:
        runs = _following(Path(name), steps)
    predictions = steps * AGENTS
    details = {
        "predictions": predictions,
        "scored": done.scored,
        "complete": done.completed,
        "us_a_prediction": round(at_once_s / predictions * 1e6, 2),
        "busy_share": round(sum(runs) / (len(runs) * EVERY_S), 3),
        "longest_run_cpu_s": round(max(runs), 2),
        "runs": len(runs),
    }
    return Measurement(round(at_once_s * 1e6 / predictions, 3), details)


def _at_once(folder: Path, steps: int) -> tuple[float, MadeUp]:
    database, lake = _lake(folder)
    with duck.connect(scratch=folder / "scratch") as connection:
        query = _ROWS.format(begin=BEGIN_NS, first=0, last=steps)
        write_hour(connection, folder / "lake", Manifest(database.engine), "predictions", BEGIN_NS, query)
    clock = SystemClock()
    missed = MissedTruth(lake, BulkWriter(folder / "lake", database.engine, clock), TruthRules(), clock)
    began_s = time.process_time()
    done = missed.score(BEGIN_NS, BEGIN_NS + 3_600 * 10**9, most_rows=steps * AGENTS)
    took_s = time.process_time() - began_s
    lake.close()
    database.close()
    return took_s, done


def _following(folder: Path, steps: int) -> list[float]:
    """CPU seconds of each run, while a file with ten seconds of traffic appears before each."""
    database, lake = _lake(folder)
    a_run = round(EVERY_S / DT_S)
    taken = []
    with duck.connect(scratch=folder / "scratch") as connection, Spool(folder / "spool") as spool:
        join = TruthJoin(lake, spool)
        for first in range(0, steps, a_run):
            query = _ROWS.format(begin=BEGIN_NS, first=first, last=min(first + a_run, steps))
            write_hour(connection, folder / "lake", Manifest(database.engine), "predictions", BEGIN_NS, query)
            began_s = time.process_time()
            join.run(BEGIN_NS + round((first + a_run) * DT_S * 1e9))
            taken.append(time.process_time() - began_s)
    lake.close()
    database.close()
    return taken


def _lake(folder: Path) -> tuple[Database, Lake]:
    database = Database(f"sqlite:///{folder / 'control.db'}")
    database.migrate()
    return database, Lake(folder / "lake", folder / "spool", database.engine, threads=1)
