"""The track buffer: late, doubled and irregular positions come out as the history that training would have cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.stubs import SetClock
from tests.builders import CLOCK_NS, CLOCK_S, a_history
from trajops.errors import NotFound, WindowTooShort
from trajops.track_buffer import MAX_OBSERVATIONS, TrackBuffer
from trajops.windows import latest_history


@pytest.fixture
def clock() -> SetClock:
    return SetClock(CLOCK_NS)


@pytest.fixture
def buffer(clock: SetClock) -> TrackBuffer:
    return TrackBuffer(clock, ttl_s=60.0, capacity=3, max_gap_s=1.0)


def walk(buffer: TrackBuffer, agent_id: str = "a", *, since_s: float = CLOCK_S, count: int = 8, dt_s: float = 0.4) -> float:
    """Report an agent that walks along x at 1 m/s; return the time of its last position."""
    for step in range(count):
        buffer.observe("s", agent_id, since_s + step * dt_s, (step * dt_s, 0.0))
    return since_s + (count - 1) * dt_s


def test_positions_on_the_grid_come_out_unchanged(buffer: TrackBuffer) -> None:
    last_s = walk(buffer)
    observed_at_s, history_m = buffer.history("s", "a")
    assert observed_at_s == last_s
    np.testing.assert_allclose(history_m, a_history()[0], atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_order_and_any_rate_equal_the_interpolation_of_training(data: st.DataObject) -> None:
    ticks = data.draw(st.lists(st.integers(0, 400), min_size=2, max_size=60, unique=True))
    times_s = np.sort(np.array(ticks)) / 100  # at least 10 ms apart, so that none is a duplicate of another
    positions_m = np.stack([np.sin(times_s), times_s**2], axis=-1)
    buffer = TrackBuffer(SetClock(CLOCK_NS), max_gap_s=1.0)
    for index in data.draw(st.permutations([*range(len(times_s)), *range(0, len(times_s), 3)])):
        buffer.observe("s", "a", CLOCK_S + times_s[index], tuple(positions_m[index].tolist()))
    try:
        wanted_m = latest_history(CLOCK_S + times_s, positions_m, max_gap_s=1.0)
    except WindowTooShort:
        with pytest.raises(WindowTooShort):
            buffer.history("s", "a")
        return
    observed_at_s, history_m = buffer.history("s", "a")
    assert observed_at_s == CLOCK_S + times_s[-1]
    np.testing.assert_allclose(history_m, wanted_m, atol=1e-9)


def test_a_second_report_for_the_same_time_replaces_the_first(buffer: TrackBuffer) -> None:
    last_s = walk(buffer)
    buffer.observe("s", "a", last_s, (9.0, 9.0))
    assert buffer.history("s", "a")[1][-1].tolist() == [9.0, 9.0]


def test_too_short_says_how_many_seconds_are_missing(buffer: TrackBuffer) -> None:
    walk(buffer, count=5)
    with pytest.raises(WindowTooShort, match=r"1\.2 s are missing") as caught:
        buffer.history("s", "a")
    assert caught.value.details["missing_s"] == pytest.approx(1.2)


def test_a_gap_begins_a_new_piece(buffer: TrackBuffer) -> None:
    last_s = walk(buffer)
    buffer.observe("s", "a", last_s + 1.5, (5.0, 0.0))
    with pytest.raises(WindowTooShort):
        buffer.history("s", "a")


def test_unknown_agents_and_scenes_are_not_found(buffer: TrackBuffer) -> None:
    walk(buffer)
    for scene_id, agent_id in (("s", "b"), ("t", "a"), ("s/a", "")):
        with pytest.raises(NotFound):
            buffer.history(scene_id, agent_id)


def test_a_silent_agent_is_forgotten(buffer: TrackBuffer, clock: SetClock) -> None:
    walk(buffer)
    clock.advance(60.0)
    buffer.history("s", "a")
    clock.advance(0.1)
    with pytest.raises(NotFound):
        buffer.history("s", "a")
    assert buffer.agents() == []
    buffer.observe("s", "b", CLOCK_S, (0.0, 0.0))
    assert len(buffer) == 1
    assert buffer.evictions == 0, "its time was over"


def test_a_full_buffer_lets_the_least_recently_mentioned_go(buffer: TrackBuffer) -> None:
    for agent_id in ("a", "b", "c"):
        walk(buffer, agent_id)
    buffer.observe("s", "a", CLOCK_S + 3.0, (3.0, 0.0))
    walk(buffer, "d")
    assert [agent.agent_id for agent in buffer.agents()] == ["d", "a", "c"]
    assert buffer.evictions == 1


def test_a_clock_that_was_set_back_starts_the_track_anew(buffer: TrackBuffer) -> None:
    walk(buffer, since_s=CLOCK_S)
    last_s = walk(buffer, since_s=CLOCK_S - 3_600)
    assert buffer.history("s", "a")[0] == last_s


def test_a_position_from_the_far_future_does_not_block_an_agent(buffer: TrackBuffer) -> None:
    buffer.observe("s", "a", 1e11, (0.0, 0.0))
    last_s = walk(buffer)
    assert buffer.history("s", "a")[0] == last_s


def test_a_whole_history_and_single_positions_mix(buffer: TrackBuffer) -> None:
    flat_m = a_history()[0].ravel().tolist()
    buffer.extend("s", "a", CLOCK_S, flat_m)
    buffer.extend("s", "a", CLOCK_S - 5.0, [0.0] * 16)  # late, and the newer one spans the window by itself
    buffer.observe("s", "a", CLOCK_S + 0.4, (3.2, 0.0))
    observed_at_s, history_m = buffer.history("s", "a")
    assert observed_at_s == CLOCK_S + 0.4
    np.testing.assert_allclose(history_m[:, 0], np.arange(1, 9) * 0.4, atol=1e-6)


def test_history_until_an_earlier_time_leaves_later_positions_out(buffer: TrackBuffer) -> None:
    last_s = walk(buffer, count=10)
    observed_at_s, history_m = buffer.history("s", "a", until_s=last_s - 0.8)
    assert observed_at_s == pytest.approx(last_s - 0.8)
    np.testing.assert_allclose(history_m, a_history()[0], atol=1e-6)


def test_memory_of_one_agent_is_bounded(buffer: TrackBuffer) -> None:
    walk(buffer, count=2_000, dt_s=0.002)
    [agent] = buffer.agents()
    assert agent.observations == MAX_OBSERVATIONS
    walk(buffer, since_s=CLOCK_S + 10, count=200)
    [agent] = buffer.agents()
    assert agent.observations == 10  # what the window of 2.8 s and one gap of 1 s can reach
    assert agent.is_ready


def test_agents_of_one_scene(buffer: TrackBuffer) -> None:
    walk(buffer, "a", count=3)
    buffer.extend("t", "b", CLOCK_S, a_history()[0].ravel().tolist())
    assert [(agent.agent_id, agent.observations, agent.is_ready) for agent in buffer.agents("t")] == [("b", 8, True)]
    assert [(agent.agent_id, agent.is_ready) for agent in buffer.agents()] == [("b", True), ("a", False)]
    assert len(buffer.agents(limit=1)) == 1
