"""Scenes read from the lake: who was where, what was predicted, and bounds that hold."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from data.lake.scenes import LakeScenes
from tests.builders import CLOCK_NS, CLOCK_S, a_prediction_event, an_observation_event
from tests.lake_house import House, a_house
from trajops.clock import utc
from trajops.contracts.scenes import SceneBounds

S = 10**9
SINCE, UNTIL = utc(CLOCK_NS - 60 * S), utc(CLOCK_NS + 60 * S)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as made:
        yield made


def predicted(house: House, *agents: str, scene_id: str = "s1", times: int = 1, **fields: Any) -> None:
    house.write(
        *(
            a_prediction_event(
                f"{scene_id}-{agent}-{n}",
                scene_id=scene_id,
                agent_id=agent,
                received_ns=CLOCK_NS + n * S,
                observed_at_s=CLOCK_S + n,
                **fields,
            )
            for agent in agents
            for n in range(times)
        )
    )


def window(house: House, scene_id: str = "s1", agents: int = 200, agent_id: str | None = None, most: int | None = 1_000) -> Any:
    return LakeScenes(house.lake).window(scene_id, SINCE, UNTIL, agents, agent_id, most)


@pytest.mark.parametrize("is_compacted", [False, True])
def test_scenes_of_a_range(house: House, is_compacted: bool) -> None:
    predicted(house, "a", "b", times=3)
    predicted(house, "c", scene_id="s2")
    predicted(house, "probe", scene_id="probes", source="probe")
    house.write(an_observation_event(agent_id="d", x_m=-20.0, y_m=7.0), table="observations")
    if is_compacted:
        house.compact()
    begin, found = LakeScenes(house.lake).scenes(SINCE, UNTIL, 1_000)
    assert begin == SINCE
    first, second = sorted(found, key=lambda one: one.scene_id)
    assert (first.scene_id, first.agents, first.predictions, first.observations) == ("s1", 3, 6, 1)
    assert (first.first_at, first.newest_at) == (utc(CLOCK_NS), utc(CLOCK_NS + 2 * S))
    assert first.bounds is not None
    assert (first.bounds.x_min_m, first.bounds.y_max_m) == (-20.0, 7.0)
    assert (second.scene_id, second.agents, second.observations) == ("s2", 1, 0)


def test_an_agent_that_predicts_and_observes_is_one(house: House) -> None:
    predicted(house, "a1")
    house.write(an_observation_event(agent_id="a1"), table="observations")
    [only] = LakeScenes(house.lake).scenes(SINCE, UNTIL, 1_000)[1]
    assert only.agents == 1
    assert isinstance(only.bounds, SceneBounds)


def test_of_very_many_rows_the_newest_are_read(house: House) -> None:
    predicted(house, "a", times=50)
    house.compact()
    begin, [only] = LakeScenes(house.lake).scenes(SINCE, UNTIL, 10)
    assert begin > SINCE
    assert only.predictions == pytest.approx(10, abs=1)


def test_a_window_has_tracks_of_both_sources_and_the_predictions(house: House) -> None:
    predicted(house, "a1", times=2)
    house.write(*(an_observation_event(step) for step in range(1, 9)), table="observations")
    found = window(house)
    [(agent, times_s, positions_m)] = found.tracks
    assert agent == "a1"
    assert times_s[0] == pytest.approx(CLOCK_S - 2.8)
    assert times_s[-1] == pytest.approx(CLOCK_S + 3.2)
    assert (times_s[1:] > times_s[:-1]).all()
    assert positions_m.shape == (len(times_s), 2)
    assert [p.prediction_id for p in found.predictions] == ["s1-a1-1", "s1-a1-0"]
    assert len(found.predictions[0].modes[0].positions) == 12
    assert (found.agents, found.every, found.newest_at) == (1, 1, utc(CLOCK_NS + round(3.2 * S)))


def test_a_window_leaves_other_scenes_and_probes_out(house: House) -> None:
    predicted(house, "a", scene_id="s2")
    predicted(house, "p", source="probe")
    found = window(house)
    assert (found.tracks, found.predictions, found.agents, found.newest_at) == ([], [], 0, None)


def test_the_agents_with_the_most_rows_are_shown_and_the_one_asked_for(house: House) -> None:
    for number, agent in enumerate(("few", "some", "most"), start=1):
        predicted(house, agent, times=number)
    assert [track[0] for track in window(house, agents=2).tracks] == ["most", "some"]
    found = window(house, agents=2, agent_id="few")
    assert [track[0] for track in found.tracks] == ["few", "most"]
    assert found.agents == 3
    assert [track[0] for track in window(house, agents=2, agent_id="nobody").tracks] == ["most", "some"]


def test_many_predictions_are_thinned_and_the_newest_stays(house: House) -> None:
    predicted(house, "a", times=10)
    found = window(house, most=4)
    assert found.every == 3
    assert [p.observed_at_s - CLOCK_S for p in found.predictions] == pytest.approx([9, 6, 3, 0])
    assert [p.observed_at_s - CLOCK_S for p in window(house, most=None).predictions] == pytest.approx([9])


def test_a_row_that_nobody_should_have_written_is_left_out(house: House) -> None:
    predicted(house, "a")
    predicted(house, "b", mean_m=[1.0, 2.0, 3.0])
    found = window(house)
    assert [p.agent_id for p in found.predictions] == ["a"]
    assert [track[0] for track in found.tracks] == ["a", "b"]


def test_an_empty_lake_has_no_scene(house: House) -> None:
    assert LakeScenes(house.lake).scenes(SINCE, UNTIL + timedelta(days=30), 1_000)[1] == []
    assert window(house).agents == 0
