"""Evaluation and its figures, on cases that can be computed by hand."""

import json
import time

import numpy as np
import pytest

from tests.builders import a_forecast, a_scene, a_track, some_windows
from trajops.errors import InvalidInput
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.metrics import chi_square_quantile, squared_mahalanobis
from trajops.trajectories import DEFAULT_WINDOW, Forecast
from trajops.windows import Windows, cut
from workers.training import plots
from workers.training.evaluate import LEVELS, MOST_SCENES, Samples, constant_velocity_m, evaluate, latency, scene_names


class Off:
    """A forecaster that is right but for `offset_m` to the side, with circles of one square metre."""

    family = "off"
    window = DEFAULT_WINDOW

    def __init__(self, offset_m: float) -> None:
        self._offset_m = offset_m

    def forecast(self, history_m: np.ndarray) -> Forecast:
        step_m = history_m[:, -1:] - history_m[:, -2:-1]
        mean_m = history_m[:, -1:] + np.arange(1, 13)[:, None] * step_m + [0.0, self._offset_m]
        agents = len(history_m)
        return Forecast(mean_m[:, None], np.broadcast_to(np.eye(2), (agents, 1, 12, 2, 2)), np.ones((agents, 1)))


def straight(scene_id: str = "s1") -> Windows:
    return cut(a_scene(a_track("a1", steps=30), a_track("a2", steps=30, velocity_mps=(0.0, 2.0)), scene_id=scene_id))


@pytest.mark.parametrize(
    ("offset_m", "miss_rate", "inside_50", "inside_90"),
    [
        pytest.param(0.0, 0.0, 1.0, 1.0, id="exact"),
        pytest.param(1.5, 0.0, 0.0, 1.0, id="outside of the half, inside of the ninety"),
        pytest.param(3.0, 1.0, 0.0, 0.0, id="a miss"),
    ],
)
def test_figures_of_a_known_offset(offset_m: float, miss_rate: float, inside_50: float, inside_90: float) -> None:
    measured = evaluate(Off(offset_m), straight())
    figures = measured.metrics
    assert figures["val_ade_m"] == pytest.approx(offset_m, abs=1e-9)
    assert figures["val_fde_m"] == pytest.approx(offset_m, abs=1e-9)
    assert figures["val_nll"] == pytest.approx(np.log(2 * np.pi) + offset_m**2 / 2)
    assert figures["val_miss_rate"] == miss_rate
    assert (figures["val_coverage_50"], figures["val_coverage_90"]) == (inside_50, inside_90)
    assert figures["val_cv_ade_m"] == pytest.approx(0.0, abs=1e-9)
    assert 0 < figures["val_latency_ms"] <= figures["val_latency_p95_ms"]
    assert measured.step_error_m == pytest.approx(np.full(12, offset_m), abs=1e-9)
    assert measured.observed_share[LEVELS.index(0.9)] == inside_90
    assert figures["calibration.0.90.observed"] == inside_90


def test_each_scene_has_its_own_figures_under_a_name_that_mlflow_takes() -> None:
    windows = Windows.concatenate([straight("north"), straight("süd/west?")])
    figures = evaluate(Off(1.0), windows).metrics
    assert figures["scene.north.ade_m"] == pytest.approx(1.0)
    assert figures["scene.süd/west_.ade_m"] == pytest.approx(1.0)
    assert figures["scene.north.windows"] == len(straight("north"))
    assert sum(value for name, value in figures.items() if name.startswith("speed.") and name.endswith(".windows")) == len(windows)


class Slow(Off):
    """Every tenth forecast takes some milliseconds."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self._calls = 0

    def forecast(self, history_m: np.ndarray) -> Forecast:
        self._calls += 1
        if self._calls % 10 == 0:
            time.sleep(0.005)
        return super().forecast(history_m)


def test_what_one_in_ten_forecasts_takes_is_seen_beside_the_median() -> None:
    found = latency(Slow(), straight().history_m[:1])
    assert found.p95_ms > 5.0
    assert found.median_ms < 5.0


def test_scenes_with_figures_of_their_own_are_those_with_the_most_windows_and_bounded() -> None:
    ids = [f"s{number:03d}" for number in range(200) for _ in range(1 + number % 100)]
    names = scene_names(ids)
    assert len(names) == MOST_SCENES
    assert min(int(name[1:]) % 100 for name in names) == 75
    assert list(names) == sorted(names)


def test_nothing_to_validate_on() -> None:
    with pytest.raises(InvalidInput, match="no window to validate on"):
        evaluate(ConstantVelocity(), Windows.empty())


def test_constant_velocity_goes_straight_on() -> None:
    windows = straight()
    assert constant_velocity_m(windows) == pytest.approx(windows.truth_m)


def test_samples_are_spread_and_few() -> None:
    samples = evaluate(Off(0.0), some_windows(20)).samples
    assert len(samples.history_m) == len(samples.truth_m) == len(samples.forecast.mean_m) == 6


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_every_point_of_the_ellipse_lies_on_its_quantile(level: float) -> None:
    covariance_m2 = np.array([[2.0, 0.6], [0.6, 0.5]])
    outline_m = plots.ellipse(np.array([3.0, -1.0]), covariance_m2, level)
    assert squared_mahalanobis(np.array([3.0, -1.0]), covariance_m2, outline_m) == pytest.approx(chi_square_quantile(level))
    assert outline_m[0] == pytest.approx(outline_m[-1])


def test_figures_hold_the_numbers_and_the_page_needs_nothing_from_outside() -> None:
    errors = plots.error_by_step({"model": np.array([0.1, 0.3])}, 0.4)
    assert json.loads(errors.to_json())["data"][0]["x"] == pytest.approx([0.4, 0.8])
    assert json.loads(errors.to_json())["data"][0]["y"] == pytest.approx([0.1, 0.3])
    calibration = plots.calibration_curve([0.5, 0.9], np.array([0.4, 0.8]))
    assert json.loads(calibration.to_json())["data"][1]["y"] == pytest.approx([0.4, 0.8])
    truth_m = np.zeros((2, 12, 2))
    drawn = plots.sample_forecasts(Samples(np.zeros((2, 8, 2)), truth_m, a_forecast(np.ones((2, 1, 12, 2)))))
    # Four ellipses, forecast, history and truth for each of two agents.
    assert len(drawn.data) == 2 * 7
    page = plots.report("A < B", [errors, calibration, drawn])
    assert "<h1>A &lt; B</h1>" in page
    assert page.count("<script src=") == 0
    assert page.count("Plotly.newPlot(") >= 3
