"""Reference history for the lake: the first half predicted at once, marked as backfill (docs/decisions/0005).

The half ends now, so that the reference lies right before the first live prediction. Tracks that no model was fitted or
calibrated on are answered by one of the compared versions each, as live agents are, so that both have a reference of what they
say about agents they do not know. All other tracks are answered by the baseline, which was fitted on nothing: the reference of
the inputs needs them, because it judges whole minutes of a match. Outcomes are written for the compared versions' answers.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from uuid import uuid4

import numpy as np

from data.datasets import skillcorner
from data.lake.spool import Spool
from trajops.deployments.model_ref import ModelRef
from trajops.experiments.assignment import unit_interval
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.ports import Forecaster
from trajops.services.predict import BASELINE
from trajops.settings import Settings
from trajops.telemetry import OutcomeEvent, PredictionEvent
from trajops.trajectories import FloatArray, Track, WindowSpec
from trajops.truth import Scores, score
from workers.training.partitions import role_of

CHUNK = 2_000
HOURS_S = 36_000.0


def backfill(settings: Settings, forecasters: Mapping[int, Forecaster], scene_id: str) -> int:
    """Write predictions and outcomes of the first half to the spool.

    Args:
        settings: where the spool is, and how outcomes are scored.
        forecasters: by version; each answers its share of the agents that none of them was fitted or calibrated on.
        scene_id: of the events.

    Returns:
        The number of predictions.
    """
    scene = skillcorner.load()["first_half"]
    shift_s = time.time() - max(float(track.times_s[-1]) for track in scene.tracks)
    count = 0
    # Written aside and then moved, so that a start that is killed here leaves no half of it in the lake.
    aside = settings.var_dir / "backfill"
    shutil.rmtree(aside, ignore_errors=True)
    with Spool(aside, rotate_s=HOURS_S) as spool:
        models = {ModelRef(settings.model_name, version): forecaster for version, forecaster in forecasters.items()}
        for model, forecaster in {**models, BASELINE: ConstantVelocity()}.items():
            mine = [track for track in scene.tracks if _answering(track.agent_id, list(models)) == model]
            rows = [row for track in mine for row in _rows(track, forecaster.window, shift_s)]
            for start in range(0, len(rows), CHUNK):
                agents, times, histories, truths = zip(*rows[start : start + CHUNK], strict=True)
                arrays = np.stack(histories), np.stack(truths)
                predictions, outcomes = _events(settings, forecaster, model, scene_id, agents, times, *arrays)
                spool.write("predictions", predictions)
                spool.write("outcomes", outcomes)
            count += len(rows)
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    for segment in sorted(aside.glob("*.ndjson")):
        segment.rename(settings.spool_dir / segment.name)
    shutil.rmtree(aside)
    return count


def _answering(agent_id: str, models: Sequence[ModelRef]) -> ModelRef:
    """The model that an agent's track may be answered by without having learnt from it."""
    if role_of(agent_id) != "validation":
        return BASELINE
    return models[int(unit_interval("backfill", agent_id) * len(models))]


def _rows(track: Track, window: WindowSpec, shift_s: float) -> list[tuple[str, float, FloatArray, FloatArray]]:
    """Agent, time, history and truth (NaN where the track ends) at each state that has a full history."""
    t_obs, t_pred = window.t_obs, window.t_pred
    padded_m = np.concatenate([track.positions_m, np.full((t_pred, 2), np.nan)])
    return [
        (
            track.agent_id,
            float(track.times_s[last]) + shift_s,
            padded_m[last - t_obs + 1 : last + 1],
            padded_m[last + 1 : last + 1 + t_pred],
        )
        for last in range(t_obs - 1, len(track))
    ]


def _events(
    settings: Settings,
    forecaster: Forecaster,
    model: ModelRef,
    scene_id: str,
    agents: tuple[str, ...],
    times_s: tuple[float, ...],
    history_m: FloatArray,
    truth_m: FloatArray,
) -> tuple[list[PredictionEvent], list[OutcomeEvent]]:
    started_ns = time.perf_counter_ns()
    forecast = forecaster.forecast(history_m)
    latency_ms = (time.perf_counter_ns() - started_ns) / 1e6 / len(agents)
    covariance = forecast.covariance_m2.reshape(*forecast.mean_m.shape[:3], 4)[..., [0, 1, 3]]
    scores = score(
        history_m,
        forecast.mean_m,
        covariance,
        forecast.weights,
        truth_m,
        dt_s=forecaster.window.dt_s,
        miss_threshold_m=settings.miss_threshold_m,
        level=settings.coverage_level,
    )
    predictions, outcomes = [], []
    for row, (agent, time_s) in enumerate(zip(agents, times_s, strict=True)):
        prediction = PredictionEvent(
            prediction_id=uuid4().hex,
            received_ns=int(time_s * 1e9),
            observed_at_s=time_s,
            scene_id=scene_id,
            agent_id=f"b-{agent}",
            client_id="demo backfill",
            request_id="backfill",
            model_name=model.name,
            model_version=model.version,
            variant="champion",
            epoch=0,
            dt_s=forecaster.window.dt_s,
            history_m=history_m[row].ravel().tolist(),
            weights=forecast.weights[row].tolist(),
            mean_m=forecast.mean_m[row].ravel().tolist(),
            cov_m2=covariance[row].ravel().tolist(),
            latency_ms=latency_ms,
            source="backfill",
        )
        predictions.append(prediction)
        if scores.is_usable[row] and model != BASELINE:
            outcomes.append(_outcome(prediction, scores, row))
    return predictions, outcomes


def _outcome(prediction: PredictionEvent, scores: Scores, row: int) -> OutcomeEvent:
    known = scores.known[row].tolist()
    is_complete = all(known)
    horizon_s = len(known) * prediction.dt_s

    def steps(values: FloatArray) -> list[float | None]:
        return [value if there else None for value, there in zip(values.tolist(), known, strict=True)]

    return OutcomeEvent(
        prediction_id=prediction.prediction_id,
        scored_ns=prediction.received_ns + int(horizon_s * 1e9),
        received_ns=prediction.received_ns,
        observed_at_s=prediction.observed_at_s,
        scene_id=prediction.scene_id,
        agent_id=prediction.agent_id,
        model_name=prediction.model_name,
        model_version=prediction.model_version,
        variant=prediction.variant,
        source="backfill",
        steps_scored=int(scores.steps_scored[row]),
        is_complete=is_complete,
        ade_m=float(scores.ade_m[row]),
        fde_m=float(scores.fde_m[row]) if known[-1] else None,
        is_miss=bool(scores.is_miss[row]) if known[-1] else None,
        nll=float(scores.nll[row]),
        inside_share=float(scores.inside_share[row]),
        cv_ade_m=float(scores.cv_ade_m[row]),
        truth_delay_s=horizon_s,
        step_error_m=steps(scores.step_error_m[row]),
        step_nll=steps(scores.step_nll[row]),
        step_inside=[bool(inside) if there else None for inside, there in zip(scores.step_inside[row], known, strict=True)],
        interpolated_s=0.0,
        speed_mps=float(scores.speed_mps[row]),
        expected_ade_m=float(scores.expected_ade_m[row]),
        radius_m=float(scores.radius_m[row]),
        step_distance2=steps(scores.step_distance2[row]),
        experiment_id=prediction.experiment_id,
        shadow_of=prediction.shadow_of,
    )
