"""What is counted and named by scene in the lake, for what may be learnt from."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from data.lake.drift_rows import COLUMNS
from data.lake.drift_source import LakeDriftSource
from data.lake.performance_source import LakePerformanceSource
from tests.builders import CLOCK_NS, a_prediction_event, an_observation_event, an_outcome_event
from tests.drift_windows import ends_of
from tests.lake_house import House, a_house
from trajops.clock import utc
from trajops.drift.columns import Rows
from trajops.drift.quality import Counts

S = 10**9
UNTIL_NS = CLOCK_NS + 60 * S
SINCE, UNTIL = utc(CLOCK_NS), utc(UNTIL_NS)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as house:
        yield house


def test_counts_by_scene_and_by_steps_back_from_the_end(house: House) -> None:
    """Steps of ten seconds: what lies on a border belongs to the newer one, as a range holds its begin and not its end."""
    at = [UNTIL_NS - 1, UNTIL_NS - 10 * S, UNTIL_NS - 10 * S - 1, UNTIL_NS - 25 * S]
    places = [[float(row), 0.0] * 8 for row in range(4)]
    house.write(*(a_prediction_event(f"p{row}", received_ns=at[row], observed_at_s=7.0, history_m=one) for row, one in enumerate(places)))
    house.write(a_prediction_event("bad", received_ns=at[0], observed_at_s=8.0, history_m=[1.0, 2.0]))
    house.write(a_prediction_event("other", received_ns=at[0], source="backfill"), a_prediction_event("late", received_ns=UNTIL_NS))
    posted = (an_observation_event(received_ns=at[3], scene_id="posted", observed_at_s=float(row // 2)) for row in range(4))
    house.write(*posted, table="observations")
    found = LakeDriftSource(house.lake).tally(SINCE, UNTIL, ("live",), 10.0)
    assert found == {
        "s1": {0: Counts(3, 1, 3, 1), 1: Counts(1, 0, 1, 0), 2: Counts(1, 0, 1, 0)},
        "posted": {2: Counts(0, 0, 4, 2)},
    }


def test_distances_name_the_scenes_of_their_rows(house: House) -> None:
    scenes = ["north", "south", "north"]
    house.write(
        *(
            an_outcome_event(f"p{row}", received_ns=CLOCK_NS + row * S, scene_id=scene, agent_id=f"a{row}", step_distance2=[1.0] * 12)
            for row, scene in enumerate(scenes)
        ),
        table="outcomes",
    )
    source = LakePerformanceSource(house.lake)
    rows = source.distances("trajectory", 1, SINCE - timedelta(seconds=1), UNTIL, ("live",), 100)
    order = np.argsort(rows.received_s)
    assert [rows.scene_names[code] for code in rows.scenes[order]] == scenes
    assert len(source.distances("trajectory", 9, SINCE, UNTIL, ("live",), 100).scenes) == 0


def test_of_each_agent_in_each_step_the_first_and_the_last_two_rows_are_read(house: House) -> None:
    """Walkers at any rate, some of them asked for twice at a time, told late or out of order: the same rows as by hand."""
    rng, events, told = np.random.default_rng(3), [], []
    for number in range(60):
        scene, start_s = ("north", "south")[number % 2], rng.uniform(0, 30)
        for observed_s in np.repeat(start_s + np.cumsum(rng.choice([0.4, 2.0, 9.0], 12)), rng.integers(1, 3, 12)).tolist():
            received_ns = CLOCK_NS + round((observed_s + rng.exponential(2.0)) * S)
            told.append((received_ns, observed_s, scene, number))
            row = {"received_ns": received_ns, "observed_at_s": observed_s, "scene_id": scene, "agent_id": f"a{number}"}
            events.append(a_prediction_event(f"p{len(told)}", **row))
    house.write(*events, a_prediction_event("other", source="backfill"), a_prediction_event("short", history_m=[1.0, 2.0, 3.0, 4.0]))
    rows = LakeDriftSource(house.lake).some(SINCE, UNTIL, ("live",), 10.0, 10**6)
    is_within = [one for one in told if one[0] < UNTIL_NS]
    received_ns, observed_s, scenes, agents = (np.array(column) for column in zip(*is_within, strict=True))
    every = Rows(received_ns / 1e9, agents, agents, {"observed_at_s": observed_s}, (scenes == "south").astype(int), ("north", "south"))
    expected = ends_of(every, UNTIL.timestamp(), 10.0)
    assert 100 < len(rows) < 0.8 * len(every)
    assert named(rows) == named(expected)
    assert len(np.unique(rows.agents)) == len(np.unique(expected.agents))


def named(rows: Rows) -> list[tuple[str, float, float]]:
    scenes = [rows.scene_names[code] for code in rows.scenes]
    return sorted(zip(scenes, rows.times_s.round(6).tolist(), rows.values["observed_at_s"].round(6).tolist(), strict=True))


def test_rows_say_what_histories_say_and_a_broken_forecast_is_no_matter(house: House) -> None:
    history_m = [0.5 * step + axis for step in range(8) for axis in (0.0, 3.0)]
    house.write(a_prediction_event("p1", received_ns=CLOCK_NS, dt_s=0.4, history_m=history_m, mean_m=[], cov_m2=[]))
    house.write(a_prediction_event("p2", received_ns=CLOCK_NS, dt_s=0.4, agent_id="other", history_m=history_m[:8]))
    source = LakeDriftSource(house.lake)
    rows = source.some(SINCE, UNTIL, ("live",), 10.0, 100)
    rows = rows.select(np.argsort(rows.values["x_m"]))
    assert rows.values["path_m"] == pytest.approx([1.5 * 2**0.5, 3.5 * 2**0.5])
    assert rows.values["max_speed_mps"] == pytest.approx([1.25 * 2**0.5] * 2)
    assert (rows.values["x_m"].tolist(), rows.values["y_m"].tolist()) == ([1.5, 3.5], [4.5, 6.5])
    assert set(rows.values) <= {"observed_at_s", *COLUMNS}
    assert not {"predicted_speed_mps", "ade_m"} & set(rows.values)
    nothing = source.some(SINCE, UNTIL, ("replay",), 10.0, 100)
    assert (len(nothing), set(nothing.values)) == (0, set(rows.values))


def test_of_more_rows_than_are_wanted_some_agents_are_read_whole_and_of_quiet_scenes_all(house: House) -> None:
    events = [
        a_prediction_event(
            f"{scene}{row}", received_ns=CLOCK_NS + row, observed_at_s=row * 0.1, scene_id=scene, agent_id=f"{scene}{row % agents}"
        )
        for scene, agents in (("busy", 200), ("quiet", 20))
        for row in range(2 * agents)
    ]
    house.write(*events)
    source = LakeDriftSource(house.lake)
    for by_scene, busy, quiet in ((True, 50, 20), (False, 200 * 140 / 440, 20 * 140 / 440)):
        rows = source.some(SINCE, UNTIL, ("live",), 60.0, 140, by_scene=by_scene)
        agents, counts = np.unique(rows.agents, return_counts=True)
        of = {name: len(np.unique(rows.agents[rows.scenes == code])) for code, name in enumerate(rows.scene_names)}
        assert of == {"busy": pytest.approx(busy, abs=16), "quiet": quiet if by_scene else pytest.approx(quiet, abs=6)}
        assert counts.tolist() == [2] * len(agents)


def test_who_is_read_of_many_stays_so_for_ten_steps_and_is_drawn_anew_then(house: House) -> None:
    """Two hundred agents that stay for a minute, in steps of two seconds: of a third of them all in twenty seconds."""
    events = [
        a_prediction_event(f"p{agent}-{at_s}", received_ns=CLOCK_NS + at_s * S, observed_at_s=float(at_s), agent_id=f"a{agent}")
        for agent in range(200)
        for at_s in range(1, 60, 2)
    ]
    house.write(*events)
    rows = LakeDriftSource(house.lake).some(SINCE, UNTIL, ("live",), 2.0, 2000)
    lots = ((rows.times_s - SINCE.timestamp()) // 20).astype(int)
    of_lot = [np.unique(rows.agents[lots == lot], return_counts=True) for lot in range(3)]
    assert all(set(counts.tolist()) == {10} for _, counts in of_lot)
    assert [len(agents) for agents, _ in of_lot] == [pytest.approx(67, abs=25)] * 3
    assert len(np.unique(rows.agents)) > 110


def test_who_is_asked_for_again_before_moving_on_is_no_duplicate(house: House) -> None:
    """Twenty agents of one id each, asked for three times at each position; then two bodies that share an id."""
    asked = [a_prediction_event(f"p{row}", received_ns=CLOCK_NS + row, agent_id=f"a{row % 20}", observed_at_s=7.0) for row in range(60)]
    house.write(*asked)
    source = LakeDriftSource(house.lake)
    assert source.counts(SINCE, UNTIL, ("live",)) == Counts(60, 0, 20, 0)
    assert source.tally(SINCE, UNTIL, ("live",), 60.0) == {"s1": {0: Counts(60, 0, 20, 0)}}
    history_m = list(asked[0].history_m)
    bodies = ([*history_m[:-1], history_m[-1] + metres] for metres in (0.0, 1.0, 2.0, 2.0))
    house.write(*(a_prediction_event(f"b{n}", received_ns=CLOCK_NS, agent_id="both", history_m=one) for n, one in enumerate(bodies)))
    assert source.counts(SINCE, UNTIL, ("live",)) == Counts(64, 0, 23, 2)
    assert source.tally(SINCE, UNTIL, ("live",), 60.0) == {"s1": {0: Counts(64, 0, 23, 2)}}
