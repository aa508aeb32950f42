"""Who asks whether traffic may be learnt from, and that it is held against what drift checks compare with."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.stubs import MemoryDatabase
from tests.drift_windows import START_S, FixedSource, SecondsClock, ends_of, feed, together
from trajops.clock import utc
from trajops.contracts.drift import DriftSettings, ReferenceChoice, TimeRange
from trajops.drift.columns import Rows
from trajops.drift.gaps import Gap, Span, is_left_out
from trajops.drift.learnable import LeftOut, fair_shares
from trajops.drift.rules import DriftRules
from trajops.services.drift import DriftMonitor
from trajops.services.drift_reference import DriftReference
from trajops.services.trust import Trust

RULES = DriftRules.model_validate({"columns": [{"column": "speed_mps", "kind": "input"}]})
WHOLE = Span(utc(int(START_S * 1e9)), utc(int((START_S + 600) * 1e9)))
FEET = 3.28


@dataclass
class Counted(FixedSource):
    """Counts how often what recorded sources hold is read."""

    references: list[datetime] = field(default_factory=list)

    def rows(self, since: datetime, until: datetime, sources: Any, *more: Any) -> Rows:
        if "backfill" in sources:
            self.references.append(since)
        return super().rows(since, until, sources, *more)


def a_source(gain: float) -> Counted:
    before, rows = feed(30, 20, seed=0, start_s=START_S - 86_400), feed(40, 10, gain=gain, seed=500)
    return Counted({"backfill": before.regrouped({"": "north"}), "live": rows.regrouped({"": "north"})})


def trust_of(source: FixedSource, database: MemoryDatabase, *, is_checked: bool = True) -> Trust:
    return Trust(source, DriftReference(source, RULES), database.unit_of_work, is_checked=is_checked)


def test_without_checks_here_or_elsewhere_everything_counts() -> None:
    source, database = a_source(FEET), MemoryDatabase()
    idle = trust_of(source, database, is_checked=False)
    assert (idle.left_out(WHOLE, ("live",)).gaps, idle.wrong(WHOLE, ("live",)).gaps) == ((), ())
    assert source.references == [], "and nothing is read"
    with database.unit_of_work() as work:
        work.jobs.describe("check_drift", "Compares traffic with the reference.", 30)
    assert idle.left_out(WHOLE, ("live",)).gaps == (Gap(*WHOLE),), "another worker checks it"


@pytest.mark.parametrize(("gain", "left_out", "wrong"), [(FEET, (Gap(*WHOLE),), (Gap(*WHOLE),)), (1.0, (540,), ())])
def test_who_can_wait_leaves_out_more(gain: float, left_out: tuple[Any, ...], wrong: tuple[Gap, ...]) -> None:
    trust = trust_of(a_source(gain), MemoryDatabase())
    newest = tuple(Gap(utc(int((START_S + since_s) * 1e9)), WHOLE.until) if isinstance(since_s, int) else since_s for since_s in left_out)
    assert trust.left_out(WHOLE, ("live",)).gaps == newest
    assert trust.wrong(WHOLE, ("live",)).gaps == wrong


def test_without_a_reference_nothing_is_learnt_from_and_anything_compared_on() -> None:
    trust = trust_of(FixedSource({"live": feed(40, 1, seed=500, start_s=START_S + 540)}), MemoryDatabase())
    found = trust.left_out(WHOLE, ("live",))
    assert found.gaps == (Gap(*WHOLE),)
    assert found.sentence == "100 % of the traffic is left out: 100 % has no reference to be judged by"
    assert trust.wrong(WHOLE, ("live",)).gaps == ()


def test_checks_and_learning_share_one_reference_as_it_is_chosen(tmp_path: Path) -> None:
    """Once it is settled it is read for neither; and what is left out of it by scene is left out for both."""
    source, database, clock = a_source(1.0), MemoryDatabase(), SecondsClock(START_S + 600)
    reference = DriftReference(source, RULES)
    monitor = DriftMonitor(source, database.unit_of_work, RULES, tmp_path, clock, reference=reference)
    trust = Trust(source, reference, database.unit_of_work, is_checked=True)
    checks = [monitor.check() for _ in range(2)]
    read = len(source.references)
    assert trust.left_out(WHOLE, ("live",)).wrong == 0
    assert len(source.references) == read
    source.by_source.pop("live")
    since, until = (utc(int((START_S - 86_400 + at_s) * 1e9)) for at_s in (0, 1200))
    for scene, agents in (("elsewhere", checks[0].reference_agents), ("north", 0)):
        choice = ReferenceChoice(kind="range", since=since, until=until, without=[TimeRange(since=since, until=until, scene=scene)])
        with database.unit_of_work() as work:
            work.drift_settings.put(DriftSettings(reference=choice))
        assert monitor.check().reference_agents == agents
    assert trust.left_out(WHOLE, ("live",)).because == "has no reference to be judged by"


def test_a_scene_that_is_left_out_of_the_reference_is_new() -> None:
    feeds = [feed(30, 20, seed=seed, start_s=START_S - 86_400) for seed in (0, 500)]
    source = FixedSource({"backfill": together(*feeds, names=("north", "south"))})
    since, until = (utc(int((START_S - 86_400 + at_s) * 1e9)) for at_s in (0, 1200))
    choice = ReferenceChoice(kind="range", since=since, until=until, without=[TimeRange(since=since, until=until, scene="north")])
    found = DriftReference(source, RULES).at(WHOLE.until, choice)
    assert found is not None
    assert (found.watch.usual.scenes, set(found.watch.grouped)) == ({"south"}, {"south"})


# Of many rows, some


def test_a_quiet_scene_stays_whole_beside_a_busy_one() -> None:
    assert fair_shares({"quiet": 100, "busy": 900, "none": 0}, 500) == {"none": 1.0, "quiet": 1.0, "busy": pytest.approx(400 / 900)}
    assert fair_shares({"one": 1000, "other": 1000}, 500) == {"one": 0.25, "other": 0.25}
    assert fair_shares({"one": 100, "other": 300}, 500) == {"one": 1.0, "other": 1.0}
    assert fair_shares({}, 500) == {}


def in_scenes(per_minute: int, of_square: int, *, feet: bool, seed: int, start_s: float) -> Rows:
    """Half an hour of a square and three quiet scenes, the last of them in feet or not."""
    feeds = [(of_square, 1.0), (per_minute, 1.0), (per_minute, 1.0), (per_minute, FEET if feet else 1.0)]
    parts = [feed(count, 30, gain=gain, seed=seed + 999 * number, start_s=start_s) for number, (count, gain) in enumerate(feeds)]
    return together(*parts, names=("square", "lane", "yard", "dock"))


@dataclass
class WholeAgents(FixedSource):
    """Negative control: of as many rows, always the same agents, each with all of its own."""

    def some(self, since: datetime, until: datetime, sources: Any, step_s: float, most: int, *, by_scene: bool = True) -> Rows:
        rows = self.rows(since, until, sources)
        shares = fair_shares(dict(enumerate(np.bincount(rows.scenes).tolist())), most)
        drawn = np.random.default_rng(7).random(rows.agents.max() + 1)
        return rows.select(drawn[rows.agents] < np.array([shares[code] for code in sorted(shares)])[rows.scenes])


def left_out_of(before: Rows, rows: Rows, kind: type[FixedSource] = FixedSource, minutes: int = 30) -> tuple[LeftOut, dict[str, float]]:
    """Some minutes judged: what was found, and the share of each scene that is left out."""
    whole = Span(WHOLE.since, utc(int((START_S + 60 * minutes) * 1e9)))
    found = trust_of(kind({"backfill": before, "live": rows}), MemoryDatabase()).left_out(whole, ("live",))
    is_out = is_left_out(rows.times_s, rows.scenes, rows.scene_names, found.gaps)
    return found, {name: float(is_out[rows.scenes == code].mean()) for code, name in enumerate(rows.scene_names)}


def at_pace(scenes: int, agents: int, rows: int, every_s: float, minutes: int, *, seed: int, start_s: float = START_S) -> Rows:
    """Some agents of each scene, that come at any time and keep a pace of their own."""
    rng = np.random.default_rng(seed)
    first_s = start_s + rng.uniform(0, 60 * minutes - (rows - 1) * every_s, scenes * agents)
    times_s = (first_s[:, None] + every_s * np.arange(rows)).ravel()
    own_mps, scene = (np.repeat(column, rows) for column in (rng.gamma(8, 0.17, scenes * agents), np.arange(scenes * agents) % scenes))
    values = {"speed_mps": own_mps, "path_m": own_mps * 7 * every_s, "dt_s": np.full(len(times_s), every_s), "observed_at_s": times_s}
    names = tuple(f"camera {number}" for number in range(scenes))
    codes = np.repeat(np.arange(scenes * agents), rows)
    return Rows(times_s, codes, np.zeros(len(codes), dtype=int), values, scene, names).select(np.argsort(times_s))


def in_feet(rows: Rows, scene: str, since_min: float = 0, until_min: float = 1e9) -> Rows:
    minutes = (rows.times_s - START_S) / 60
    is_feet = (rows.scenes == rows.scene_names.index(scene)) & (minutes >= since_min) & (minutes < until_min)
    scaled = {name: np.where(is_feet, FEET, 1) * rows.values[name] for name in ("speed_mps", "path_m")}
    return Rows(rows.times_s, rows.agents, rows.versions, {**rows.values, **scaled}, rows.scenes, rows.scene_names)


@pytest.mark.parametrize("seed", [1, 2])
def test_ten_minutes_of_feet_of_one_camera_are_found_however_many_rows_its_agents_send(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Ten cameras with twelve agents a minute, each predicted a hundred times."""
    before = at_pace(10, 240, 20, 0.4, 20, seed=0, start_s=START_S - 86_400)
    rows = in_feet(at_pace(10, 720, 100, 0.4, 60, seed=seed), "camera 9", 30, 40)
    monkeypatch.setattr("trajops.services.trust.MOST_ROWS", len(rows) // 6)
    minutes, is_here = (rows.times_s - START_S) / 60, rows.scenes == 9
    is_feet = is_here & (minutes >= 30) & (minutes < 40)

    def feet_left_out(kind: type[FixedSource]) -> tuple[float, dict[str, float]]:
        found, shares = left_out_of(before, rows, kind, 60)
        return float(is_left_out(rows.times_s, rows.scenes, rows.scene_names, found.gaps)[is_feet].mean()), shares

    left_out, shares = feet_left_out(FixedSource)
    assert (left_out, shares.pop("camera 9") < 0.35) == (1, True)
    assert max(shares.values()) < 0.08
    assert min(feet_left_out(WholeAgents)[1].values()) > 0.15, "slices grow, and so does what is left out"


@pytest.mark.parametrize("every_s", [10.0, 2.0, 1.0])
def test_who_stays_all_the_time_is_judged_however_often(monkeypatch: pytest.MonkeyPatch, every_s: float) -> None:
    """Five cameras with sixty agents each that stay for half an hour, one of them in feet."""
    before = at_pace(5, 60, round(1200 / every_s), every_s, 20, seed=0, start_s=START_S - 86_400)
    rows = in_feet(at_pace(5, 60, round(1800 / every_s), every_s, 30, seed=1), "camera 4")
    most = 5 * 60 * 61 * 4
    monkeypatch.setattr("trajops.services.trust.MOST_ROWS", most)
    _, shares = left_out_of(before, rows)
    assert shares.pop("camera 4") == 1
    assert max(shares.values()) < 0.05
    if len(rows) > 3 * most:
        assert left_out_of(before, rows, WholeAgents)[1]["camera 4"] < 0.05, "too few agents of each to tell it by itself"


def test_where_few_agents_of_each_scene_are_read_at_a_time_others_are_read_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of sixty that stay in each of five scenes eighteen are read: too few to tell one scene by itself, if they were always the same."""
    before = at_pace(5, 60, 120, 10.0, 20, seed=0, start_s=START_S - 86_400)
    rows = in_feet(at_pace(5, 60, 360, 10.0, 60, seed=1), "camera 4")
    monkeypatch.setattr("trajops.services.trust.MOST_ROWS", len(rows) * 18 // 60)
    _, shares = left_out_of(before, rows, minutes=60)
    assert shares.pop("camera 4") == 1
    assert max(shares.values()) < 0.25
    assert left_out_of(before, rows, WholeAgents, 60)[1]["camera 4"] < 0.25


def test_feet_of_a_quiet_scene_are_found_where_a_busy_one_fills_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of the rows is read: of each scene alike, that would be twenty agents of the quiet ones, and nothing told of feet."""
    before = in_scenes(6, 45, feet=False, seed=0, start_s=START_S - 86_400)
    rows = in_scenes(3, 45, feet=True, seed=50_000, start_s=START_S)
    monkeypatch.setattr("trajops.services.trust.MOST_ROWS", len(ends_of(rows, START_S + 1800, 30.0)) // 4)
    found, shares = left_out_of(before, rows)
    assert shares["dock"] == 1
    assert max(shares["lane"], shares["yard"]) < 0.4
    assert found.wrong == pytest.approx(3 / 54, abs=0.005), "of all that was sent, and not of what was read"


def test_where_scenes_are_not_told_apart_all_of_them_are_thinned_alike() -> None:
    rows, asked = in_scenes(3, 45, feet=False, seed=1, start_s=START_S), []

    class Asked(FixedSource):
        def some(self, *args: Any, **options: Any) -> Rows:
            asked.append(options)
            return super().some(*args, **options)

    source, database = Asked({"backfill": in_scenes(6, 45, feet=False, seed=0, start_s=START_S - 86_400), "live": rows}), MemoryDatabase()
    for is_split in (True, False):
        rules = RULES.model_copy(update={"scenes": RULES.scenes.model_copy(update={"is_split": is_split})})
        Trust(source, DriftReference(source, rules), database.unit_of_work, is_checked=True).left_out(WHOLE, ("live",))
    assert asked == [{"by_scene": True}, {"by_scene": False}]
