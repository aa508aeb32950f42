"""Latency: how long one forecast of one agent takes, on this machine and beside a yardstick taken in turns with it.

Calls during which the system took the processor away from the thread are left out: they measure who else computes. Waiting of the
model's own accord, for a disk or another server, stays in.
"""

import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trajops.contracts.validations import CheckOut
from trajops.forecasters.checks import probe_histories
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.ports import Forecaster
from trajops.selection.results import judged, measured
from trajops.selection.rules import BatteryRule, LatencyRule
from trajops.selection.subject import Subject

P99, MEDIAN = "the 99th percentile", "the median"
YARDSTICK_AGENTS = 256
MIN_CALLS = 20
WARM_UP_CALLS = 5


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of the quietest of some rounds.

    Attributes:
        p50_ms: median time of one forecast.
        p99_ms: its 99th percentile.
        yardstick_ms: median time of constant velocity for 256 agents.
        ratio: median over yardstick in one round, the smallest of the rounds.
        calls: timed.
    """

    p50_ms: float
    p99_ms: float
    yardstick_ms: float
    ratio: float
    calls: int


def check_latency(subject: Subject, rules: BatteryRule) -> CheckOut:
    """The 99th percentile against an absolute limit, the median against one that grows with the machine's slowness."""
    rule = rules.latency
    found = take_times(subject.forecaster, rule)
    figures = [
        measured(P99, found.p99_ms, "ms", at_most=rule.p99_ms),
        measured("the median over the yardstick", found.ratio, at_most=rule.yardsticks),
        measured(MEDIAN, found.p50_ms, "ms"),
        measured("the yardstick", found.yardstick_ms, "ms"),
    ]
    return judged(
        "latency", figures, f"One forecast takes {found.p50_ms:.3g} ms, 99 of 100 at most {found.p99_ms:.3g} ms, over {found.calls} calls."
    )


def interruptions() -> int:
    """How often the system has taken the processor away from this thread, while it had work to do."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def take_times(
    forecaster: Forecaster,
    rule: LatencyRule,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
    interrupted: Callable[[], int] = interruptions,
) -> Latency:
    """Time a model and the yardstick in turns, so that what slows the machine down meets both."""
    probes = probe_histories(forecaster.window)
    one_m, many_m = probes[1:2], np.resize(probes, (YARDSTICK_AGENTS, *probes.shape[1:]))
    baseline = ConstantVelocity(window=forecaster.window)
    for _ in range(WARM_UP_CALLS):
        forecaster.forecast(one_m)
        baseline.forecast(many_m)
    p50s, p99s, yardsticks, ratios, calls = [], [], [], [], 0
    for _ in range(rule.rounds):
        mine: list[int] = []
        theirs: list[int] = []
        is_whole: list[bool] = []
        until_ns = clock_ns() + int(rule.round_s * 1e9)
        while len(mine) < rule.calls and (len(mine) < MIN_CALLS or clock_ns() < until_ns):
            before = interrupted()
            started_ns = clock_ns()
            forecaster.forecast(one_m)
            mine.append(clock_ns() - started_ns)
            is_whole.append(interrupted() == before)
            started_ns = clock_ns()
            baseline.forecast(many_m)
            theirs.append(clock_ns() - started_ns)
        whole = _whole(mine, is_whole)
        p50, p99, yardstick = float(np.median(whole)), float(np.quantile(whole, 0.99)), float(np.median(theirs))
        p50s.append(p50)
        p99s.append(p99)
        yardsticks.append(yardstick)
        ratios.append(p50 / max(yardstick, 1.0))
        calls += len(mine)
    return Latency(min(p50s) / 1e6, min(p99s) / 1e6, min(yardsticks) / 1e6, min(ratios), calls)


def _whole(taken_ns: list[int], is_whole: list[bool]) -> list[int]:
    """Times of calls that ran through; all, where these are too few to speak for the rest, as of calls longer than a slice of time."""
    kept = [one for one, is_kept in zip(taken_ns, is_whole, strict=True) if is_kept]
    return kept if len(kept) >= max(MIN_CALLS, len(taken_ns) // 2) else taken_ns


def times_ms(check: CheckOut) -> tuple[float, float]:
    """Median and 99th percentile that a check has found; endless where it found none."""
    found = {figure.name: figure.measured for figure in check.figures}
    median, p99 = found.get(MEDIAN), found.get(P99)
    return math.inf if median is None else median, math.inf if p99 is None else p99
