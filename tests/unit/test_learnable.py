"""What may be learnt from: feet in any scene are found, however few agents come, and clean traffic is let through."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.drift_days import Change
from tests.drift_windows import START_S, empty, ends_of, feed, match, tally_of, together
from tests.unit.test_quality import rows_of
from trajops import configs
from trajops.clock import utc
from trajops.drift import learnable
from trajops.drift.columns import Rows
from trajops.drift.gaps import Gap, LeftOut, Span, is_left_out
from trajops.drift.learnable import Judge, cut_into_slices
from trajops.drift.quality import Counts
from trajops.drift.rules import DriftRules
from trajops.trajectories import BoolArray

RULES = configs.load(Path("configs/drift.yaml"), DriftRules)
FEET = 3.28
SCENES = ("north", "south", "west", "east", "hall")
EARLIER_S = START_S - 1e6


@cache
def an_hour(per_minute: int, seed: int, start_s: float = START_S, minutes: int = 60) -> Rows:
    return feed(per_minute, minutes, seed=seed, start_s=start_s, rows=6)


def reference(*per_minute: int, minutes: int = 60, names: Sequence[str] = SCENES) -> Rows:
    parts = [an_hour(count, 1000 * number, EARLIER_S, minutes) for number, count in enumerate(per_minute)]
    return together(*parts, names=names[: len(parts)])


def changed(rows: Rows, mask: BoolArray, gain: float = FEET) -> Rows:
    """The same, some of it in another unit."""
    scaled = {name: np.where(mask, gain * rows.values[name], rows.values[name]) for name in ("speed_mps", "speed_last_mps", "path_m")}
    return Rows(rows.times_s, rows.agents, rows.versions, {**rows.values, **scaled}, rows.scenes, rows.scene_names)


def is_of(rows: Rows, scene: str, since_min: float = 0, until_min: float = 1e9) -> BoolArray:
    minutes = (rows.times_s - START_S) / 60
    return (rows.scenes == rows.scene_names.index(scene)) & (minutes >= since_min) & (minutes < until_min)


def the_whole(minutes: float, start_s: float = START_S) -> Span:
    return Span(*(utc(int(1e9 * at_s)) for at_s in (start_s, start_s + 60 * minutes)))


def judged(before: Rows, rows: Rows, minutes: float, rules: DriftRules = RULES, **changes: Any) -> tuple[LeftOut, BoolArray]:
    """What is left out, and which rows."""
    judge, whole = Judge(rules, before), the_whole(minutes, changes.pop("start_s", START_S))
    tally = changes.pop("tally", None) or tally_of(rows, whole.until.timestamp(), judge.step_s, **changes)
    found = judge.left_out(rows, whole, tally)
    return found, is_left_out(rows.times_s, rows.scenes, rows.scene_names, found.gaps)


def minutes_kept(rows: Rows, mask: BoolArray, scene: str) -> set[int]:
    """Minutes of a scene that are learnt from, wholly or in part."""
    kept = ~mask & is_of(rows, scene)
    return set(np.floor((rows.times_s[kept] - START_S) / 60).astype(int).tolist())


# Slices


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(0, 8), st.integers(2, 40))
def test_slices_hold_agents_enough_and_all_of_the_range(counts: list[int], begin: int, enough: int) -> None:
    """The step of each row and its agent, who is there for two steps."""
    first = np.repeat(np.arange(len(counts)), counts)
    steps, agents = np.r_[first, first + 1], np.tile(np.arange(len(first)), 2)
    last = len(counts) + 1
    ends = cut_into_slices(steps, agents, begin, last, enough).ends
    held = [len(np.unique(agents[(steps >= newer) & (steps < older)])) for newer, older in ends]
    assert all(count >= enough for count in held)
    if not ends:
        assert begin >= last or len(np.unique(agents[steps >= begin])) < enough
        return
    covered = {step for newer, older in ends for step in range(newer, older)}
    assert covered == set(range(begin, last))
    assert all(older - newer >= 2 or last - begin < 2 for newer, older in ends)
    assert ends[0][0] == begin


def test_a_slice_is_as_long_as_it_takes_and_no_longer() -> None:
    steps = np.repeat(np.arange(12), 10)
    assert cut_into_slices(steps, np.arange(120), 0, 12, 20).ends == [(step, step + 2) for step in range(0, 12, 2)]
    assert cut_into_slices(steps, np.arange(120), 0, 12, 50).ends == [(0, 5), (5, 10), (7, 12)], "the oldest takes what it lacks"
    assert cut_into_slices(steps, np.arange(120), 1, 12, 121).ends == []


# Feet


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 5, 20, 45]), min_size=1, max_size=5), st.data())
def test_feet_in_any_scene_at_any_time_are_never_learnt_from(per_minute: list[int], data: st.DataObject) -> None:
    """For two slices at least: an hour of scenes with one to 45 agents a minute."""
    where = data.draw(st.integers(0, len(per_minute) - 1))
    slice_min = max(1, -(-RULES.units.min_agents // per_minute[where]))
    lasts = data.draw(st.integers(min(60, 2 * slice_min + 1), 60))
    begin = data.draw(st.floats(0, 60 - lasts))
    seed = data.draw(st.sampled_from([10_000, 20_000]))
    feeds = [an_hour(count, seed + 100 * number) for number, count in enumerate(per_minute)]
    rows = together(*feeds, names=SCENES[: len(per_minute)])
    is_feet = is_of(rows, SCENES[where], begin, begin + lasts)
    _, mask = judged(reference(*per_minute), changed(rows, is_feet), 60)
    assert mask[is_feet].all()


def test_one_scene_in_feet_among_ten_is_found_and_only_it() -> None:
    names = [f"camera {number}" for number in range(10)]
    before, rows = (
        reference(*[12] * 10, minutes=30, names=names),
        together(*(feed(12, 30, seed=7 + 50 * n) for n in range(10)), names=names),
    )
    is_feet = is_of(rows, "camera 9", 10, 20)
    found, mask = judged(before, changed(rows, is_feet), 30)
    assert mask[is_feet].all()
    assert {gap.scene for gap in found.gaps if gap.until < the_whole(25).until} == {"camera 9"}
    # Negative control: all of them as one scene, as the check of all traffic sees them.
    split = RULES.model_copy(update={"scenes": RULES.scenes.model_copy(update={"is_split": False})})
    _, together_mask = judged(before, changed(rows, is_feet), 30, split)
    assert not together_mask[is_feet].any()


def test_scenes_with_few_agents_are_held_against_their_own() -> None:
    """Fifteen scenes with three agents each: too few for any of them, and enough together."""
    names = [f"street {number}" for number in range(15)]
    slow = [changed(feed(2, 30, seed=50 * n, start_s=EARLIER_S), np.ones(60 * 25, dtype=bool), 0.2 if n % 2 else 1.0) for n in range(15)]
    now = [changed(feed(1, 3, seed=9000 + 50 * n), np.ones(75, dtype=bool), 0.2 if n % 2 else 1.0) for n in range(15)]
    before, rows = together(*slow, names=names), together(*now, names=names)
    assert judged(before, rows, 4)[0].wrong == 0
    assert judged(before, changed(rows, np.ones(len(rows), dtype=bool)), 4)[0].wrong == 1
    few = rows.select(np.isin(rows.scenes, np.arange(9)))
    assert judged(before, few, 4)[0].untold == 1, "27 agents tell nothing"


def test_what_is_quiet_in_feet_and_then_busy_in_feet_and_then_good() -> None:
    rows = together(feed(2, 30, gain=FEET, seed=1), feed(40, 3, gain=FEET, seed=200, start_s=START_S + 1800))
    rows = together(rows, feed(40, 20, seed=400, start_s=START_S + 1980), names=("a", "b"))
    is_feet, rows = rows.scenes == 0, rows.regrouped({"a": "north", "b": "north"})
    found, mask = judged(reference(20), rows, 53)
    assert mask[is_feet].all()
    assert found.wrong < 0.25
    assert mask[~is_feet].mean() < 0.15


def test_half_in_one_slice_and_half_in_the_next() -> None:
    """A minute in feet, over the border of two slices: neither has more than half of its agents in feet, and the second cut tells."""
    rows = feed(60, 20, seed=3).regrouped({"": "north"})
    is_feet = is_of(rows, "north", 9.5, 10.5)
    _, mask = judged(reference(60, minutes=20), changed(rows, is_feet), 20)
    assert mask[is_feet].all()
    assert minutes_kept(rows, mask, "north") >= {*range(8), *range(13, 19)}


def test_what_just_ends_in_the_range_is_told_by_what_came_before_it() -> None:
    """Feet until twenty seconds after the begin: the oldest slice is mostly good, and the one before it, which is not asked for, is not."""
    rows = feed(60, 20, seed=3).regrouped({"": "north"})
    is_feet = is_of(rows, "north", 0, 10.33)
    judge, whole = Judge(RULES, reference(60, minutes=20)), Span(the_whole(10).until, the_whole(20).until)
    wrong = changed(rows, is_feet)
    tally = tally_of(wrong, whole.until.timestamp(), judge.step_s)
    found = judge.wrong(wrong, whole, tally, 600.0)
    mask = is_left_out(rows.times_s, rows.scenes, rows.scene_names, found.gaps)
    assert mask[is_feet & is_of(rows, "north", 10)].all()
    assert minutes_kept(rows, mask, "north") >= set(range(12, 20))
    assert found.wrong == pytest.approx(0.1, abs=0.03), "a share of the range alone"
    assert min(gap.since for gap in found.gaps) == whole.since


# New scenes


def test_a_new_scene_is_learnt_from_and_known_ones_do_not_hide_behind_it() -> None:
    """A square that the reference does not know, beside a known scene with nine agents in feet in all."""
    rows = together(feed(30, 20, seed=1), feed(1, 9, gain=FEET, seed=90), names=("square", "north"))
    found, mask = judged(reference(20), rows, 20)
    assert minutes_kept(rows, mask, "square") == set(range(19))
    assert minutes_kept(rows, mask, "north") == set()
    assert (found.wrong, found.untold > 0) == (0, True)


def test_bad_data_of_a_new_scene_are_left_out_of_it_only() -> None:
    rows = together(feed(30, 20, gain=0.0, seed=1), feed(30, 20, seed=90), names=("square", "north"))
    found, mask = judged(reference(20, names=("north",)), rows, 20)
    assert [minutes_kept(rows, mask, scene) for scene in ("square", "north")] == [set(), set(range(19))]
    assert "bad data" in found.sentence


def test_new_scenes_with_few_agents_are_judged_together_and_apart_from_known_ones_with_few() -> None:
    feeds = feed(1, 16, seed=300), feed(1, 16, seed=400), feed(1, 16, gain=FEET, seed=500)
    rows = together(*feeds, names=("lane", "yard", "north"))
    _, mask = judged(reference(20), rows, 20)
    assert minutes_kept(rows, mask, "lane") | minutes_kept(rows, mask, "yard")
    assert minutes_kept(rows, mask, "north") == set()
    rows = rows.select(rows.scenes > 0)
    assert judged(reference(20), rows, 20)[1].all(), "sixteen agents tell nothing"


def test_an_unknown_unit_is_no_fault_of_a_new_scene() -> None:
    rows = feed(30, 20, gain=4.0, seed=1).regrouped({"": "motorway"})
    assert judged(reference(20), rows, 20)[0].wrong == 0


# Quality and frames


@pytest.mark.parametrize("counts", [{"unusable": 5}, {"repeated": 8}], ids=["missing", "duplicates"])
def test_what_the_lake_counts_is_judged_scene_by_scene(counts: Mapping[str, int]) -> None:
    rows = together(feed(30, 20, seed=1), feed(30, 20, seed=90), names=("north", "south"))
    judge, whole = Judge(RULES, reference(20, 20)), the_whole(20)
    tally = tally_of(rows, whole.until.timestamp(), judge.step_s)
    bad = {"predictions": 20, "positions": 20, **counts}
    tally["south"] = {step: one if step > 9 else type(one)(**bad) for step, one in tally["south"].items()}
    _, mask = judged(judge.reference, rows, 20, tally=tally)
    assert minutes_kept(rows, mask, "north") == set(range(19))
    assert minutes_kept(rows, mask, "south") == set(range(14)), "the five newest minutes, and one before"


@pytest.mark.parametrize("change", [Change(gain=-1.0), Change(dt_s=0.2)], ids=["turned", "sampling-rate"])
def test_another_frame_or_rate_of_one_scene_is_found(change: Change) -> None:
    good, bad = rows_of("second_half"), rows_of("second_half", change)
    before = together(rows_of("first_half"), rows_of("first_half"), names=("pitch", "field"))
    rows = together(good, bad, names=("pitch", "field"))
    start_s = float(rows.times_s.min())
    minutes = (float(rows.times_s.max()) - start_s) / 60 + 0.1
    _, mask = judged(before, rows, minutes, start_s=start_s)
    assert mask[rows.scenes == 1].all()
    assert mask[rows.scenes == 0].mean() < 0.15


def test_a_scene_whose_agents_always_do_what_is_called_impossible_or_stand_is_held_against_itself() -> None:
    def with_speeds(rows: Rows, share: float, *, are_still: bool) -> Rows:
        is_odd = rows.agents * 37 % 100 < 100 * share
        path_m = np.where(is_odd & are_still, 0.0, rows.values["path_m"])
        speeds = np.where(is_odd & (not are_still), 30.0, rows.values["speed_mps"])
        return Rows(rows.times_s, rows.agents, rows.versions, {**rows.values, "max_speed_mps": speeds, "path_m": path_m})

    def site(seed: int, minutes: int, start_s: float) -> Rows:
        feeds = [feed(30, minutes, seed=seed + 100 * number, start_s=start_s) for number in range(2)]
        return together(
            with_speeds(feeds[0], 0.4, are_still=False), with_speeds(feeds[1], 0.6, are_still=True), names=("motorway", "benches")
        )

    before = site(1, 20, EARLIER_S)
    assert judged(before, site(5000, 20, START_S), 20)[0].wrong == 0
    pedestrians = reference(30, 30, names=("motorway", "benches"))
    pedestrians.values["max_speed_mps"] = pedestrians.values["speed_mps"]
    assert judged(pedestrians, site(5000, 20, START_S), 20)[0].wrong == 1


# What nothing tells


def test_the_newest_slice_and_scenes_of_observations_alone_are_not_learnt_from() -> None:
    rows = feed(45, 20, seed=1).regrouped({"": "north"})
    judge, whole = Judge(RULES, reference(20)), the_whole(20)
    tally = tally_of(rows, whole.until.timestamp(), judge.step_s)
    tally["posted"] = tally_of(rows, whole.until.timestamp(), judge.step_s, predictions=0)["north"]
    found = judge.left_out(rows, whole, tally)
    assert {(gap.scene, (gap.until - gap.since).total_seconds()) for gap in found.gaps} == {(None, 60.0), ("posted", 1140.0)}
    assert judge.wrong(rows, whole, tally).gaps == (), "who cannot wait takes the newest as well"


def test_too_few_agents_tell_nothing_and_none_leave_nothing_out() -> None:
    found, mask = judged(reference(20), feed(1, 20, seed=1).regrouped({"": "north"}), 20)
    assert mask.all()
    assert found.sentence == "100 % of the traffic is left out: 100 % cannot be judged, or not yet"
    nothing, _ = judged(reference(20), empty(), 20)
    assert (nothing.gaps, nothing.sentence) == ((), "")


# What is good


@pytest.mark.parametrize(("per_minute", "most"), [(2, 0.30), (5, 0.15), (12, 0.08), (40, 0.03)])
def test_clean_traffic_is_learnt_from(per_minute: int, most: float) -> None:
    """But for the newest slice, which is a quarter of the hour where two agents come in a minute."""
    before = reference(per_minute, minutes=120)
    found = [judged(before, feed(per_minute, 60, seed=5000 + 100 * n).regrouped({"": "north"}), 60)[0] for n in range(4)]
    assert [one.wrong for one in found] == [0.0] * 4
    assert max(one.untold for one in found) < most


@pytest.mark.parametrize(("before", "after"), [("first_half", "second_half"), ("first_half", "first_half"), ("second_half", "first_half")])
def test_a_match_is_learnt_from(before: str, after: str) -> None:
    for made in (match, rows_of):
        rows = made(after)  # type: ignore[operator]
        start_s = float(rows.times_s.min())
        found, mask = judged(made(before), rows, (float(rows.times_s.max()) - start_s) / 60 + 0.1, start_s=start_s)  # type: ignore[operator]
        assert mask.mean() < 0.08, found.sentence


@pytest.mark.parametrize("is_split", [True, False])
def test_where_nobody_asks_for_predictions_nothing_is_learnt_and_that_is_said(is_split: bool) -> None:
    rules = RULES.model_copy(update={"scenes": RULES.scenes.model_copy(update={"is_split": is_split})})
    judge, whole = Judge(rules, reference(45, minutes=30)), the_whole(30)
    posted = {"posted": {step: Counts(positions=400) for step in range(60)}}
    found = judge.left_out(empty(), whole, posted)
    assert (found.gaps, found.sentence) == ((Gap(*whole),), "100 % of the traffic is left out: 100 % cannot be judged, or not yet")
    assert judge.left_out(empty(), whole, {}) == LeftOut(), "there is none"
    assert judge.wrong(empty(), whole, posted) == LeftOut()


# Some of the rows


def thinned(rows: Rows, whole: Span) -> Rows:
    return ends_of(rows, whole.until.timestamp(), Judge(RULES, empty()).step_s)


CHANGES = {"none": Change(), "feet": Change(gain=FEET), "turned": Change(gain=-1.0), "rate": Change(dt_s=0.2)}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_ends_of_agents_steps_tell_what_all_rows_tell(change: Change) -> None:
    before, rows = rows_of("first_half"), rows_of("second_half", change)
    start_s, end_s = float(rows.times_s.min()), float(rows.times_s.max()) + 6
    whole, judge = the_whole((end_s - start_s) / 60, start_s), Judge(RULES, before)
    tally = tally_of(rows, whole.until.timestamp(), judge.step_s)
    some = thinned(rows, whole)
    assert len(some) < len(rows) / 3
    found, of_all = judge.left_out(some, whole, tally), judge.left_out(rows, whole, tally)
    assert found.wrong == pytest.approx(of_all.wrong, abs=0.05)
    assert (found.wrong > 0.95) is (change != Change())
    assert found.untold == pytest.approx(of_all.untold, abs=0.01)


def test_as_much_is_left_out_as_was_sent_in_it_however_little_was_read() -> None:
    """Half of the rows in the last quarter of the range, of which a tenth is read, and the begin of the range within a step."""
    rows = together(feed(20, 15, seed=1), feed(60, 5, seed=90, start_s=START_S + 900), names=("north", "north"))
    whole, judge = Span(utc(int(1e9 * (START_S + 310))), the_whole(20).until), Judge(RULES, reference(20))
    tally = tally_of(rows, whole.until.timestamp(), judge.step_s)
    few = rows.select((rows.times_s < START_S + 900) | (rows.agents % 10 == 0))
    found = judge.left_out(few, whole, tally, before_s=310.0)
    is_out = is_left_out(rows.times_s, rows.scenes, rows.scene_names, found.gaps)[rows.times_s >= whole.since.timestamp()]
    assert found.untold == pytest.approx(is_out.mean(), abs=0.005)
    assert found.untold > 0.1


def test_more_scenes_are_no_more_work_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at of one scene is its own: rows, and names of scenes."""
    seen: dict[str, list[int]] = {"names": [], "rows": []}

    def counted(name: str, place: int) -> None:
        made = getattr(learnable, name)

        def call(*args: Any, **options: Any) -> Any:
            seen["names"].append(len(args[place].scene_names))
            seen["rows"].append(len(args[place]))
            return made(*args, **options)

        monkeypatch.setattr(learnable, name, call)

    for name, place in (("unit_bounds", 2), ("unit_column", 3), ("findings", 0), ("agent_share", 0)):
        counted(name, place)
    names = [f"street {number}" for number in range(40)]
    before = together(*(feed(40, 1, seed=100 + n, start_s=EARLIER_S, rows=6) for n in range(40)), names=names)
    rows = together(*(feed(40, 2, seed=900 + n, rows=6) for n in range(40)), names=names)
    assert judged(before, rows, 2)[0].wrong == 0
    assert set(seen["names"]) == {1}
    assert max(seen["rows"]) <= 2 * 40 * 6
