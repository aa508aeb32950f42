"""False alarms of the drift check in days without drift, resampled from real tracks: one-minute checks, at up to 50 predictions/s.

A check may raise one false alarm in seven days at most. An alarm begins with a verdict `drift` and is over with one that is neither that
nor a warning, as the alert that follows from it. The reference are the three days before. As a control, the usual test stands beside it:
Kolmogorov–Smirnov against the pooled reference on one row of each agent, at 0.05 over the number of columns, with the same confirmation by
two of three; once in five minutes, so that its windows do not overlap.

Beside it stand quiet scenes: each of the same ones four times, with an agent or two a minute, so that no minute of any tells. Nothing of
theirs may be an alarm more often either.

`TRAJOPS_BENCH_TRACKS` names a folder with ETH/UCY (see `forecast_ethucy`); without it, the embedded match and the synthetic crowd walk.
`TRAJOPS_BENCH_DAYS` is the number of days for each of the seeds `TRAJOPS_BENCH_SEEDS`.
"""

import os
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import chi2, ks_2samp

from benchmarks.drift_days import City, places
from benchmarks.drift_follow import Follower, city, follow, quiet_city, rules
from benchmarks.record import Measurement
from trajops.drift.columns import Rows
from trajops.drift.watch import Watch

DAYS_VARIABLE, SEEDS_VARIABLE = "TRAJOPS_BENCH_DAYS", "TRAJOPS_BENCH_SEEDS"
REFERENCE_DAYS = 3
CONTROL_EVERY_S = 300.0
QUIET_EVERY_S = 120.0


def run(days: int | None = None, seeds: tuple[int, ...] | None = None) -> Measurement:
    """Follow the days of each seed."""
    days = days or int(os.environ.get(DAYS_VARIABLE, "7"))
    seeds = seeds or tuple(int(seed) for seed in os.environ.get(SEEDS_VARIABLE, "0").split(","))
    busy, quiet = Counted(), Counted()
    for seed in seeds:
        found, _ = city(seed)
        watch = Watch.of(rules(), found.reference(REFERENCE_DAYS, rules().reference.max_rows))
        busy.follow(watch, found, days, seed, control=Control(watch.reference))
        found = quiet_city(seed)
        watch = Watch.of(rules(), found.reference(REFERENCE_DAYS, rules().reference.max_rows))
        quiet.follow(watch, found, days, seed, every_s=QUIET_EVERY_S)
    weeks = days * len(seeds) / 7
    # Exact Poisson bounds (Garwood 1936).
    low = chi2.ppf(0.025, 2 * busy.alarms) / 2 if busy.alarms else 0.0
    high = chi2.ppf(0.975, 2 * busy.alarms + 2) / 2
    details = {
        "days": days * len(seeds),
        "alarms": busy.alarms,
        "per_week_95_percent": [round(low / weeks, 2), round(high / weeks, 2)],
        "checks": dict(busy.verdicts),
        "control_alarms_per_week": round(busy.control / weeks, 1),
        "cpu_ms_a_check": busy.cpu_ms_a_check,
        "scenes": [place.name for place in places()],
        "quiet_alarms_per_week": round(quiet.alarms / weeks, 3),
        "quiet_scenes": len(quiet_city(seeds[0]).places),
        "quiet_checks": dict(quiet.verdicts),
        "quiet_cpu_ms_a_check": quiet.cpu_ms_a_check,
        "alarms_said": (busy.said + quiet.said)[:10],
    }
    return Measurement(round(busy.alarms / weeks, 3), details)


@dataclass(eq=False)
class Counted:
    """What came of the checks of some days."""

    alarms: int = 0
    control: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    busy_s: float = 0.0
    said: list[str] = field(default_factory=list)

    @property
    def cpu_ms_a_check(self) -> float:
        """CPU time, with what it takes to draw the traffic."""
        return round(1000 * self.busy_s / self.verdicts.total(), 1)

    def follow(self, watch: Watch, found: City, days: int, seed: int, *, every_s: float = 60.0, control: "Control | None" = None) -> None:
        """Count the alarms of clean days."""
        was_drift, began_s = False, time.process_time()
        for at_s, rows, look, told in follow(Follower(watch), found, range(24 * days), every_s):
            self.verdicts[told.verdict] += 1
            if told.verdict == "drift" and not was_drift:
                self.alarms += 1
                names = {scene: names for scene, (verdict, names) in told.scenes.items() if verdict == "drift"}
                at_once = [(one.kind, one.scene) for one in look.at_once]
                self.said.append(f"seed {seed}, hour {(at_s % 604_800) / 3600:.2f}: {told.traffic} {names} {at_once}")
                print(f"         {self.said[-1]}", flush=True)
            was_drift = told.verdict == "drift" or (was_drift and told.verdict == "warning")
            if control is not None and at_s % CONTROL_EVERY_S == 0:
                self.control += control.alarms(rows, at_s)
        self.busy_s += time.process_time() - began_s


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
