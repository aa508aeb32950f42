"""Readable defaults for tests: each builder gives a valid thing, and a test names only what it is about.

The default agent walks along x at 1 m/s, seen every 0.4 s since `CLOCK_S`; the default forecast is constant velocity with a
circle that grows by a tenth of a metre a step.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from trajops.contracts.alerts import AlertOut
from trajops.contracts.models import AdoptionOut
from trajops.telemetry import ObservationEvent, OutcomeEvent, PredictionEvent
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Forecast, Scene, Track, WindowSpec
from trajops.windows import Windows, cut

CLOCK_S = 1_700_000_000.0
CLOCK_NS = int(CLOCK_S) * 1_000_000_000


def a_track(
    agent_id: str = "a1",
    *,
    steps: int = 20,
    dt_s: float = 0.4,
    start_s: float = 0.0,
    start_m: Sequence[float] = (0.0, 0.0),
    velocity_mps: Sequence[float] = (1.0, 0.0),
) -> Track:
    """An agent in straight, even motion."""
    elapsed_s = np.arange(steps) * dt_s
    return Track(agent_id, start_s + elapsed_s, np.asarray(start_m) + elapsed_s[:, None] * np.asarray(velocity_mps))


def a_turning_track(agent_id: str = "a1", *, steps: int = 40, dt_s: float = 0.4, radius_m: float = 5.0, speed_mps: float = 1.5) -> Track:
    """An agent on a circle: constant velocity is wrong about it."""
    times_s = np.arange(steps) * dt_s
    angle_rad = times_s * speed_mps / radius_m
    return Track(agent_id, times_s, radius_m * np.stack([np.cos(angle_rad), np.sin(angle_rad)], axis=-1))


def a_scene(*tracks: Track, scene_id: str = "s1") -> Scene:
    """A scene of the given tracks; by default two agents that walk past each other."""
    return Scene(scene_id, tracks or (a_track("a1"), a_track("a2", start_m=(8.0, 1.0), velocity_mps=(-1.2, 0.1))))


def some_windows(agents: int = 6, *, steps: int = 30, seed: int = 0, scene_id: str = "s1", window: WindowSpec = DEFAULT_WINDOW) -> Windows:
    """Windows of agents in straight motion with different velocities and a little jitter."""
    rng = np.random.default_rng(seed)
    tracks = []
    for number in range(agents):
        track = a_track(f"a{number}", steps=steps, dt_s=window.dt_s, start_m=rng.uniform(-10, 10, 2), velocity_mps=rng.normal(0, 1.5, 2))
        tracks.append(Track(track.agent_id, track.times_s, track.positions_m + rng.normal(0, 0.03, track.positions_m.shape)))
    return cut(Scene(scene_id, tuple(tracks)), window)


def a_crowd(scene_id: str = "s1", seed: int = 0, *, agents: int = 60) -> Scene:
    """A scene of agents in straight motion with different velocities and a little jitter, each seen for one window."""
    windows = some_windows(agents, steps=DEFAULT_WINDOW.steps, seed=seed)
    times_s = np.arange(DEFAULT_WINDOW.steps) * DEFAULT_WINDOW.dt_s
    walked = zip(windows.agent_ids, windows.positions_m, strict=True)
    return Scene(scene_id, tuple(Track(f"{scene_id}-{agent}", times_s, path) for agent, path in walked))


def a_history(agents: int = 1, *, window: WindowSpec = DEFAULT_WINDOW) -> FloatArray:
    """(A, t_obs, 2) observed positions; agent n walks along x at 1 m/s, n metres to the side."""
    along = np.broadcast_to(np.arange(window.t_obs) * window.dt_s, (agents, window.t_obs))
    return np.stack([along, np.broadcast_to(np.arange(agents, dtype=float)[:, None], along.shape)], axis=-1)


def a_forecast(mean_m: object = None, *, std_m: object = None, weights: object = None) -> Forecast:
    """A forecast around the given (A, K, T, 2) means, with circles of the given standard deviation per step."""
    if mean_m is None:
        last, step = a_history()[:, -1], a_history()[:, -1] - a_history()[:, -2]
        mean_m = (last[:, None] + np.arange(1, DEFAULT_WINDOW.t_pred + 1)[:, None] * step[:, None])[:, None]
    mean = np.asarray(mean_m, dtype=float)
    agents, modes, steps, _ = mean.shape
    std = np.broadcast_to(0.1 * np.arange(1, steps + 1) if std_m is None else np.asarray(std_m, dtype=float), (agents, modes, steps))
    share = np.full((agents, modes), 1 / modes) if weights is None else np.broadcast_to(np.asarray(weights, dtype=float), (agents, modes))
    return Forecast(mean, (std**2)[..., None, None] * np.eye(2), share)


def a_prediction_event(prediction_id: str = "p1", **changes: Any) -> PredictionEvent:
    """An answered prediction of the default agent: one mode, 12 steps."""
    forecast = a_forecast()
    covariance = forecast.covariance_m2
    values: dict[str, Any] = {
        "prediction_id": prediction_id,
        "received_ns": CLOCK_NS,
        "observed_at_s": CLOCK_S,
        "scene_id": "s1",
        "agent_id": "a1",
        "client_id": "c1",
        "request_id": "r1",
        "model_name": "trajectory",
        "model_version": 1,
        "variant": "champion",
        "epoch": 1,
        "dt_s": DEFAULT_WINDOW.dt_s,
        "history_m": a_history().ravel().tolist(),
        "weights": [1.0],
        "mean_m": forecast.mean_m.ravel().tolist(),
        "cov_m2": np.stack([covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]], axis=-1).ravel().tolist(),
        "latency_ms": 0.2,
    }
    return PredictionEvent(**(values | changes))


def an_observation_event(step: int = 1, **changes: Any) -> ObservationEvent:
    """Where the default agent is, `step` grid steps after its prediction."""
    elapsed_s = step * DEFAULT_WINDOW.dt_s
    values: dict[str, Any] = {
        "received_ns": CLOCK_NS + round(elapsed_s * 1e9),
        "observed_at_s": CLOCK_S + elapsed_s,
        "scene_id": "s1",
        "agent_id": "a1",
        "x_m": float(a_history()[0, -1, 0]) + elapsed_s,
        "y_m": 0.0,
    }
    return ObservationEvent(**(values | changes))


def an_outcome_event(prediction_id: str = "p1", **changes: Any) -> OutcomeEvent:
    """The complete score of a prediction that was a constant half metre off."""
    steps = DEFAULT_WINDOW.t_pred
    values: dict[str, Any] = {
        "prediction_id": prediction_id,
        "scored_ns": CLOCK_NS + 5_000_000_000,
        "received_ns": CLOCK_NS,
        "observed_at_s": CLOCK_S,
        "scene_id": "s1",
        "agent_id": "a1",
        "model_name": "trajectory",
        "model_version": 1,
        "variant": "champion",
        "source": "live",
        "steps_scored": steps,
        "is_complete": True,
        "ade_m": 0.5,
        "fde_m": 0.5,
        "is_miss": False,
        "nll": 0.8,
        "inside_share": 1.0,
        "cv_ade_m": 0.6,
        "truth_delay_s": 0.2,
        "step_error_m": [0.5] * steps,
        "step_nll": [0.8] * steps,
        "step_inside": [True] * steps,
        "interpolated_s": 0.0,
        "speed_mps": 1.0,
        "expected_ade_m": 0.8,
        "radius_m": 1.4,
        "step_distance2": [1.0] * steps,
    }
    return OutcomeEvent(**(values | changes))


def an_adoption(model_version: int = 5, state: str = "waiting", code: str | None = None, reason: str = "next in line") -> AdoptionOut:
    """A version that somebody registered in MLflow and that is not adopted."""
    at = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
    return AdoptionOut(model_version=model_version, state=state, code=code, reason=reason, registered_at=at, run_id=None)


def an_alert(alert_id: str = "alert-1", at: datetime = datetime(2026, 11, 24, 3, 0, tzinfo=UTC), **given: Any) -> AlertOut:
    """An open alert that nobody looks after, of a job that is late, firing since `at`."""
    values: dict[str, Any] = {
        "alert_id": alert_id,
        "fingerprint": f"{alert_id:0>32}",
        "rule": "job_late",
        "origin": "rules",
        "title": "A job is late",
        "summary": "It has not succeeded for 412 s.",
        "detail": "",
        "labels": {},
        "severity": "warning",
        "state": "open",
        "version": 2,
        "value": 1.0,
        "condition": ">= 1",
        "started_at": at,
        "opened_at": at,
        "seen_at": at,
        "updated_at": at,
        "told": [],
        **dict.fromkeys(("acknowledged_at", "acknowledged_by", "assigned_to", "escalated_at", "resolved_at", "resolved_by")),
        **dict.fromkeys(("silence_id", "runbook", "link")),
        **given,
    }
    return AlertOut.model_validate({**values, "is_silenced": values["silence_id"] is not None})


def some_histories(rows: int, seed: int = 0) -> FloatArray:
    """(N, 8, 2) random walks, float32."""
    return np.cumsum(np.random.default_rng(seed).normal(scale=0.5, size=(rows, 8, 2)), axis=1).astype(np.float32)
