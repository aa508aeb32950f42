"""Drift of one scene, muted columns, and references that an operator chooses."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from data.stubs import MemoryDatabase
from tests.drift_windows import RULES, START_S, FixedSource, SecondsClock, feed, monitor, together, wandering
from trajops.contracts.drift import (
    UNIT_RULE,
    DriftCheckOut,
    DriftMute,
    DriftSettings,
    ReferenceChoice,
)
from trajops.drift.columns import Rows
from trajops.drift.quality import Counts
from trajops.drift.watch import Watch
from trajops.services.drift import DriftMonitor


def two_scenes(
    *, span_s: float, seed: int, agents: int, gain: float = 1.0, start_s: float = START_S, names: tuple[str, str] = ("a", "b")
) -> Rows:
    """Traffic of two scenes; `gain` is that of the second."""
    one = wandering(agents, span_s=span_s, seed=seed, start_s=start_s)
    other = wandering(agents, span_s=span_s, seed=seed + 500, start_s=start_s, gain=gain)
    order = np.argsort(np.concatenate([one.times_s, other.times_s]), kind="stable")
    values = {name: np.concatenate([one.values[name], other.values[name]])[order] for name in one.values}
    scenes = np.repeat([0, 1], [len(one), len(other)])[order]
    agent = np.concatenate([one.agents, other.agents + 100_000])[order]
    times_s = np.concatenate([one.times_s, other.times_s])[order]
    return Rows(times_s, agent, np.ones(len(order), dtype=int), values, scenes, names)


def checked(tmp_path: Path, database: MemoryDatabase, current: Rows, checks: int = 3) -> DriftCheckOut:
    """The last of some checks, far enough apart to confirm each other."""
    reference = two_scenes(span_s=3600, seed=0, agents=900, start_s=START_S - 100_000)
    clock = SecondsClock()
    watch = DriftMonitor(FixedSource({"backfill": reference, "live": current}), database.unit_of_work, RULES, tmp_path, clock)
    for number in range(checks):
        clock.at_s = START_S + 420 + 130 * number
        check = watch.check()
    return check


def test_a_scene_drifts_alone(tmp_path: Path) -> None:
    check = checked(tmp_path, MemoryDatabase(), two_scenes(span_s=900, seed=7, agents=330, gain=1.6))
    assert check.verdict == "drift"
    assert [(scene.scene, scene.verdict) for scene in check.scenes] == [("b", "drift"), ("a", "stable")]
    flagged = next(column for column in check.scenes[0].columns if column.column == "speed_mps")
    assert sum(flagged.current_share) == pytest.approx(1, abs=1e-3)
    assert all(not column.bins for column in check.scenes[1].columns)


def test_a_new_scene_is_drift_at_once(tmp_path: Path) -> None:
    check = checked(tmp_path, MemoryDatabase(), two_scenes(span_s=900, seed=7, agents=330, names=("a", "hall")), checks=1)
    assert check.verdict == "drift"
    assert "hall" in check.sentence
    assert (check.quality[0].kind, check.quality[0].scene, check.quality[0].verdict) == ("new_scene", "hall", "bad")


def test_muted_columns_raise_no_alarm_and_are_shown(tmp_path: Path) -> None:
    """A time step of half the length is drift by its ratio and its distribution; muted, neither says so."""
    clean = two_scenes(span_s=900, seed=7, agents=330)
    halved = Rows(
        clean.times_s,
        clean.agents,
        clean.versions,
        {**clean.values, "dt_s": clean.values["dt_s"] / 2},
        clean.scenes,
        clean.scene_names,
    )
    assert checked(tmp_path, MemoryDatabase(), halved).verdict == "drift"
    database, until = MemoryDatabase(), datetime(2100, 1, 1, tzinfo=UTC)
    with database.unit_of_work() as work:
        work.drift_settings.put(DriftSettings(mutes=[DriftMute(column="dt_s", until=until)]))
    check = checked(tmp_path, database, halved)
    assert check.verdict == "stable"
    assert {column.column for column in check.columns if column.muted_until == until and column.is_drifted} == {"dt_s", "dt_s_ratio"}


def test_a_reference_that_has_settled_is_learnt_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read again every ten minutes, it must be the same to the row: what is learnt from it takes seconds."""
    learnt = []
    of = Watch.of
    monkeypatch.setattr(Watch, "of", lambda rules, rows: learnt.append(len(rows)) or of(rules, rows))
    reference = wandering(600, span_s=3600, seed=0, start_s=START_S - 100_000)
    watch, clock = monitor(tmp_path, reference, wandering(600, span_s=2400, seed=1))
    seen = set()
    for clock.at_s in np.arange(START_S + 300, START_S + 2400, 610):
        seen.add(watch.check().reference_since)
    assert learnt == [len(reference)]
    assert len(seen) == 1


def test_what_a_former_reference_flagged_confirms_nothing(tmp_path: Path) -> None:
    """A known change is drift until an operator chooses a range since then: the very next check has nothing to say against it."""
    database, clock = MemoryDatabase(), SecondsClock()
    reference = wandering(1500, span_s=3600, seed=0, start_s=START_S - 100_000)
    source = FixedSource({"backfill": reference, "live": wandering(1700, span_s=5400, seed=3, gain=1.6)})
    watch = DriftMonitor(source, database.unit_of_work, RULES, tmp_path, clock)
    for clock.at_s in (START_S + 4800, START_S + 4930, START_S + 5060):
        check = watch.check()
    assert check.verdict == "drift"
    since, until = (datetime.fromtimestamp(START_S + second, UTC) for second in (0, 3600))
    with database.unit_of_work() as work:
        work.drift_settings.put(DriftSettings(reference=ReferenceChoice(kind="range", since=since, until=until)))
    source.by_source = {"live": source.by_source["live"]}
    clock.at_s = START_S + 5090
    assert watch.check().verdict == "stable"


def test_a_range_without_agents_says_what_is_wrong(tmp_path: Path) -> None:
    database, clock = MemoryDatabase(), SecondsClock()
    since, until = datetime(1, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)
    with database.unit_of_work() as work:
        work.drift_settings.put(DriftSettings(reference=ReferenceChoice(kind="range", since=since, until=until)))
    clock.at_s = START_S + 600
    check = DriftMonitor(FixedSource({"live": wandering(300, span_s=600, seed=1)}), database.unit_of_work, RULES, tmp_path, clock).check()
    assert check.verdict == "insufficient_data"
    assert "to 2020-01-01 00:00 UTC, has fewer than 120 agents" in check.sentence
    assert "lower min_agents of reference, current and units" in check.sentence


@pytest.mark.parametrize("is_fast", [False, True])
def test_data_that_are_bad_in_themselves_are_told_without_a_reference(tmp_path: Path, is_fast: bool) -> None:
    live = wandering(300, span_s=600, seed=1)
    live.values["max_speed_mps"] = np.full(len(live), 200.0 if is_fast else 1.0)  # type: ignore[index]
    counts = Counts(predictions=1000, unusable=0 if is_fast else 900, positions=1000, repeated=0 if is_fast else 900)
    source = FixedSource({"live": live}, counts)
    check = DriftMonitor(source, MemoryDatabase().unit_of_work, RULES, tmp_path, SecondsClock(START_S + 290)).check()
    assert (check.verdict, check.columns) == ("insufficient_data", [])
    assert check.sentence.startswith("No reference of at least 120 agents yet")
    assert "lower min_agents of reference, current and units" in check.sentence
    bad = {one.kind for one in check.quality if one.verdict == "bad"}
    assert bad == ({"impossible_speed"} if is_fast else {"missing", "duplicates"})


def test_an_operator_s_range_is_the_reference(tmp_path: Path) -> None:
    """The range lies in live traffic of twice the speed; traffic of that speed is then no drift, and the recorded history is not asked."""
    database, clock = MemoryDatabase(), SecondsClock()
    fast = wandering(1500, span_s=4800, seed=3, gain=2.0)
    source = FixedSource({"live": fast})
    since, until = (datetime.fromtimestamp(START_S + second, UTC) for second in (0, 3600))
    with database.unit_of_work() as work:
        work.drift_settings.put(DriftSettings(reference=ReferenceChoice(kind="range", since=since, until=until)))
    clock.at_s = START_S + 4800
    check = DriftMonitor(source, database.unit_of_work, RULES, tmp_path, clock).check()
    assert check.verdict == "stable"
    assert check.reference_since is not None
    assert since <= check.reference_since < check.reference_until <= until  # type: ignore[operator]


def test_scenes_beyond_the_busiest_are_held_against_themselves(tmp_path: Path) -> None:
    """A road on which all are five times as fast is no other unit when the lanes that it is counted with sleep."""

    def city(minutes: int, *, seed: int, start_s: float, awake: tuple[str, ...]) -> Rows:
        counts = {"square": (40, 1.0), "lane": (25, 1.0), "yard": (25, 1.0), "road": (12, 5.0)}
        feeds = {
            name: feed(count, minutes, gain=gain, seed=seed + 100_000 * number, start_s=start_s)
            for number, (name, (count, gain)) in enumerate(counts.items())
            if name in awake
        }
        return together(*feeds.values(), names=tuple(feeds))

    reference = city(60, seed=0, start_s=START_S - 100_000, awake=("square", "lane", "yard", "road"))
    rules = RULES.model_copy(update={"scenes": RULES.scenes.model_copy(update={"most": 1})})
    source = FixedSource({"backfill": reference, "live": city(10, seed=7_000_000, start_s=START_S, awake=("road",))})
    check = DriftMonitor(source, MemoryDatabase().unit_of_work, rules, tmp_path, SecondsClock(START_S + 600)).check()
    units = {column.column: column.is_drifted for column in check.columns if column.method == UNIT_RULE}
    assert units == {"speed_mps_ratio": False, "dt_s_ratio": False}, check.sentence


def test_a_finding_says_how_many_agents_its_scene_has_in_the_window_of_the_columns(tmp_path: Path) -> None:
    """By that, one camera of many is told from what moves all of them."""

    def city(minutes: int, *, seed: int, start_s: float, gain: float = 1.0) -> Rows:
        lane, hall = (feed(count, minutes, seed=seed + count * 9000, start_s=start_s, gain=by) for count, by in ((10, gain), (30, 1.0)))
        return together(lane, hall, names=("lane", "hall"))

    source = FixedSource({"backfill": city(60, seed=0, start_s=START_S - 100_000), "live": city(20, seed=500, start_s=START_S, gain=3.28)})
    check = DriftMonitor(source, MemoryDatabase().unit_of_work, RULES, tmp_path, SecondsClock(START_S + 1200)).check()
    assert {(one.scene, one.agents) for one in check.quality if one.kind == "unit"} == {("lane", 50), ("hall", 150)}
