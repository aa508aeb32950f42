"""The embedded match as live traffic with its truth: what a model that learnt from the first half says of the second."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from data.datasets import skillcorner
from trajops.ports import Forecaster
from trajops.telemetry import OutcomeEvent, PredictionEvent
from trajops.trajectories import FloatArray
from trajops.truth import score
from trajops.windows import Windows, cut
from workers.compute import Inline
from workers.training.candidates import fit
from workers.training.evaluate import evaluate
from workers.training.partitions import Cutting, split


@cache
def trained(family: str) -> tuple[Forecaster, dict[str, float]]:
    """A model as the demo trains it on the first half, and its figures of validation."""
    data = split([skillcorner.load()["first_half"]], Inline(), Cutting())
    with threadpool_limits(1):  # as a training run does it: threads of BLAS cost a small network ten times more
        forecaster, _ = fit(family, data.fit, data.calibration, 0)
    return forecaster, evaluate(forecaster, data.validation).metrics


@cache
def second_half() -> Windows:
    """Every window of the second half, in the order of its time."""
    windows = cut(skillcorner.load()["second_half"])
    return windows.select(np.argsort(windows.observed_at_s, kind="stable"))


def events(
    forecaster: Forecaster,
    windows: Windows,
    at_ns: Callable[[float], int],
    *,
    scored_until_s: float = np.inf,
    model_version: int = 1,
    calibration: int | None = None,
    gain: float = 1.0,
) -> tuple[list[PredictionEvent], list[OutcomeEvent]]:
    """Predictions of windows, and the outcomes of those before `scored_until_s`, on the windows' clock.

    Args:
        forecaster: who answers.
        windows: what is asked, with its truth.
        at_ns: server's clock at a time of the windows.
        scored_until_s: later predictions have no truth yet.
        model_version: under which it answers.
        calibration: number of the calibration that it carries.
        gain: blows up scene and truth, so that everything errs more.
    """
    history_m, truth_m = gain * windows.history_m, gain * windows.truth_m
    forecast = forecaster.forecast(history_m)
    matrices = forecast.covariance_m2
    cov_m2 = np.stack([matrices[..., 0, 0], matrices[..., 0, 1], matrices[..., 1, 1]], axis=-1)
    dt_s = np.full(len(windows), windows.window.dt_s)
    scores = score(history_m, forecast.mean_m, cov_m2, forecast.weights, truth_m, dt_s=dt_s)
    predictions, outcomes = [], []
    for row, observed_at_s in enumerate(windows.observed_at_s.tolist()):
        shared: dict[str, Any] = {
            "prediction_id": f"p{model_version}-{calibration}-{gain}-{row}-{observed_at_s}",
            "received_ns": at_ns(observed_at_s),
            "observed_at_s": observed_at_s,
            "scene_id": "second_half",
            "agent_id": windows.agent_ids[row],
            "model_name": "trajectory",
            "model_version": model_version,
            "variant": "champion",
            "source": "replay",
            "calibration": calibration,
        }
        predictions.append(
            PredictionEvent(
                **shared,
                client_id="match",
                request_id="r",
                epoch=1,
                dt_s=windows.window.dt_s,
                history_m=_flat(history_m[row]),
                weights=_flat(forecast.weights[row]),
                mean_m=_flat(forecast.mean_m[row]),
                cov_m2=_flat(cov_m2[row]),
                latency_ms=0.2,
            )
        )
        if observed_at_s < scored_until_s:
            outcomes.append(
                OutcomeEvent(
                    **shared,
                    scored_ns=at_ns(observed_at_s + 5),
                    steps_scored=truth_m.shape[1],
                    is_complete=True,
                    ade_m=float(scores.ade_m[row]),
                    fde_m=float(scores.fde_m[row]),
                    is_miss=bool(scores.is_miss[row]),
                    nll=float(scores.nll[row]),
                    inside_share=float(scores.inside_share[row]),
                    cv_ade_m=float(scores.cv_ade_m[row]),
                    truth_delay_s=4.8,
                    step_error_m=_flat(scores.step_error_m[row]),
                    step_nll=_flat(scores.step_nll[row]),
                    step_inside=[bool(inside) for inside in scores.step_inside[row]],
                    interpolated_s=0.0,
                    speed_mps=float(scores.speed_mps[row]),
                    expected_ade_m=float(scores.expected_ade_m[row]),
                    radius_m=float(scores.radius_m[row]),
                    step_distance2=_flat(scores.step_distance2[row]),
                )
            )
    return predictions, outcomes


def _flat(values: FloatArray) -> list[Any]:
    numbers: list[Any] = values.ravel().tolist()
    return numbers
