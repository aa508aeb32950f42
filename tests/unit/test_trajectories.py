"""Track, Scene, Forecast: shapes are checked at the border."""

import numpy as np
import pytest

from tests.builders import a_forecast, a_scene, a_track
from trajops.errors import ShapeError
from trajops.trajectories import DEFAULT_WINDOW, Forecast, Track, WindowSpec, checked


def test_the_default_window_is_eight_in_and_twelve_out() -> None:
    assert (DEFAULT_WINDOW.t_obs, DEFAULT_WINDOW.t_pred, DEFAULT_WINDOW.steps) == (8, 12, 20)
    assert DEFAULT_WINDOW.horizon_s == pytest.approx(4.8)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"t_obs": 1}, id="one observation has no velocity"),
        pytest.param({"t_pred": 0}, id="nothing to predict"),
        pytest.param({"dt_s": 0.0}, id="no time step"),
        pytest.param({"dt_s": float("nan")}, id="time step not a number"),
    ],
)
def test_an_impossible_window_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ShapeError, match="a window needs"):
        WindowSpec(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("array", "shape", "words"),
    [
        pytest.param([[1.0, 2.0], [3.0]], (None, 2), "regular array", id="ragged"),
        pytest.param(["a"], (None,), "must be numbers", id="text"),
        pytest.param([1.0, 2.0], (3,), r"shape \(3\), not \(2,\)", id="wrong length"),
        pytest.param([[1.0]], (None,), r"shape \(any\)", id="too many axes"),
        pytest.param([np.nan], (None,), "not finite", id="not a number"),
        pytest.param([np.inf], (None,), "not finite", id="infinite"),
    ],
)
def test_checked_says_what_is_wrong(array: object, shape: tuple[int | None, ...], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        checked("thing", array, *shape)


def test_checked_reads_lists_as_floats() -> None:
    result = checked("thing", [[1, 2]], None, 2)
    assert result.dtype == np.float64
    assert result.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("times_s", [[0.0, 0.0], [1.0, 0.0]], ids=["repeated", "backwards"])
def test_a_track_refuses_times_that_do_not_increase(times_s: list[float]) -> None:
    with pytest.raises(ShapeError, match="a7 must strictly increase"):
        Track("a7", np.array(times_s), np.zeros((2, 2)))


def test_a_track_refuses_positions_of_another_length() -> None:
    with pytest.raises(ShapeError, match="positions_m"):
        Track("a1", np.arange(3.0), np.zeros((2, 2)))


def test_a_scene_finds_its_agents() -> None:
    scene = a_scene(a_track("left"), a_track("right", steps=5))
    assert len(scene.by_agent()["right"]) == 5


@pytest.mark.parametrize(
    ("mean", "covariance", "weights", "words"),
    [
        pytest.param((1, 12, 2), (1, 1, 12, 2, 2), (1, 1), "mean_m", id="no mode axis"),
        pytest.param((1, 1, 12, 3), (1, 1, 12, 2, 2), (1, 1), "mean_m", id="three coordinates"),
        pytest.param((1, 1, 12, 2), (1, 12, 2, 2), (1, 1), "covariance_m2", id="covariance without modes"),
        pytest.param((1, 2, 12, 2), (1, 2, 12, 2, 2), (1, 1), "weights", id="a mode without weight"),
    ],
)
def test_a_forecast_refuses_shapes_that_disagree(
    mean: tuple[int, ...], covariance: tuple[int, ...], weights: tuple[int, ...], words: str
) -> None:
    with pytest.raises(ShapeError, match=words):
        Forecast(np.zeros(mean), np.zeros(covariance), np.zeros(weights))


def test_the_best_mode_is_the_first() -> None:
    means = np.zeros((1, 2, 3, 2))
    means[0, 0] = 7.0
    assert (a_forecast(means, weights=[0.6, 0.4]).best_m == 7.0).all()
