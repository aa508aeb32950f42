"""Feeds of a few agents a minute: units and quality are told by more of the newest traffic, so that no other unit is missed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from data.stubs import MemoryDatabase
from tests.drift_windows import FEET, RULES, START_S, FixedSource, SecondsClock, feed, together
from trajops.contracts.drift import UNIT_RULE, DriftCheckOut
from trajops.drift.columns import Rows
from trajops.drift.doubt import trouble
from trajops.drift.quality import Counts, Usual, Wider, findings
from trajops.drift.rules import QualityRule, UnitRule
from trajops.drift.units import UnitBounds, unit_bounds, unit_column
from trajops.services.drift import DriftMonitor


def checks_of(folder: Path, per_minute: int, gain: float) -> list[DriftCheckOut]:
    """A check each minute of the last ten of twenty."""
    reference = feed(per_minute, 120, seed=0, start_s=START_S - 100_000)
    source = FixedSource({"backfill": reference, "live": feed(per_minute, 20, gain=gain, seed=5000)})
    clock = SecondsClock()
    monitor, found = DriftMonitor(source, MemoryDatabase().unit_of_work, RULES, folder, clock), []
    for clock.at_s in np.arange(START_S + 600, START_S + 1200, 60).tolist():
        found.append(monitor.check())
    return found


@pytest.mark.parametrize(("per_minute", "window_s"), [(3, 600.0), (5, 600.0), (10, 300.0), (25, 300.0), (45, 60.0)])
def test_feet_are_seen_however_few_agents_a_minute_has(tmp_path: Path, per_minute: int, window_s: float) -> None:
    found = checks_of(tmp_path, per_minute, FEET)
    assert all(trouble(check) is not None for check in found)
    units = {column.window_s for check in found for column in check.columns if column.method == UNIT_RULE}
    assert units == {window_s}


def test_agents_of_a_new_scene_tell_no_unit_and_hide_none(tmp_path: Path) -> None:
    """Five minutes hold 25 agents in feet and ten of a scene that the reference does not know: too few for a unit."""
    known, new = feed(5, 20, gain=FEET, seed=5000), feed(2, 20, seed=9000)
    order = np.argsort(np.concatenate([known.times_s, new.times_s]), kind="stable")
    both = Rows(
        np.concatenate([known.times_s, new.times_s])[order],
        np.concatenate([known.agents, new.agents + 100_000])[order],
        np.concatenate([known.versions, new.versions])[order],
        {name: np.concatenate([known.values[name], new.values[name]])[order] for name in known.values},
        np.repeat([0, 1], [len(known), len(new)])[order],
        ("", "new"),
    )
    clock = SecondsClock(START_S + 900)
    source = FixedSource({"backfill": feed(5, 120, seed=0, start_s=START_S - 100_000), "live": both})
    check = DriftMonitor(source, MemoryDatabase().unit_of_work, RULES, tmp_path, clock).check()
    [speed] = [column for column in check.columns if column.column == "speed_mps_ratio"]
    assert (speed.window_s, speed.is_drifted) == (600.0, True)


def test_who_stands_as_ever_tells_no_unit_and_hides_none(tmp_path: Path) -> None:
    """Five walk in each minute, in feet, and five stand on another square, as they always did."""

    def squares(minutes: int, *, gain: float, seed: int, start_s: float) -> Rows:
        walk, stand = feed(5, minutes, gain=gain, seed=seed, start_s=start_s), feed(5, minutes, seed=seed + 900_000, start_s=start_s)
        for name in ("speed_mps", "path_m"):
            stand.values[name] = np.zeros(len(stand))
        return together(walk, stand, names=("walk", "bench"))

    reference = squares(120, gain=1.0, seed=0, start_s=START_S - 100_000)
    source = FixedSource({"backfill": reference, "live": squares(20, gain=FEET, seed=5000, start_s=START_S)})
    check = DriftMonitor(source, MemoryDatabase().unit_of_work, RULES, tmp_path, SecondsClock(START_S + 900)).check()
    [speed] = [column for column in check.columns if column.column == "speed_mps_ratio"]
    assert (speed.window_s, speed.is_drifted) == (600.0, True)


@pytest.mark.parametrize("per_minute", [3, 5, 10, 25])
def test_nothing_is_wrong_with_a_small_feed_that_is_as_ever(tmp_path: Path, per_minute: int) -> None:
    found = checks_of(tmp_path, per_minute, 1.0)
    assert [check.sentence for check in found if trouble(check) is not None] == []


def test_a_unit_is_told_by_the_last_minute_where_that_holds_enough() -> None:
    rule, reference = UnitRule(), feed(200, 10, seed=0)
    rows = feed(40, 5, seed=100)
    rows.values["speed_mps"][rows.times_s > START_S + 240] *= FEET
    bounds = unit_bounds(rule, "speed_mps", reference, 300.0)
    found = {enough: unit_column(rule.model_copy(update={"min_agents": enough}), "speed_mps", bounds, rows, 300.0) for enough in (30, 50)}
    told = {enough: column and (column.method, column.window_s, column.is_drifted) for enough, column in found.items()}
    assert told == {30: (UNIT_RULE, 60.0, True), 50: (UNIT_RULE, 300.0, False)}


@pytest.mark.parametrize("longest_s", [0.0, 300.0])
def test_what_few_agents_of_many_minutes_do_widens_the_bounds(longest_s: float) -> None:
    """Ten walk in each of five minutes, three times as fast as usual: no minute tells, all of them do."""
    usual, quick = feed(10, 20, seed=0), feed(10, 5, gain=3.0, seed=50, start_s=START_S + 1200)
    reference = Rows(
        np.concatenate([usual.times_s, quick.times_s]),
        np.concatenate([usual.agents, quick.agents + 1000]),
        np.concatenate([usual.versions, quick.versions]),
        {"speed_mps": np.concatenate([usual.values["speed_mps"], quick.values["speed_mps"]])},
    )
    assert unit_bounds(UnitRule(), "speed_mps", usual, longest_s)[""].high == 2.0
    assert unit_bounds(UnitRule(), "speed_mps", reference, longest_s)[""].high > 2.5


def test_quality_is_told_by_more_where_the_last_minute_holds_too_few() -> None:
    rule = QualityRule()
    usual, rows = Usual.of(feed(10, 20, seed=0), rule), feed(10, 5, seed=100)
    assert [one.verdict for one in findings(rows, None, usual, rule, new_min_agents=10)] == ["insufficient_data"]
    found = findings(rows, None, usual, rule, new_min_agents=10, wider=[Wider(rows, 300.0)])
    assert [(one.kind, one.window_s) for one in found if one.kind == "frozen"] == [("frozen", 300.0)]


def test_traffic_that_has_ended_is_not_judged_for_long_after(tmp_path: Path) -> None:
    """Feet for three minutes, nothing for half an hour: the first empty window says nothing of them."""
    reference = feed(45, 60, seed=0, start_s=START_S - 100_000)
    source = FixedSource({"backfill": reference, "live": feed(45, 3, gain=FEET, seed=5000)})
    clock = SecondsClock()
    monitor = DriftMonitor(source, MemoryDatabase().unit_of_work, RULES, tmp_path, clock)
    told = {}
    for minute in (3, 7, 9, 15, 30):
        clock.at_s = START_S + 60 * minute
        told[minute] = trouble(monitor.check()) is not None
    assert told == {3: True, 7: True, 9: False, 15: False, 30: False}


def rows_of_agents(*agents: tuple[str, float, int, float]) -> Rows:
    """A row of each agent every ten seconds, of a scene, from a second on, so many of them, at a constant speed."""
    names = tuple(sorted({scene for scene, *_ in agents}))
    counts = [count for *_, count, _ in agents]
    times_s = np.concatenate([since_s + 10.0 * np.arange(count) for _, since_s, count, _ in agents])
    scenes = np.repeat([names.index(scene) for scene, *_ in agents], counts)
    values = {"speed_mps": np.repeat([speed_mps for *_, speed_mps in agents], counts)}
    order = np.argsort(times_s, kind="stable")
    rows = Rows(times_s, np.repeat(np.arange(len(agents)), counts), np.ones(len(times_s), dtype=int), values, scenes, names)
    return rows.select(order)


def test_a_few_who_walk_for_long_among_many_who_stand_briefly_have_bounds_in_long_windows() -> None:
    """Most minutes of agents are of somebody who walks; most agents stand."""
    stand = [("yard", 30.0 * number, 1, 0.0) for number in range(40)]
    walk = [("yard", 0.0, 120, 1.3) for _ in range(5)]
    bounds = unit_bounds(UnitRule(), "speed_mps", rows_of_agents(*stand, *walk), 1200.0)
    assert (bounds["yard"].usual, bounds["yard"].low) == (1.3, 0.0)


def test_a_scene_of_few_that_stay_for_long_is_held_against_its_own_in_long_windows_too() -> None:
    """Twenty drive for five minutes each beside two hundred who walk: a hundred minutes of agents tell what is usual on the road."""
    drive = [("road", 60.0 * number, 30, 10.0) for number in range(20)]
    walk = [("square", 6.0 * number, 6, 1.3) for number in range(200)]
    bounds = unit_bounds(UnitRule(), "speed_mps", rows_of_agents(*drive, *walk), 1200.0)
    assert bounds["road"] == unit_bounds(UnitRule(), "speed_mps", rows_of_agents(*drive, *walk))["road"]
    feet = rows_of_agents(*[("road", 30.0 * number, 20, 32.8) for number in range(40)])
    found = unit_column(UnitRule(), "speed_mps", bounds, feet, 1200.0)
    assert found is not None
    assert found.is_drifted


def streets(count: int, per_minute: float, minutes: int, *, seed: int, start_s: float = START_S, gain: float = 1.0) -> Rows:
    """Quiet streets, to which people come in pairs: three in ten pairs stand about, the others walk."""
    rng = np.random.default_rng(seed)
    pairs = rng.poisson(count * per_minute * minutes / 2)
    scenes, came_s = rng.integers(0, count, pairs).repeat(2), rng.uniform(0, 60 * minutes, pairs).repeat(2)
    speeds = np.where(rng.random(pairs).repeat(2) < 0.3, rng.uniform(0.02, 0.12, 2 * pairs), rng.normal(1.35, 0.2, 2 * pairs)) * gain
    times_s = (came_s[:, None] + 0.4 * np.arange(3)).ravel()
    order = np.argsort(times_s, kind="stable")
    agents = np.arange(2 * pairs).repeat(3)[order]
    ones = np.ones(len(order), dtype=int)
    names = tuple(f"street-{number}" for number in range(count))
    return Rows(start_s + times_s[order], agents, ones, {"speed_mps": speeds[agents]}, scenes.repeat(3)[order], names)


@pytest.mark.parametrize(
    ("count", "per_minute", "minutes"), [(40, 1.0, 24 * 60), (20, 2.0, 60), (1, 8.0, 60)], ids=["a day of many", "an hour", "one street"]
)
def test_quiet_streets_are_no_other_unit_and_feet_are(count: int, per_minute: float, minutes: int) -> None:
    """No street has a minute of its own that tells anything; together, most of some thirty agents stand by chance now and then."""
    rule = UnitRule()
    bounds = unit_bounds(rule, "speed_mps", streets(count, per_minute, minutes, seed=0, start_s=START_S - 100_000), 300.0)
    bare = {name: UnitBounds(one.usual, rule.low, rule.high) for name, one in bounds.items()}

    def told(rows: Rows, held_against: Mapping[str, UnitBounds]) -> list[bool]:
        cuts = np.searchsorted(rows.times_s, [START_S + 60 * minute for minute in range(361)]).tolist()
        minutes = [rows.select(slice(begin, end)) for begin, end in zip(cuts[:-5], cuts[5:], strict=True)]
        found = [unit_column(rule, "speed_mps", held_against, minute, 300.0) for minute in minutes]
        return [column.is_drifted for column in found if column is not None]

    clean, feet = (streets(count, per_minute, 360, seed=1, gain=gain) for gain in (1.0, FEET))
    assert not any(told(clean, bounds))
    assert any(told(clean, bare)), "the control: by the bounds of the rule alone it is"
    assert np.mean(told(feet, bounds)) > 0.9


def test_a_scene_that_stood_still_does_not_hide_another_unit() -> None:
    """Where nothing is too slow, a standing agent says nothing: it is no reason to say nothing of the others."""
    walking, standing = feed(40, 1, gain=1 / FEET, seed=0), feed(3, 1, gain=0.0, seed=9)
    rows = together(walking, standing, names=("street", "bench"))
    bounds = {"street": UnitBounds(1.0, 0.5, 2.0), "bench": UnitBounds(1.0, 0.0, 2.0)}
    found = unit_column(UnitRule(), "speed_mps", bounds, rows)
    assert found is not None
    assert found.is_drifted


def test_what_is_counted_is_counted_over_as_much_as_holds_enough(tmp_path: Path) -> None:
    """Five agents a minute: a minute's tables hold too few predictions to say that half of them are unusable."""
    source = CountingSource({"backfill": feed(5, 240, seed=0, start_s=START_S - 100_000), "live": feed(5, 20, seed=5000, rows=3)})
    found = DriftMonitor(source, MemoryDatabase().unit_of_work, RULES, tmp_path, SecondsClock(START_S + 1190)).check()
    assert {(one.kind, one.verdict) for one in found.quality if one.kind in {"missing", "duplicates"}} == {
        ("missing", "bad"),
        ("duplicates", "bad"),
    }


class CountingSource(FixedSource):
    """Counts the rows that are there; half of them are unusable, and half repeat another one."""

    def counts(self, since: datetime, until: datetime, sources: Sequence[str]) -> Counts:
        count = len(self.rows(since, until, sources))
        return Counts(count, count // 2, count, count // 2)
