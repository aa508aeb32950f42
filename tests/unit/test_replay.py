"""The demo's traffic: what nobody could be predicted in is cut, and what is played keeps its own pace."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from data.datasets import skillcorner
from deploy.demo import replay
from deploy.demo.replay import PAUSE_S, Replay, Tick, ticks
from tests.builders import a_scene, a_track
from trajops.client import ApiProblem, AsyncTrajOpsClient
from trajops.client.call import Call
from trajops.trajectories import DEFAULT_WINDOW, Scene

DT_S, T_OBS = DEFAULT_WINDOW.dt_s, DEFAULT_WINDOW.t_obs


def a_match() -> Scene:
    """Two tracks that can be predicted, a minute apart, and short ones around and between them."""
    return a_scene(
        a_track("early", steps=3, start_s=0.1),
        a_track("first", steps=10, start_s=10.1),
        a_track("in the pause", steps=2, start_s=14.9),
        a_track("over the cut", steps=4, start_s=15.7),
        a_track("in the cut", steps=4, start_s=40.1),
        a_track("second", steps=12, start_s=74.1),
        a_track("beside it", steps=5, start_s=75.3),
    )


def agents(played: list[Tick]) -> set[str]:
    return {track.agent_id for tick in played for track, _ in tick.states}


def longest_silence_s(played: list[Tick]) -> float:
    """The longest stretch without an agent that can be predicted."""
    spoken = [-1, *(n for n, tick in enumerate(played) if any(index >= T_OBS - 1 for _, index in tick.states)), len(played)]
    return max(later - earlier - 1 for earlier, later in pairwise(spoken)) * DT_S


def test_a_stretch_without_anybody_to_predict_is_cut_to_a_pause() -> None:
    played = list(ticks(a_match(), DEFAULT_WINDOW))
    assert len(played) == 10 + round(PAUSE_S / DT_S) + 12
    assert sorted({tick.cut_s for tick in played}) == pytest.approx([0.0, 60.0 - PAUSE_S], abs=1e-9)
    assert agents(played) == {"first", "in the pause", "second", "beside it"}


def test_a_track_is_played_whole_and_at_its_own_pace() -> None:
    played = list(ticks(skillcorner.load()["second_half"], DEFAULT_WINDOW))
    indices: dict[str, list[tuple[int, int]]] = {}
    for number, tick in enumerate(played):
        for track, index in tick.states:
            indices.setdefault(track.agent_id, []).append((number, index))
            shown_s = float(track.times_s[index]) - tick.cut_s
            assert shown_s == pytest.approx(number * DT_S + float(played[0].states[0][0].times_s[0]), abs=1e-6)
    lengths = {track.agent_id: len(track) for tick in played for track, _ in tick.states}
    for agent_id, steps in indices.items():
        first = steps[0][0]
        assert steps == [(first + index, index) for index in range(lengths[agent_id])]


def test_the_half_falls_silent_for_no_longer_than_a_pause_and_one_observation_window() -> None:
    scene = skillcorner.load()["second_half"]
    played = list(ticks(scene, DEFAULT_WINDOW))
    assert longest_silence_s(played) <= PAUSE_S + (T_OBS - 1) * DT_S + 1e-9
    long_enough = {track.agent_id for track in scene.tracks if len(track) >= T_OBS}
    assert long_enough <= agents(played)


def test_observed_times_are_those_at_which_positions_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent after the cut is observed now, not a minute ahead."""
    now_s = [1_000.0]
    seen_s: list[float] = []

    async def sleep(delay_s: float) -> None:
        now_s[0] += delay_s

    async def send(_self: AsyncTrajOpsClient, call: Call[Any]) -> None:
        body = json.loads(call.content or b"")
        times_s = [one["observed_at_s"] for one in body.get("observations", [body]) if "observed_at_s" in one]
        seen_s.extend(times_s)
        np.testing.assert_allclose(times_s, now_s[0], atol=1e-6)
        raise ApiProblem(503, "overloaded", "nothing is answered here")

    monkeypatch.setattr(replay.time, "time", lambda: now_s[0])
    monkeypatch.setattr(replay.time, "perf_counter", lambda: now_s[0])
    monkeypatch.setattr(replay.asyncio, "sleep", sleep)
    monkeypatch.setattr(AsyncTrajOpsClient, "send", send)
    played = Replay("http://127.0.0.1:1", "key", a_match(), "s", "r1", speed=1.0)
    asyncio.run(played.run())
    assert len(seen_s) >= 22
    assert played.tally.failures >= 22
    assert "overloaded" in played.tally.last_failure
