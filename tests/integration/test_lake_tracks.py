"""Tracks read back from the lake: as they were observed, whichever way the positions came."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.lake import tracks
from data.lake.tracks import recorded_agents, recorded_scenes
from tests.builders import CLOCK_NS, CLOCK_S, a_prediction_event, a_turning_track, an_observation_event
from tests.lake_house import House, a_house
from trajops.clock import utc
from trajops.drift.gaps import Gap
from trajops.trajectories import DEFAULT_WINDOW, Track

S = 10**9
SINCE, UNTIL = utc(CLOCK_NS - 60 * S), utc(CLOCK_NS + 600 * S)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as made:
        yield made


def told(house: House, track: Track, *, by: str, scene_id: str = "s1", source: str = "live", is_asked_for: bool = True) -> None:
    """An agent that sends its whole history with each prediction, or its positions one by one, and somebody asks for it once."""
    window = DEFAULT_WINDOW
    for index in range(len(track)):
        at_s, received_ns = CLOCK_S + float(track.times_s[index]), CLOCK_NS + round(track.times_s[index] * 1e9)
        named = {"scene_id": scene_id, "agent_id": track.agent_id, "observed_at_s": at_s, "received_ns": received_ns, "source": source}
        if by == "observations":
            x_m, y_m = track.positions_m[index]
            house.write(an_observation_event(**named, x_m=float(x_m), y_m=float(y_m)), table="observations", close=False)
        since_first = index - window.t_obs + 1
        if since_first >= 0 if by == "histories" else since_first == 0 and is_asked_for:
            history_m = track.positions_m[index - window.t_obs + 1 : index + 1]
            house.write(
                a_prediction_event(f"{scene_id}-{track.agent_id}-{index}", **named, history_m=history_m.ravel().tolist()), close=False
            )
    house.spool.close()


@pytest.mark.parametrize("by", ["histories", "observations"])
@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_track_comes_back_as_it_was(house: House, by: str, is_compacted: bool) -> None:
    track = a_turning_track("a7")
    told(house, track, by=by)
    if is_compacted:
        house.compact()
    [scene] = recorded_scenes(house.lake, SINCE, UNTIL, ["live"])
    [found] = scene.tracks
    assert (scene.scene_id, found.agent_id) == ("s1", "a7")
    np.testing.assert_allclose(found.times_s, CLOCK_S + track.times_s, atol=1e-6)
    np.testing.assert_allclose(found.positions_m, track.positions_m, atol=1e-9)


def test_agents_of_one_name_in_two_scenes_are_two(house: House) -> None:
    told(house, a_turning_track("a1"), by="histories", scene_id="north")
    told(house, a_turning_track("a1", radius_m=9), by="histories", scene_id="south")
    scenes = recorded_scenes(house.lake, SINCE, UNTIL, ["live"])
    assert [(scene.scene_id, len(scene.tracks)) for scene in scenes] == [("north", 1), ("south", 1)]
    assert not np.allclose(scenes[0].tracks[0].positions_m, scenes[1].tracks[0].positions_m)


def test_other_sources_and_other_times_are_left_out(house: House) -> None:
    told(house, a_turning_track("a1"), by="histories", source="backfill")
    told(house, a_turning_track("a2"), by="observations")
    assert [track.agent_id for scene in recorded_scenes(house.lake, SINCE, UNTIL, ["live"]) for track in scene.tracks] == ["a2"]
    assert recorded_scenes(house.lake, UNTIL, utc(CLOCK_NS + 900 * S), ["live"]) == []


@pytest.mark.parametrize("by", ["histories", "observations"])
def test_what_was_received_in_a_span_is_left_out(house: House, by: str) -> None:
    told(house, a_turning_track("a1", steps=60), by=by)
    span = Gap(utc(CLOCK_NS + 8 * S), utc(CLOCK_NS + 16 * S))
    [scene] = recorded_scenes(house.lake, SINCE, UNTIL, ["live"], without=[span])
    times_s = scene.tracks[0].times_s - CLOCK_S
    # The histories of what came after it reach back into it, and so does what is learnt from them, by three seconds.
    assert not np.any((times_s >= 8) & (times_s < 16 - DEFAULT_WINDOW.dt_s * DEFAULT_WINDOW.t_obs))
    assert (times_s.min() < 8, times_s.max() >= 16) == (True, True)
    whole = Gap(utc(CLOCK_NS - S), utc(CLOCK_NS + 90 * S))
    assert recorded_scenes(house.lake, SINCE, UNTIL, ["live"], without=[span, whole]) == []


def test_what_is_left_out_of_one_scene_stays_in_the_others(house: House) -> None:
    for scene in ("north", "south"):
        for by in ("histories", "observations"):
            told(house, a_turning_track(f"{by}1", steps=60), by=by, scene_id=scene)
    gap = Gap(utc(CLOCK_NS + 8 * S), utc(CLOCK_NS + 16 * S), "north")
    everywhere = Gap(utc(CLOCK_NS + 20 * S), utc(CLOCK_NS + 90 * S))
    found = recorded_scenes(house.lake, SINCE, UNTIL, ["live"], without=[gap, everywhere])
    for scene in found:
        for track in scene.tracks:
            times_s = track.times_s - CLOCK_S
            assert bool(np.any((times_s >= 8) & (times_s < 12))) is (scene.scene_id == "south"), (scene.scene_id, track.agent_id)
            assert times_s.max() < 20
    assert [len(scene.tracks) for scene in found] == [2, 2]
    assert recorded_agents(house.lake, SINCE, UNTIL, ["live"]) == 4


def test_who_comes_while_the_lake_is_read_is_no_trouble(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    told(house, a_turning_track("a1"), by="histories")
    original = tracks.samples_of

    def meanwhile(*args: Any) -> Any:
        track = a_turning_track("new")
        event = a_prediction_event(
            "new-1", agent_id="new", scene_id="s1", received_ns=CLOCK_NS + S, history_m=track.positions_m[:8].ravel().tolist()
        )
        house.write(event, close=False)
        return original(*args)

    # One that is still written to, as it is by an API.
    house.write(a_prediction_event("open-1", agent_id="a2", scene_id="s1", received_ns=CLOCK_NS + S), close=False)
    monkeypatch.setattr(tracks, "samples_of", meanwhile)
    [scene] = recorded_scenes(house.lake, SINCE, UNTIL, ["live"])
    assert {"a1", "a2", "new"} >= {track.agent_id for track in scene.tracks} >= {"a1", "a2"}
    assert "new" in {track.agent_id for track in scene.tracks}, "it was read"


def test_only_those_that_are_read_are_counted(house: House) -> None:
    """Sixty agents that post observations and sixty of a span that is left out, beside twenty that are asked for later."""
    for number in range(60):
        told(house, a_turning_track(f"posted{number}", steps=9), by="observations")
        told(house, a_turning_track(f"bad{number}", steps=9), by="histories")
    span = Gap(utc(CLOCK_NS - S), utc(CLOCK_NS + 50 * S))
    posted = recorded_scenes(house.lake, SINCE, UNTIL, ["live"], max_agents=30)
    assert 15 <= sum(len(scene.tracks) for scene in posted) <= 50, "of a hundred and twenty"
    for number in range(20):
        track = a_turning_track(f"good{number}", steps=12)
        told(house, Track(track.agent_id, track.times_s + 100, track.positions_m), by="histories")
    [scene] = recorded_scenes(house.lake, SINCE, UNTIL, ["live"], max_agents=20, without=[span])
    assert len(scene.tracks) == 20


def test_who_is_only_observed_is_not_learnt_from(house: House) -> None:
    """Nothing tells whether their positions are in another unit, beside those of an agent that is asked for, or was asked for in a gap."""
    for name, is_asked_for in (("asked", True), ("posted", False)):
        told(house, a_turning_track(name, steps=60), by="observations", is_asked_for=is_asked_for)
    [scene] = recorded_scenes(house.lake, SINCE, UNTIL, ["live"])
    assert [(track.agent_id, len(track)) for track in scene.tracks] == [("asked", 60)]
    assert recorded_agents(house.lake, SINCE, UNTIL, ["live"]) == 1
    assert recorded_scenes(house.lake, SINCE, UNTIL, ["live"], max_agents=1)[0].tracks[0].agent_id == "asked", "nor does it count"
    gap = Gap(utc(CLOCK_NS), utc(CLOCK_NS + 8 * S))
    assert recorded_scenes(house.lake, SINCE, UNTIL, ["live"], without=[gap]) == []
    # Whoever is asked for by another source is not: a reference that is played back says nothing about what is live.
    told(house, a_turning_track("posted"), by="histories", source="backfill")
    assert recorded_agents(house.lake, SINCE, UNTIL, ["live"]) == 1


def test_of_many_agents_some_are_taken_whole_and_always_the_same(house: House) -> None:
    for number in range(60):
        told(house, a_turning_track(f"a{number}", steps=12), by="histories")
    few = recorded_scenes(house.lake, SINCE, UNTIL, ["live"], max_agents=15)
    names = [track.agent_id for track in few[0].tracks]
    assert 5 <= len(names) <= 30
    assert all(len(track) == 12 for track in few[0].tracks)
    assert [track.agent_id for track in recorded_scenes(house.lake, SINCE, UNTIL, ["live"], max_agents=15)[0].tracks] == names
