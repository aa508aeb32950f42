"""How long it takes until a change of the traffic is called drift, at up to 50 predictions/s, at any time of the day, one check in 30 s.

Each change comes at a random time of a random day; the check is followed from before it until the verdict is `drift`. Times are those of
traffic at 50 predictions/s: predictions since the change over 50, in seconds, so that a night with less traffic counts as what it is; the
time itself where more came, in a rush or from clients that send twice as often. Wall times stand beside them. The value is the worst time
of the large changes (feet for metres, twice the noise, another sampling rate, swapped axes, a new scene); the limits bound the median and
the worst of each.

`TRAJOPS_BENCH_TRACKS` as in `drift_false_alarms`; `TRAJOPS_BENCH_INJECTIONS` is the number of times each change is made.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.drift_days import CHANGES, CLEAN, MONDAY_S, Change, City, Place, joined
from benchmarks.drift_follow import Follower, city, rules
from benchmarks.record import Measurement
from trajops.drift.columns import Rows
from trajops.drift.watch import Conclusion, Look, Watch

COUNT_VARIABLE = "TRAJOPS_BENCH_INJECTIONS"
EVERY_S = 30.0
RATE_PER_S = 50.0
# Of traffic; and however little there is, of time.
GIVE_UP_S, LONGEST_S = 900.0, 5_400.0
LARGE = ("feet_for_metres", "noise_x2", "rate_5_hz", "swapped_axes", "new_scene")
SMALL = ("speed_plus_10", "speed_plus_5", "scene_under_an_old_name")
REFERENCE_DAYS = 3


def run(injections: int | None = None) -> Measurement:
    """Make every change as often as asked."""
    injections = injections or int(os.environ.get(COUNT_VARIABLE, "20"))
    found, new = city(seed=0)
    watch = Watch.of(rules(), found.reference(REFERENCE_DAYS, rules().reference.max_rows))
    details: dict[str, Any] = {"injections": injections, "scenes": list(found.names)}
    worst = 0.0
    for name in (*LARGE, *SMALL):
        rng = np.random.default_rng(sum(map(ord, name)))
        results = [detect(watch, found, new, name, float(rng.uniform(0, 7 * 86_400 - 3600))) for _ in range(injections)]
        traffic_s = [result["traffic_s"] for result in results]
        details[name] = {
            "median_s": round(float(np.median(traffic_s)), 1),
            "worst_s": round(max(traffic_s), 1),
            "wall_worst_s": round(max(result["wall_s"] for result in results), 1),
            "missed": sum(not result["is_found"] for result in results),
            "at_once": sum(result["is_at_once"] for result in results),
            "false_before": sum(result["is_early"] for result in results),
        }
        details[f"{name}_worst_s"] = round(max(traffic_s), 1)
        print(f"         {name}: {details[name]}", flush=True)
        if name in LARGE:
            worst = max(worst, *traffic_s)
    return Measurement(round(worst, 1), details)


def detect(watch: Watch, city: City, new: Place, name: str, onset_s: float) -> Mapping[str, Any]:
    """One change, `onset_s` seconds after Monday, midnight.

    Returns:
        `traffic_s` and `wall_s` until the verdict, `is_found` before it was given up, `is_at_once` without a confirmation, `is_early` if
        the verdict was drift before the change.
    """
    rows = changed(city, new, name, onset_s)
    at_s, onset_s = MONDAY_S + onset_s, MONDAY_S + onset_s
    follower = Follower(watch)
    offset_s = np.random.default_rng(int(onset_s)).uniform(0, EVERY_S)
    is_early = False
    for at_s in np.arange(onset_s - 4 * EVERY_S + offset_s, onset_s + LONGEST_S, EVERY_S).tolist():
        if ((rows.times_s >= onset_s) & (rows.times_s < at_s)).sum() > GIVE_UP_S * RATE_PER_S:
            break
        look, told = follower.check(rows, at_s)
        if at_s <= onset_s:
            is_early = is_early or told.verdict == "drift"
        elif told.verdict == "drift":
            return _result(rows, onset_s, at_s, is_early=is_early, is_found=True, is_at_once=_is_at_once(look, told))
    return _result(rows, onset_s, at_s, is_early=is_early, is_found=False, is_at_once=False)


def changed(city: City, new: Place, name: str, onset_s: float) -> Rows:
    """Traffic around a change."""
    first = int((onset_s - 700) // 3600) - 1
    hours = range(first, int((onset_s + LONGEST_S + 60) // 3600) + 1)
    at_s = MONDAY_S + onset_s
    clean = joined(list(city.traffic(hours)), city.names)
    if name == "new_scene":
        extra = joined(list(city.traffic(hours, places=[new])), (new.name,))
        return joined([clean, _named(extra.select(extra.times_s >= at_s), clean.scene_names, new.name)], (*city.names, new.name))
    if name == "scene_under_an_old_name":
        victim = len(city.names) - 1
        old = city.places[victim]
        other = Place(old.name, new.tracks, old.peak_hour, old.share)
        extra = joined(list(city.traffic(hours, places=[other])), (old.name,))
        kept = clean.select((clean.times_s < at_s) | (clean.scenes != victim))
        moved = extra.select(extra.times_s >= at_s)
        return joined(
            [kept, Rows(moved.times_s, moved.agents, moved.versions, moved.values, np.full(len(moved), victim), city.names)], city.names
        )
    change: Change = CHANGES.get(name, CLEAN)
    after = joined(list(city.traffic(hours, change=change)), city.names)
    return joined([clean.select(clean.times_s < at_s), after.select(after.times_s >= at_s)], city.names)


def _named(rows: Rows, before: tuple[str, ...], name: str) -> Rows:
    return Rows(rows.times_s, rows.agents, rows.versions, rows.values, np.full(len(rows), len(before)), (*before, name))


def _is_at_once(look: Look, told: Conclusion) -> bool:
    return bool(look.at_once) or any(
        column.method == "unit_rule" and column.is_drifted for column in look.columns if told.verdict == "drift"
    )


def _result(rows: Rows, onset_s: float, at_s: float, *, is_early: bool, is_found: bool, is_at_once: bool) -> Mapping[str, Any]:
    since = int(((rows.times_s >= onset_s) & (rows.times_s < at_s)).sum())
    wall_s = at_s - onset_s
    traffic_s = min(since / RATE_PER_S, wall_s)
    return {"traffic_s": traffic_s, "wall_s": wall_s, "is_found": is_found, "is_at_once": is_at_once, "is_early": is_early}
