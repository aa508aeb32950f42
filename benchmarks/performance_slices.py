"""A million scored predictions taken apart: what the Performance page asks, from their rows.

One day of the lake of `lake_30d`: fourteen thousand tracks, three versions, seven scenes. Each question is asked several times by a
process that has asked before. The value is the CPU time of all threads that the slowest one takes, the median, seconds: nobody waits
longer on a machine with a core to spare. By step a quarter as many rows are read, as the service does it.
"""

import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from benchmarks import lake_30d
from benchmarks.record import Measurement
from data.lake.performance_source import LakePerformanceSource
from data.lake.queries import Lake
from data.sql.engine import Database
from trajops.clock import utc
from trajops.contracts.performance import SliceBy
from trajops.performance.intervals import SHARES, interval
from trajops.performance.rules import PerformanceRules

ROWS, REPEATS = 1_060_000, 5  # 95 % of them have truth
DIMENSIONS: tuple[SliceBy, ...] = ("model_version", "variant", "scene", "speed_band", "step", "calibration")


def run(rows: int = ROWS) -> Measurement:
    """Generate, take apart."""
    rules = PerformanceRules()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = Database(f"sqlite:///{folder / 'control.db'}")
        database.migrate()
        end = utc(lake_30d.generate(folder, database, 1, rows))
        lake = Lake(folder / "lake", folder / "spool", database.engine)
        source = LakePerformanceSource(lake)
        seconds: dict[str, float] = {}
        cpu_s: dict[str, float] = {}
        scored = 0
        for by in DIMENSIONS:
            taken, busy = [], []
            for _ in range(1 + REPEATS):
                began_s, began_cpu_s = time.perf_counter(), time.process_time()
                _, found = source.agent_sums(end - timedelta(days=2), end, by, rules.speed_bands, ("live",), 0.9, ROWS)
                for one in found:
                    for metric, count in one.count.items():
                        interval(count, one.total[metric], rules.interval.confidence, is_share=metric in SHARES)
                taken.append(time.perf_counter() - began_s)
                busy.append(time.process_time() - began_cpu_s)
            seconds[by] = round(statistics.median(taken[1:]), 3)
            cpu_s[by] = round(statistics.median(busy[1:]), 3)
            scored = max(scored, sum(one.predictions for one in found) if by != "step" else 0)
        lake.close()
        database.close()
    # CPU time first, then what the clock of this machine said.
    details = {"predictions": scored, **{f"{by}_s": [cpu_s[by], seconds[by]] for by in DIMENSIONS}}
    return Measurement(max(cpu_s.values()), details)
