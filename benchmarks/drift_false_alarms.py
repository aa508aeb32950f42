"""False alarms of the drift check in days without drift, resampled from real tracks: one-minute checks, at up to 50 predictions/s.

A check may raise one false alarm in seven days at most. An alarm begins with a verdict `drift` and is over with one that is neither that
nor a warning, as the alert that follows from it. The reference are the three days before. As a control, the usual test stands beside it:
Kolmogorov–Smirnov against the pooled reference on one row of each agent, at 0.05 over the number of columns, with the same confirmation by
two of three; once in five minutes, so that its windows do not overlap.

`TRAJOPS_BENCH_TRACKS` names a folder with ETH/UCY (see `forecast_ethucy`); without it, the embedded match and the synthetic crowd walk.
`TRAJOPS_BENCH_DAYS` is the number of days for each of the seeds `TRAJOPS_BENCH_SEEDS`.
"""

import os
import time
from collections import Counter

import numpy as np
from scipy.stats import chi2, ks_2samp

from benchmarks.drift_days import places
from benchmarks.drift_follow import Follower, city, follow, rules
from benchmarks.record import Measurement
from trajops.drift.columns import Rows
from trajops.drift.watch import Watch

DAYS_VARIABLE, SEEDS_VARIABLE = "TRAJOPS_BENCH_DAYS", "TRAJOPS_BENCH_SEEDS"
REFERENCE_DAYS = 3
CONTROL_EVERY_S = 300.0


def run(days: int | None = None, seeds: tuple[int, ...] | None = None) -> Measurement:
    """Follow the days of each seed."""
    days = days or int(os.environ.get(DAYS_VARIABLE, "7"))
    seeds = seeds or tuple(int(seed) for seed in os.environ.get(SEEDS_VARIABLE, "0").split(","))
    alarms, control, verdicts, busy_s, said = 0, 0, Counter[str](), 0.0, []
    for seed in seeds:
        found, _ = city(seed)
        follower = Follower(Watch.of(rules(), found.reference(REFERENCE_DAYS, rules().reference.max_rows)))
        usual = Control(follower.watch.reference)
        was_drift = False
        began_s = time.process_time()
        for at_s, rows, look, told in follow(follower, found, range(24 * days)):
            verdicts[told.verdict] += 1
            if told.verdict == "drift" and not was_drift:
                alarms += 1
                names = {scene: names for scene, (verdict, names) in told.scenes.items() if verdict == "drift"}
                said.append(f"seed {seed}, hour {(at_s % 604_800) / 3600:.2f}: {told.traffic} {names} {[one.kind for one in look.at_once]}")
                print(f"         {said[-1]}", flush=True)
            was_drift = told.verdict == "drift" or (was_drift and told.verdict == "warning")
            if at_s % CONTROL_EVERY_S == 0:
                control += usual.alarms(rows, at_s)
        busy_s += time.process_time() - began_s
    weeks = days * len(seeds) / 7
    # Exact Poisson bounds (Garwood 1936).
    low, high = chi2.ppf(0.025, 2 * alarms) / 2 if alarms else 0.0, chi2.ppf(0.975, 2 * alarms + 2) / 2
    details = {
        "days": days * len(seeds),
        "alarms": alarms,
        "per_week_95_percent": [round(low / weeks, 2), round(high / weeks, 2)],
        "checks": dict(verdicts),
        "control_alarms_per_week": round(control / weeks, 1),
        "cpu_ms_a_check": round(1000 * busy_s / verdicts.total(), 1),
        "scenes": [place.name for place in places()],
        "alarms_said": said[:10],
    }
    return Measurement(round(alarms / weeks, 3), details)


class Control:
    """The usual test, calibrated by nothing but its own assumptions."""

    def __init__(self, reference: Rows) -> None:
        self._rng = np.random.default_rng(5)
        self._reference = reference.one_per_agent(self._rng, 5000)
        self._names = [rule.column for rule in rules().columns if rule.column in reference.values]
        self._flags: list[set[str]] = []
        self._is_on = False

    def alarms(self, rows: Rows, at_s: float) -> int:
        """1 if an alarm begins with the window that ends now."""
        window = rows.select((rows.times_s > at_s - CONTROL_EVERY_S) & (rows.times_s <= at_s))
        if window.agent_count < rules().current.min_agents:
            return 0
        single = window.one_per_agent(self._rng, 5000)
        level = 0.05 / len(self._names)
        self._flags = [{name for name in self._names if self._p(name, single) < level}, *self._flags[:2]]
        is_on = any(sum(name in flags for flags in self._flags) >= 2 for name in self._names)
        begins, self._is_on = is_on and not self._is_on, is_on
        return int(begins)

    def _p(self, name: str, rows: Rows) -> float:
        sides = [side.values[name][side.present(name)] for side in (rows, self._reference)]
        return float(ks_2samp(*sides, method="asymp").pvalue) if min(map(len, sides)) > 20 else 1.0
