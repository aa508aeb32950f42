"""Scenes as a map shows them: bounds of what is answered, and words for what was left out."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from data.stubs.serving import SetClock
from trajops.clock import now
from trajops.contracts.scenes import MAX_POSITIONS, SceneOut
from trajops.errors import InvalidInput
from trajops.ports import SceneRows
from trajops.services.scenes import Scenes, speed_mps

CLOCK = SetClock()
NOW = now(CLOCK)


class SetSource:
    """Answers with what the test puts in, and remembers what it was asked."""

    def __init__(self, rows: SceneRows | None = None, scenes: list[SceneOut] | None = None, begin: Any = None) -> None:
        self.rows, self.listed, self.begin = rows, scenes or [], begin
        self.asked: list[tuple[Any, ...]] = []

    def scenes(self, since: Any, until: Any, max_rows: int) -> Any:
        return self.begin or since, self.listed

    def window(self, *asked: Any) -> SceneRows:
        self.asked.append(asked)
        assert self.rows is not None
        return self.rows


def rows(positions: int = 3, agents: int = 1, every: int = 1) -> SceneRows:
    times_s = 0.4 * np.arange(positions)
    return SceneRows([("a", times_s, np.stack([2 * times_s, 0 * times_s], axis=-1))], [], agents, every, NOW)


def scene(scene_id: str, newest: int) -> SceneOut:
    at = NOW - timedelta(seconds=newest)
    return SceneOut(scene_id=scene_id, agents=1, predictions=1, observations=0, first_at=at, newest_at=at, bounds=None)


def test_the_scene_heard_of_last_comes_first() -> None:
    seen = Scenes(SetSource(scenes=[scene("old", 9), scene("new", 1)]), CLOCK).seen(NOW - timedelta(hours=1), NOW)
    assert [one.scene_id for one in seen.scenes] == ["new", "old"]
    assert not seen.is_cut


def test_a_range_that_was_not_read_whole_says_so() -> None:
    begin = NOW - timedelta(minutes=5)
    seen = Scenes(SetSource(begin=begin), CLOCK).seen(NOW - timedelta(hours=1), NOW)
    assert (seen.since, seen.is_cut) == (begin, True)


def test_a_window_may_be_two_minutes_long_and_no_longer() -> None:
    made = Scenes(SetSource(rows()), CLOCK)
    assert made.window("s", NOW - timedelta(seconds=120), NOW).cut == []
    with pytest.raises(InvalidInput, match="at most 120 s long, not 121 s; shorten it"):
        made.window("s", NOW - timedelta(seconds=121), NOW)


def test_live_asks_for_the_last_seconds_and_the_newest_predictions_alone() -> None:
    source = SetSource(rows())
    Scenes(source, CLOCK).live("s", 10.0, 7)
    assert source.asked == [("s", NOW - timedelta(seconds=10), NOW, 7, None, None)]


def test_what_is_left_out_is_said() -> None:
    shown = Scenes(SetSource(rows(agents=5, every=3)), CLOCK).live("s", 10.0)
    assert shown.cut == ["4 of 5 agents, those with the fewest rows", "predictions: one in 3 of each agent is shown"]


def test_too_many_positions_are_thinned_and_the_newest_stays() -> None:
    many = rows(2 * MAX_POSITIONS + 1)
    shown = Scenes(SetSource(many), CLOCK).live("s", 10.0)
    [track] = shown.tracks
    assert len(track.positions) == len(track.times_s) <= MAX_POSITIONS
    assert track.times_s[-1] == pytest.approx(0.4 * 2 * MAX_POSITIONS)
    assert shown.cut == ["positions: one in 3 is shown"]


@pytest.mark.parametrize(
    ("times_s", "x_m", "expected"),
    [
        pytest.param([0.0], [0.0], None, id="one position"),
        pytest.param([0.0, 0.4], [0.0, 0.8], 2.0, id="two positions"),
        pytest.param([0.0, 1.0, 1.5, 2.0], [0.0, 9.0, 9.5, 10.0], 1.0, id="the last second alone"),
        pytest.param([0.0, 60.0], [0.0, 30.0], 0.5, id="a gap longer than a second"),
    ],
)
def test_speed_is_that_of_the_last_second(times_s: list[float], x_m: list[float], expected: float | None) -> None:
    found = speed_mps(np.array(times_s), np.stack([x_m, np.zeros(len(x_m))], axis=-1))
    assert found == (None if expected is None else pytest.approx(expected))
