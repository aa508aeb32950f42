"""Who asks whether traffic may be learnt from, and that it is held against what drift checks compare with."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from data.stubs import MemoryDatabase
from tests.drift_windows import START_S, FixedSource, SecondsClock, feed, together
from trajops.clock import utc
from trajops.contracts.drift import DriftSettings, ReferenceChoice, TimeRange
from trajops.drift.columns import Rows
from trajops.drift.gaps import Gap, Span, is_left_out
from trajops.drift.learnable import LeftOut
from trajops.drift.rules import DriftRules
from trajops.services.drift import DriftMonitor
from trajops.services.drift_reference import DriftReference
from trajops.services.trust import Trust, fair_shares

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


def left_out_of(before: Rows, rows: Rows) -> tuple[LeftOut, dict[str, float]]:
    """Half an hour judged: what was found, and the share of each scene that is left out."""
    whole = Span(WHOLE.since, utc(int((START_S + 1800) * 1e9)))
    found = trust_of(FixedSource({"backfill": before, "live": rows}), MemoryDatabase()).left_out(whole, ("live",))
    is_out = is_left_out(rows.times_s, rows.scenes, rows.scene_names, found.gaps)
    return found, {name: float(is_out[rows.scenes == code].mean()) for code, name in enumerate(rows.scene_names)}


def test_many_scenes_are_all_read_for_as_many_rows_as_tell_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """As little as is read of one scene would tell nothing of four."""
    before = in_scenes(6, 6, feet=False, seed=0, start_s=START_S - 86_400)
    rows = in_scenes(3, 3, feet=True, seed=50_000, start_s=START_S)
    monkeypatch.setattr("trajops.services.trust.MAX_ROWS", len(rows) // 8)
    found, shares = left_out_of(before, rows)
    assert (shares["dock"], max(shares["square"], shares["lane"], shares["yard"]) < 0.4) == (1, True)
    assert found.wrong == pytest.approx(1 / 4, abs=0.01)
    monkeypatch.setattr("trajops.services.trust.MOST_ROWS", 0)
    assert left_out_of(before, rows)[0].wrong < 0.2, "with fewer of each they are judged together, where one in feet hides"


def test_feet_of_a_quiet_scene_are_found_where_a_busy_one_fills_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the rows is read: of each scene alike, that would be twenty agents of the quiet ones, and nothing told of feet."""
    before = in_scenes(6, 45, feet=False, seed=0, start_s=START_S - 86_400)
    rows = in_scenes(3, 45, feet=True, seed=50_000, start_s=START_S)
    monkeypatch.setattr("trajops.services.trust.MAX_ROWS", len(rows) // 4)
    monkeypatch.setattr("trajops.services.trust.ROWS_OF_SCENE", 0)
    found, shares = left_out_of(before, rows)
    assert shares["dock"] == 1
    assert max(shares["lane"], shares["yard"]) < 0.4
    assert found.wrong == pytest.approx(3 / 54, abs=0.005), "of all that was sent, and not of what was read"
