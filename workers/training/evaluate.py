"""How good a forecaster is on windows of agents that it was not fitted on, over all and scene by scene."""

import posixpath
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from trajops import metrics
from trajops.errors import InvalidInput
from trajops.performance import expected
from trajops.performance.estimation import bands_of
from trajops.performance.intervals import VALIDATED
from trajops.performance.rules import BANDS, SpeedBand
from trajops.ports import Forecaster
from trajops.trajectories import BoolArray, FloatArray, Forecast
from trajops.windows import Windows

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
SAMPLES = 6
TIMED_CALLS = 200
TIMED_S = 1.0
METRIC_NAME = re.compile(r"[^\w\-./ ]")
# Scenes with figures of their own, those with the most windows: a registry keeps every figure of every run.
MOST_SCENES = 50
LONGEST_NAME = 200


class Latency(NamedTuple):
    """Time of one forecast, milliseconds: half of the calls are faster than `median_ms`, 95 of 100 than `p95_ms`."""

    median_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Samples:
    """A few windows with their forecasts, to be drawn.

    Attributes:
        history_m: (S, t_obs, 2) metres.
        truth_m: (S, t_pred, 2) metres.
        forecast: of these S agents.
    """

    history_m: FloatArray
    truth_m: FloatArray
    forecast: Forecast


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        metrics: val_ade_m, val_fde_m, val_miss_rate, val_nll, val_coverage_50, val_coverage_90, val_min_ade_m, val_min_fde_m,
            val_radius_m (sharpness: mean radius of the 90 % ellipses), val_cv_ade_m (constant velocity on the same windows),
            val_latency_ms (median) and val_latency_p95_ms; scene.{id}.ade_m, .fde_m, .coverage_90, .windows of the `MOST_SCENES` scenes
            with the most windows; the same and more by speed band (speed.walking.ade_m) and by step (step.01.ade_m), for live figures to
            be held against; and at each of `LEVELS` (calibration.0.90.observed), for the curve.
        step_error_m: (t_pred,) mean displacement at each step of the horizon, metres.
        baseline_error_m: (t_pred,) the same of constant velocity: what a model has to beat.
        observed_share: share of the truth inside the ellipse of each of `LEVELS`.
        samples: spread over the windows.
    """

    metrics: dict[str, float]
    step_error_m: FloatArray
    baseline_error_m: FloatArray
    observed_share: FloatArray
    samples: Samples


def evaluate(
    forecaster: Forecaster,
    validation: Windows,
    *,
    miss_threshold_m: float = metrics.MISS_THRESHOLD_M,
    bands: Sequence[SpeedBand] = BANDS,
) -> Evaluation:
    """Measure a forecaster on validation windows.

    Args:
        forecaster: a warm model.
        validation: N ≥ 1 windows of agents that the model has not seen.
        miss_threshold_m: a final displacement above this is a miss.
        bands: speed bands.

    Raises:
        InvalidInput: if there is no window.
    """
    if not len(validation):
        raise InvalidInput("there is no window to validate on; give more or longer tracks")
    forecast = forecaster.forecast(validation.history_m)
    truth_m = validation.truth_m
    measured = _scores(forecast, truth_m, miss_threshold_m)
    result = {f"val_{name}": value for name, value in measured.items()}
    scenes = np.array(validation.scene_ids)
    for scene_id, name in scene_names(validation.scene_ids).items():
        is_here = scenes == scene_id
        part = _scores(_select(forecast, is_here), truth_m[is_here], miss_threshold_m)
        result |= {f"scene.{name}.{figure}": part[figure] for figure in ("ade_m", "fde_m", "coverage_90")}
        result[f"scene.{name}.windows"] = float(is_here.sum())
    moved_m = np.diff(validation.history_m, axis=1)
    number = bands_of(np.hypot(moved_m[..., 0], moved_m[..., 1]).mean(axis=1) / validation.window.dt_s, bands)
    for band in np.unique(number).tolist():
        part = _scores(_select(forecast, number == band), truth_m[number == band], miss_threshold_m)
        result |= {f"speed.{bands[band].band}.{name}": part[name] for name in VALIDATED.values()}
        result[f"speed.{bands[band].band}.windows"] = float((number == band).sum())
    result |= _by_step(forecast, truth_m)
    observed_share = _observed_share(forecast, truth_m)
    result |= {f"calibration.{level:.2f}.observed": float(share) for level, share in zip(LEVELS, observed_share, strict=True)}
    result["val_latency_ms"], result["val_latency_p95_ms"] = latency(forecaster, validation.history_m[:1])
    rows = np.unique(np.linspace(0, len(validation) - 1, SAMPLES).astype(int))
    is_sample = np.isin(np.arange(len(validation)), rows)
    samples = Samples(validation.history_m[is_sample], truth_m[is_sample], _select(forecast, is_sample))
    step_error_m = metrics.displacement(forecast.best_m, truth_m).mean(axis=0)
    baseline_error_m = metrics.displacement(constant_velocity_m(validation), truth_m).mean(axis=0)
    result["val_cv_ade_m"] = float(baseline_error_m.mean())
    return Evaluation(result, step_error_m, baseline_error_m, observed_share, samples)


def constant_velocity_m(windows: Windows) -> FloatArray:
    """(N, t_pred, 2) metres: straight on with the last step."""
    history_m = windows.history_m
    ahead = np.arange(1, windows.window.t_pred + 1)[:, None]
    positions_m: FloatArray = history_m[:, -1:] + ahead * (history_m[:, -1:] - history_m[:, -2:-1])
    return positions_m


def scene_names(scene_ids: Sequence[str]) -> dict[str, str]:
    """The scenes that get figures of their own, and each one's name in them, which MLflow takes and no other scene has.

    Args:
        scene_ids: of each window.

    Returns:
        Names by scene id, sorted; at most `MOST_SCENES`.
    """
    most = sorted(Counter(scene_ids).items(), key=lambda found: (-found[1], found[0]))[:MOST_SCENES]
    names: dict[str, str] = {}
    for scene_id in sorted(scene_id for scene_id, _ in most):
        name = METRIC_NAME.sub("_", scene_id)[:LONGEST_NAME]
        if posixpath.normpath(f"scene.{name}.ade_m") != f"scene.{name}.ade_m":  # MLflow takes names for paths
            name = name.replace("/", "_")
        taken = set(names.values())
        names[scene_id] = next(one for one in (name, *(f"{name}_{count}" for count in range(2, MOST_SCENES + 2))) if one not in taken)
    return names


def latency(forecaster: Forecaster, history_m: FloatArray) -> Latency:
    """Time of one forecast of (1, t_obs, 2) metres, after a warm-up."""
    for _ in range(3):
        forecaster.forecast(history_m)
    taken_ns: list[int] = []
    until_ns = time.perf_counter_ns() + int(TIMED_S * 1e9)
    while len(taken_ns) < TIMED_CALLS and (not taken_ns or time.perf_counter_ns() < until_ns):
        started_ns = time.perf_counter_ns()
        forecaster.forecast(history_m)
        taken_ns.append(time.perf_counter_ns() - started_ns)
    median_ns, p95_ns = np.quantile(taken_ns, (0.5, 0.95)).tolist()
    return Latency(median_ns / 1e6, p95_ns / 1e6)


def _scores(forecast: Forecast, truth_m: FloatArray, miss_threshold_m: float) -> dict[str, float]:
    return {
        "ade_m": float(metrics.ade(forecast.best_m, truth_m).mean()),
        "fde_m": float(metrics.fde(forecast.best_m, truth_m).mean()),
        "min_ade_m": float(metrics.min_ade(forecast.mean_m, truth_m).mean()),
        "min_fde_m": float(metrics.min_fde(forecast.mean_m, truth_m).mean()),
        "miss_rate": metrics.miss_rate(forecast.mean_m, truth_m, miss_threshold_m),
        "nll": float(metrics.nll(forecast, truth_m).mean()),
        "radius_m": float(_radius_m(forecast).mean()),
        "coverage_50": metrics.coverage(forecast, truth_m, 0.5),
        "coverage_90": metrics.coverage(forecast, truth_m, 0.9),
    }


def _by_step(forecast: Forecast, truth_m: FloatArray) -> dict[str, float]:
    figures = {
        "ade_m": metrics.displacement(forecast.best_m, truth_m),
        "nll": metrics.nll(forecast, truth_m),
        "coverage_90": metrics.inside(forecast, truth_m, 0.9),
        "radius_m": _radius_m(forecast),
    }
    return {
        f"step.{step + 1:02d}.{name}": float(values[:, step].mean()) for name, values in figures.items() for step in range(values.shape[1])
    }


def _radius_m(forecast: Forecast) -> FloatArray:
    """(A, T) radius of the likeliest mode's 90 % ellipses, metres."""
    covariance_m2 = forecast.covariance_m2[:, 0]
    parts = np.stack([covariance_m2[..., 0, 0], covariance_m2[..., 0, 1], covariance_m2[..., 1, 1]], axis=-1)
    return expected.radius_m(expected.trace_and_root(parts)[1], 0.9)


def _observed_share(forecast: Forecast, truth_m: FloatArray) -> FloatArray:
    squared = metrics.squared_mahalanobis(forecast.best_m, forecast.covariance_m2[:, 0], truth_m)
    return np.array([(squared <= metrics.chi_square_quantile(level)).mean() for level in LEVELS])


def _select(forecast: Forecast, mask: BoolArray) -> Forecast:
    return Forecast(forecast.mean_m[mask], forecast.covariance_m2[mask], forecast.weights[mask])
