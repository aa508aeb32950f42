"""Rules on data quality: each finds its fault, and none finds one in the embedded match."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.drift_days import Change, make_pool
from data.datasets import skillcorner
from trajops.drift.columns import Rows
from trajops.drift.quality import Counts, Usual, Wider, findings, gaps_s
from trajops.drift.rules import QualityRule
from trajops.trajectories import Track

RULE = QualityRule(window_s=300.0)


def rows_of(half: str, change: Change | None = None, *, until_s: float = 1e9, scene: str = "pitch") -> Rows:
    """Rows of one half, in its own time."""
    found = [track for track in skillcorner.load()[half].tracks if len(track) >= 8 and track.times_s[0] < until_s]
    # From a corner of the pitch, as most frames are; around its centre it looks much the same from everywhere.
    tracks = [Track(track.agent_id, track.times_s, track.positions_m + np.array([52.5, 34.0])) for track in found]
    pool = make_pool(tracks, change or Change(), 1.0, 0.0, 0)
    agents = np.repeat(np.arange(len(pool.starts) - 1), np.diff(pool.starts))
    # The time of a group is that of its slot of eight seconds.
    origin_s = min(track.times_s[0] for track in tracks)
    slots = np.concatenate(
        [[np.floor((t.times_s[0] - origin_s) / 8.0)] * int(n) for t, n in zip(tracks, np.diff(pool.starts), strict=True)]
    )
    times_s = 1e9 + slots.ravel() * 8.0 + pool.entries_s
    values = {name: np.asarray(column, dtype=float) for name, column in pool.values.items()}
    return Rows(times_s, agents, np.ones(len(agents), dtype=int), values, np.zeros(len(agents), dtype=int), (scene,))


@pytest.fixture(scope="module")
def usual() -> Usual:
    return Usual.of(rows_of("first_half"), RULE)


def verdicts(rows: Rows, usual: Usual, counts: Counts | None = None) -> dict[str, str]:
    return {one.kind: one.verdict for one in findings(rows, counts, usual, RULE, new_min_agents=20) if one.verdict != "ok"}


def test_nothing_is_wrong_with_the_second_half(usual: Usual) -> None:
    assert verdicts(rows_of("second_half", until_s=900), usual, Counts(1000, 0, 1000, 0)) == {}


@pytest.mark.parametrize(
    ("change", "expected", "word"),
    [
        pytest.param(Change(gain=3.28084), {"impossible_speed": "bad"}, "faster than 15 m/s", id="feet"),
        pytest.param(Change(gain=-1.0), {"frame": "bad"}, "half a turn", id="turned"),
        pytest.param(Change(dt_s=0.2), {"sampling_rate": "bad"}, "every 0.2 s", id="sampling-rate"),
    ],
)
def test_a_changed_frame_or_clock(usual: Usual, change: Change, expected: dict[str, str], word: str) -> None:
    found = findings(rows_of("second_half", change, until_s=900), None, usual, RULE, new_min_agents=20)
    bad = {one.kind: one.verdict for one in found if one.verdict == "bad"}
    assert expected.items() <= bad.items()
    assert any(word in one.sentence for one in found)


def edited(usual_rows: Rows, **columns: float) -> Rows:
    """One agent in five has other values."""
    is_one = usual_rows.agents % 5 == 0
    values = {**usual_rows.values, **{name: np.where(is_one, value, usual_rows.values[name]) for name, value in columns.items()}}
    return Rows(usual_rows.times_s, usual_rows.agents, usual_rows.versions, values, usual_rows.scenes, usual_rows.scene_names)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        pytest.param({"path_m": 0.0}, {"frozen": "warning"}, id="frozen"),
        pytest.param({"max_speed_mps": 40.0}, {"impossible_speed": "bad"}, id="teleporting"),
        pytest.param({"max_acceleration_mps2": 400.0}, {"impossible_acceleration": "bad"}, id="kicked"),
    ],
)
def test_impossible_agents(usual: Usual, columns: dict[str, float], expected: dict[str, str]) -> None:
    assert verdicts(edited(rows_of("second_half", until_s=900), **columns), usual) == expected


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param(Counts(1000, 30, 1000, 0), {"missing": "warning"}, id="three-per-cent-are-missing"),
        pytest.param(Counts(1000, 100, 1000, 0), {"missing": "bad"}, id="a-tenth-is"),
        pytest.param(Counts(1000, 0, 1000, 60), {"duplicates": "warning"}, id="repeated"),
    ],
)
def test_what_the_lake_counts(usual: Usual, counts: Counts, expected: dict[str, str]) -> None:
    assert verdicts(rows_of("second_half", until_s=900), usual, counts) == expected


def test_what_is_missing_altogether_is_bad_and_not_too_little(usual: Usual) -> None:
    """No row can be computed from any of the predictions; they were made all the same, and that is what is wrong."""
    nothing = rows_of("second_half", until_s=900).select(slice(0))
    assert verdicts(nothing, usual, Counts(1000, 1000, 1000, 0)) == {"missing": "bad"}
    assert verdicts(nothing, usual, Counts(0, 0, 0, 0)) == {"missing": "insufficient_data"}


@pytest.mark.parametrize("usually", [0.0, 0.15, 0.3, 0.6])
def test_all_agents_frozen_is_bad_whatever_the_reference_has(usual: Usual, usually: float) -> None:
    rows = rows_of("second_half", until_s=900)
    still = Rows(
        rows.times_s, rows.agents, rows.versions, {**rows.values, "path_m": 0 * rows.values["path_m"]}, rows.scenes, rows.scene_names
    )
    assert verdicts(still, replace(usual, frozen_shares={"pitch": usually})) == {"frozen": "bad"}


def test_a_new_scene_needs_agents(usual: Usual) -> None:
    elsewhere = rows_of("second_half", until_s=900, scene="elsewhere")
    assert verdicts(elsewhere, usual) == {"new_scene": "bad"}
    few = elsewhere.select(elsewhere.agents < 19)
    assert [one.kind for one in findings(few, None, usual, RULE, new_min_agents=20)] == ["missing"]
    assert findings(few, None, usual, RULE, new_min_agents=20)[0].verdict == "insufficient_data"


def test_the_gap_is_that_of_the_agents() -> None:
    times_s = np.array([0.0, 0.1, 0.4, 0.5, 0.8, 0.9])
    rows = Rows(times_s, np.array([1, 2, 1, 2, 1, 2]), np.ones(6, dtype=int), {})
    rule = QualityRule(min_agents=2)
    assert gaps_s(rows, rule) == {"": pytest.approx(0.4)}
    assert gaps_s(rows.select(slice(2)), rule) == {}
    assert gaps_s(rows, RULE) == {}, "two agents make no rate where twenty are needed"


def cameras(*gaps: tuple[str, float, int], factor: float = 1.0) -> Rows:
    """So many agents at each camera, every one predicted twenty times at its camera's pace."""
    counts = [count for *_, count in gaps]
    step_s = factor * np.repeat([gap for _, gap, _ in gaps], counts)
    times_s = (1e9 + np.arange(sum(counts))[:, None] + step_s[:, None] * np.arange(20)).ravel()
    agents, scenes = np.repeat(np.arange(sum(counts)), 20), np.repeat(np.repeat(np.arange(len(gaps)), counts), 20)
    order = np.argsort(times_s, kind="stable")
    names = tuple(name for name, *_ in gaps)
    return Rows(times_s[order], agents[order], np.ones(len(order), dtype=int), {}, scenes[order], names)


def test_each_camera_has_a_pace_of_its_own() -> None:
    """The quick one sleeps, or another one is new: nothing has changed its pace. Where the slow one has, it is found."""
    usual = Usual.of(cameras(("quick", 0.4, 90), ("slow", 1.0, 40)), RULE)
    assert usual.gaps_s == {"quick": pytest.approx(0.4), "slow": pytest.approx(1.0)}
    night, new = cameras(("slow", 1.0, 40)), cameras(("slow", 1.0, 25), ("new", 3.0, 40))
    assert [verdicts(rows, usual).get("sampling_rate") for rows in (night, new)] == [None, None]
    found = findings(cameras(("slow", 1.0, 40), factor=0.5), None, usual, RULE, new_min_agents=20)
    assert [(one.verdict, one.sentence) for one in found if one.kind == "sampling_rate"] == [
        ("bad", "An agent in slow is predicted every 0.5 s; the reference has 1 s.")
    ]


@pytest.mark.parametrize(
    ("agents", "scene", "scenes"),
    [pytest.param(30, "cam-0", [], id="each-by-itself"), pytest.param(8, None, [f"cam-{n}" for n in range(5)], id="few-together")],
)
def test_one_rate_is_told_by_scene_and_the_worst_first(agents: int, scene: str | None, scenes: list[str]) -> None:
    """One camera among ten at another rate is one in ten agents; where each has few, most of them have to be at another one."""
    names = [f"cam-{number}" for number in range(10 if scene else 5)]
    usual = Usual.of(cameras(*((name, 0.4, 90) for name in names)), RULE)
    slow = {"cam-0": 0.2, "cam-3": 0.6} if scene else dict.fromkeys(names, 0.2)
    rows = cameras(*((name, slow.get(name, 0.4), agents) for name in names))
    found = [one for one in findings(rows, None, usual, RULE, new_min_agents=20) if one.kind == "sampling_rate"]
    assert (found[0].verdict, found[0].scene, found[0].scenes) == ("bad", scene, scenes)
    assert [one.scene for one in found if one.verdict == "bad"] == (["cam-0", "cam-3"] if scene else [None])
    assert len(found) == (10 if scene else 1)


def test_a_rate_is_told_by_the_first_look_that_holds_the_agents_of_the_scene() -> None:
    """The busy camera by a minute; the quiet one by what is wider, and not as a few among many who keep theirs."""
    usual = Usual.of(cameras(("busy", 0.4, 90), ("quiet", 0.4, 90)), QualityRule())
    rows = cameras(("quiet", 0.8, 40), ("busy", 0.4, 200))
    found = findings(rows, None, usual, QualityRule(), new_min_agents=20, wider=[Wider(rows, 300.0)])
    told = {one.scene: (one.verdict, one.window_s) for one in found if one.kind == "sampling_rate"}
    assert told == {"busy": ("ok", 60.0), "quiet": ("bad", 300.0)}


def asked_about(seed: int, agents: int, again: float, wait_s: float, span_s: float = 60.0) -> Rows:
    """Agents who are predicted when somebody asks, once at least: each asks again with a probability, after an exponential wait."""
    rng = np.random.default_rng(seed)
    counts = rng.geometric(1 - again, agents)
    codes = np.repeat(np.arange(agents), counts)
    waits_s = rng.exponential(wait_s, len(codes))
    waits_s[np.cumsum(counts) - counts] = rng.uniform(0, span_s, agents)
    total_s = np.cumsum(waits_s)
    times_s = 1e9 + total_s - np.repeat((total_s - waits_s)[np.cumsum(counts) - counts], counts)
    order = np.argsort(times_s, kind="stable")
    return Rows(times_s[order], codes[order], np.ones(len(order), dtype=int), {}, np.zeros(len(order), dtype=int), ("",))


@pytest.mark.parametrize(("again", "wait_s"), [(0.05, 8.0), (0.1, 8.0), (0.3, 8.0), (0.9, 8.0), (0.9, 25.0)])
def test_where_agents_are_predicted_when_somebody_asks_there_is_no_rate(again: float, wait_s: float) -> None:
    usual = Usual.of(asked_about(0, 5000, again, wait_s), RULE)
    assert usual.gaps_s == {}
    assert all("sampling_rate" not in verdicts(asked_about(seed, 40, again, wait_s), usual) for seed in range(1, 40))


def test_a_rate_is_told_by_as_many_agents_as_the_other_rules() -> None:
    """Forty come at the usual pace and have been predicted once each, but for three: their pace is not that of all."""
    usual = Usual.of(cameras(("quick", 0.4, 90)), RULE)
    few = cameras(("quick", 1.0, 40))
    few = few.select((few.agents < 3) | (few.times_s < 1e9 + few.agents + 0.5))
    assert few.agent_count == 40
    assert "sampling_rate" not in verdicts(few, usual)
    assert verdicts(cameras(("quick", 1.0, 20)), usual) == {"sampling_rate": "bad"}


def standing(rows: Rows, **shares: float) -> Rows:
    """The same, so many of the agents of some scenes frozen."""
    path_m = np.ones(len(rows))
    for name, share in shares.items():
        agents = np.unique(rows.agents[rows.scenes == rows.scene_names.index(name)])
        path_m[np.isin(rows.agents, agents[: round(share * len(agents))])] = 0
    return Rows(rows.times_s, rows.agents, rows.versions, {"path_m": path_m}, rows.scenes, rows.scene_names)


def test_a_car_park_that_stands_as_ever_is_not_frozen_where_the_street_sleeps() -> None:
    street, cars = ("street", 0.4, 90), ("cars", 0.4, 30)
    usual = Usual.of(standing(cameras(street, cars), cars=0.9), RULE)
    assert usual.frozen_shares == {"street": 0.0, "cars": pytest.approx(0.9)}
    assert verdicts(standing(cameras(cars), cars=0.9), usual).get("frozen") is None
    assert verdicts(standing(cameras(cars), cars=1.0), usual)["frozen"] == "bad"
    assert verdicts(standing(cameras(street), street=0.7), usual)["frozen"] == "bad", "what is usual elsewhere is none here"


def test_one_agent_of_a_zone_that_keeps_a_pace_is_no_rate() -> None:
    """Sixty zones of which the reference has two agents each, everyone with a pace of their own: no zone has one, and all together none."""
    rng = np.random.default_rng(3)
    zones = [(f"zone-{number}", float(pace_s), 1) for number, pace_s in enumerate(np.exp(rng.normal(2, 0.8, 120)))]
    twos = cameras(*zones).regrouped({f"zone-{number}": f"zone-{number % 60}" for number in range(120)})
    assert Usual.of(twos, RULE).gaps_s == {}
    alike = cameras(*((name, 0.4, 1) for name, *_ in zones))
    assert len(Usual.of(alike, RULE).gaps_s) == 120, "where all of them keep one, it is everyone's"


def test_a_rate_slower_than_a_minute_is_told_by_the_window() -> None:
    usual = Usual.of(cameras(("quick", 0.4, 90)), QualityRule())
    rows = cameras(("quick", 70.0, 40))
    rows = rows.select((rows.times_s > 1e9 + 700) & (rows.times_s <= 1e9 + 1000))
    found = findings(rows, None, usual, QualityRule(), new_min_agents=20, wider=[Wider(rows, 300.0)])
    assert [(one.verdict, one.window_s) for one in found if one.kind == "sampling_rate"] == [("bad", 300.0)]


def test_a_rate_of_many_quiet_scenes_is_given_to_none_that_has_another() -> None:
    """Ten quiet cameras at 0.4 s and a new one at 0.8 s: it is one in twenty agents, and its own rate is no finding for ever after."""
    reference = cameras(*((f"cam-{number}", 0.4, 15) for number in range(10)), ("new", 0.8, 8))
    usual = Usual.of(reference, RULE)
    assert set(usual.gaps_s) == {f"cam-{number}" for number in range(10)}
    assert "sampling_rate" not in verdicts(cameras(("new", 0.8, 60)), usual)
    assert verdicts(cameras(("cam-3", 0.8, 60)), usual)["sampling_rate"] == "bad"


def test_who_is_asked_for_twice_at_each_position_keeps_its_rate() -> None:
    usual = Usual.of(cameras(("quick", 0.4, 90)), RULE)
    rows = cameras(("quick", 0.8, 40))
    twice = rows.select(np.repeat(np.arange(len(rows)), 3))
    assert verdicts(twice, usual) == {"sampling_rate": "bad"}
    assert Usual.of(twice, RULE).gaps_s == {"quick": pytest.approx(0.8)}
