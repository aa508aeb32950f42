"""Two models on the same windows: by agent, and honest about how sure it is."""

import numpy as np
import pytest

from tests.builders import a_turning_track, some_windows
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.head_to_head import compare, interval
from trajops.ports import Forecaster
from trajops.trajectories import Forecast, Scene
from trajops.windows import Windows, cut


class StandStill:
    """Says that everybody stays where they are."""

    family = "stand_still"

    def __init__(self, like: Forecaster) -> None:
        self._like, self.window = like, like.window

    def forecast(self, history_m: np.ndarray) -> Forecast:
        made = self._like.forecast(history_m)
        return Forecast(np.broadcast_to(history_m[:, None, -1:], made.mean_m.shape), made.covariance_m2, made.weights)


@pytest.fixture(scope="module")
def straight() -> Forecaster:
    return ConstantVelocity(np.ones(12))


def test_the_better_model_is_told_from_the_worse_one(straight: Forecaster) -> None:
    windows = some_windows(30)
    found = compare(straight, StandStill(straight), windows)
    assert found.verdict == "better"
    assert found.agents == 30
    assert found.candidate_ade_m < found.incumbent_ade_m
    assert compare(StandStill(straight), straight, windows).verdict == "worse"
    assert "30 agents" in found.sentence


def test_a_model_against_itself_is_undecided(straight: Forecaster) -> None:
    assert compare(straight, straight, some_windows(30)).verdict == "undecided"


def test_few_agents_decide_nothing_however_many_windows(straight: Forecaster) -> None:
    windows = cut(Scene("s", tuple(a_turning_track(f"a{number}", steps=400) for number in range(3))))
    assert len(windows) > 1000
    assert compare(straight, StandStill(straight), windows).verdict == "undecided"


def test_nothing_recorded_decides_nothing(straight: Forecaster) -> None:
    found = compare(straight, StandStill(straight), Windows.empty())
    assert (found.verdict, found.sentence) == ("undecided", "no recorded window to compare on")
    assert (found.candidate_ade_m, found.incumbent_ade_m) == (None, None), "what is kept as JSON has no NaN"


def test_the_interval_holds_what_it_promises_by_agent_and_would_not_by_window() -> None:
    """Agents differ from one another and each has 50 windows: by agent the interval holds in 95 % of runs, by window in far fewer."""
    rng = np.random.default_rng(5)
    runs, agents, windows = 2000, 20, 50
    held = {"agent": 0, "window": 0}
    for _ in range(runs):
        rows = rng.normal(0.3, 1.0, agents)[:, None] + rng.normal(0, 0.5, (agents, windows))
        for unit, numbers in (("agent", rows.mean(axis=1)), ("window", rows.ravel())):
            low, high = interval(numbers)
            held[unit] += low < 0.3 < high
    assert 0.935 < held["agent"] / runs < 0.965
    assert held["window"] / runs < 0.5
