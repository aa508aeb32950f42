"""Positions in another frame: found in busy scenes and in quiet ones, and in none that is as it was."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.drift_windows import FEET, START_S, together
from trajops.drift.columns import Rows
from trajops.drift.frames import places_of
from trajops.drift.likeness import fits
from trajops.drift.quality import Usual, Wider, findings
from trajops.drift.rules import QualityRule

RULE = QualityRule()


def walks(per_minute: dict[str, float], minutes: int, *, seed: int, start_s: float = START_S, swapped: tuple[str, ...] = ()) -> Rows:
    """Streets of 40 m by 6 m, each somewhere else, along which people walk; in some, x and y were sent for each other."""
    parts, names, first = [], tuple(per_minute), 0
    for code, (name, rate) in enumerate(per_minute.items()):
        rng = np.random.default_rng([seed, code])
        count = rng.poisson(rate * minutes)
        where = 0.7 * code + rng.normal(0, 0.2, count)
        x, y = 10.0 * code + rng.uniform(0, 40, count), 100.0 - 20.0 * code + rng.uniform(0, 6, count)
        if name in swapped:
            x, y, where = y, x, np.pi / 2 - where
        parts.append((start_s + rng.uniform(0, 60 * minutes, count), np.arange(first, first + count), x, y, where, np.full(count, code)))
        first += count
    times_s, agents, x, y, heading, scenes = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(times_s, kind="stable")
    values = {"x_m": x[order], "y_m": y[order], "heading_rad": heading[order]}
    return Rows(times_s[order], agents[order], np.ones(len(order), dtype=int), values, scenes[order], names)


def last(rows: Rows, window_s: float) -> tuple[Rows, float]:
    return rows.select(rows.times_s > rows.times_s.max() - window_s), window_s


@pytest.mark.parametrize(
    ("per_minute", "swapped", "told"),
    [
        pytest.param({"a": 60, "b": 60}, ("b",), {("b",): 60.0}, id="busy: by the last minute"),
        pytest.param({"a": 60, "b": 8}, ("b",), {("b",): 300.0}, id="quiet beside a busy one: by five minutes"),
        pytest.param({"a": 12, "b": 12, "c": 12}, ("a", "b", "c"), {("a",): 300.0, ("b",): 300.0, ("c",): 300.0}, id="all, none busy"),
        pytest.param({"a": 1, "b": 1, "c": 1}, ("a", "b", "c"), {("a", "b", "c"): 1200.0}, id="hardly anybody: all together"),
        pytest.param({"a": 60, "b": 8, "c": 1}, (), {}, id="as ever"),
    ],
)
def test_a_frame_is_told_by_as_much_as_holds_agents_enough(
    per_minute: dict[str, float], swapped: tuple[str, ...], told: dict[tuple[str, ...], float]
) -> None:
    places = places_of(walks(per_minute, 240, seed=0, start_s=START_S - 100_000), RULE)
    assert set(places) == set(per_minute)
    rows = walks(per_minute, 20, seed=1, swapped=swapped)
    found = fits(places, [last(rows, window_s) for window_s in (60.0, 300.0, 1200.0)], RULE)
    assert {fit.scenes: fit.window_s for fit in found if fit.gain > fit.limit} == told
    assert all(fit.change == "with swapped axes" for fit in found if fit.gain > fit.limit)


def test_clean_days_of_quiet_scenes_are_in_their_frame() -> None:
    """By what places have not been drawn from: of few agents, a histogram fits those few better than all who come later."""
    per_minute = {f"s{number}": 0.5 for number in range(12)}
    wrong = 0
    for seed in range(6):
        places = places_of(walks(per_minute, 240, seed=100 + seed, start_s=START_S - 100_000), RULE)
        rows = walks(per_minute, 480, seed=200 + seed)
        for end_s in np.arange(START_S + 1200, START_S + 480 * 60, 300):
            seen = rows.select(rows.times_s <= end_s)
            wrong += sum(fit.gain > fit.limit for fit in fits(places, [last(seen, 1200.0)], RULE))
    assert wrong == 0


def a_corner(per_minute: float, minutes: int, *, seed: int, start_s: float = START_S, gain: float = 1.0, is_swapped: bool = False) -> Rows:
    """A corner where people walk about, and a few of them in the far one opposite."""
    rng = np.random.default_rng(seed)
    count = rng.poisson(per_minute * minutes)
    is_near = rng.random(count) < 0.991
    x, y = (np.where(is_near, near_m, -40.0) + rng.uniform(-2, 2, count) for near_m in (10.0, 30.0))
    x, y = (y, x) if is_swapped else (x, y)
    speeds = np.where(rng.random(count) < 0.5, rng.normal(0.5, 0.05, count), rng.normal(1.35, 0.1, count))
    values = {"x_m": gain * x, "y_m": gain * y, "heading_rad": rng.uniform(0, 2 * np.pi, count), "speed_mps": gain * speeds}
    times_s = start_s + np.sort(rng.uniform(0, 60 * minutes, count))
    return Rows(times_s, np.arange(count), np.ones(count, dtype=int), values, np.zeros(count, dtype=int), ("corner",))


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"gain": FEET}, [("unit", "in feet")]), ({"is_swapped": True}, [("frame", "turned")]), ({}, [])],
    ids=["feet", "swapped", "as ever"],
)
def test_feet_are_no_other_frame_that_explains_positions_outside_of_the_place(changes: dict[str, Any], told: list[tuple[str, str]]) -> None:
    """A minute tells a frame, and a unit takes five: what fits better turned by half a turn may come in feet."""
    learnt = Usual.of(a_corner(40, 240, seed=0, start_s=START_S - 100_000), RULE)
    usual = replace(learnt, places={"corner": replace(learnt.places["corner"], limit=1.0)})
    before, now = a_corner(40, 19, seed=1), a_corner(40, 1, seed=2, start_s=START_S + 1140, **changes)
    rows = together(before, now, names=("corner", "now")).regrouped({"now": "corner"})
    looks = [Wider(*last(rows, window_s)) for window_s in (300.0, 1200.0)]
    bad = [one for one in findings(looks[0].rows, None, usual, RULE, new_min_agents=10, wider=looks) if one.verdict == "bad"]
    assert [(one.kind, said in one.sentence) for one, (_, said) in zip(bad, told, strict=True)] == [(kind, True) for kind, _ in told]
