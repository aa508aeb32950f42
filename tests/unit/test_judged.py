"""A prediction that was made afterwards is judged as the API judges its own."""

import numpy as np
import pytest

from console.predicting.judged import as_scored, judged
from trajops import metrics
from trajops.contracts.predictions import Mode, OutcomeOut, PredictionOut, PredictOut
from trajops.trajectories import Forecast

CHANCE = np.random.default_rng(4)
MEAN = CHANCE.normal(0, 3, (12, 2))
COVARIANCE = [(0.5 + k / 6, 0.1 * k / 6, 0.4 + k / 4) for k in range(12)]
CAME = MEAN + CHANCE.normal(0, 1.2, (12, 2))


def a_prediction() -> PredictOut:
    modes = [
        Mode(weight=0.7, positions=MEAN.tolist(), covariance=COVARIANCE),
        Mode(weight=0.3, positions=CAME.tolist(), covariance=COVARIANCE),
    ]
    return PredictOut(
        prediction_id="p", agent_id="a", scene_id="s", observed_at_s=1.0, dt_s=0.4, model_name="m", model_version=2,
        variant="champion", epoch=1, modes=modes, model_ms=0.1,
    )  # fmt: skip


def truth(*missing: int) -> list[tuple[float, float] | None]:
    return [None if k in missing else (float(x), float(y)) for k, (x, y) in enumerate(CAME)]


@pytest.mark.parametrize("missing", [(), (3, 4), tuple(range(5, 12))], ids=["whole", "a gap", "so far"])
def test_figures_are_those_of_the_core(missing: tuple[int, ...]) -> None:
    found = judged(a_prediction(), truth(*missing))
    known = np.array([[k not in missing for k in range(12)]])
    matrices = np.array([[[xx, xy], [xy, yy]] for xx, xy, yy in COVARIANCE])
    forecast = Forecast(weights=np.ones((1, 1)), mean_m=MEAN[None, None], covariance_m2=matrices[None, None])
    distances = np.linalg.norm(CAME - MEAN, axis=1)[known[0]]
    assert found.ade_m == pytest.approx(distances.mean())
    assert found.steps == known.sum()
    assert found.inside_share == pytest.approx(metrics.coverage(forecast, CAME[None], mask=known))
    assert found.fde_m == (None if 11 in missing else pytest.approx(float(np.linalg.norm(CAME[11] - MEAN[11]))))


def test_without_truth_there_is_no_figure() -> None:
    assert judged(a_prediction(), [None] * 12) == judged(a_prediction(), []) == (None, None, 0, None)


def test_what_the_api_has_found_is_taken_as_it_is() -> None:
    outcome = OutcomeOut(
        steps_scored=5,
        is_complete=False,
        ade_m=0.4,
        fde_m=None,
        is_miss=None,
        nll=1.0,
        inside_share=0.8,
        truth_delay_s=0.1,
        step_error_m=[],
    )
    shown = PredictionOut(prediction=a_prediction(), received_at="2026-01-01T00:00:00Z", history=[], truth=truth(), outcome=outcome)
    assert as_scored(shown) == (0.4, None, 5, 0.8)
    assert as_scored(shown.model_copy(update={"outcome": None})).steps == 0
