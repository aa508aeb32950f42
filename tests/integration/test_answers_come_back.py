"""Whatever `/predict` accepts is answered within its own contract, and can be read again from the lake."""

import json
from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.builders import a_prediction_event, an_outcome_event
from tests.running_api import Api, a_body
from tests.served_api import Served, served_api
from trajops.client import TrajOpsClient
from trajops.contracts.predictions import (
    BatchColumnsIn,
    BatchColumnsOut,
    BatchPredictOut,
    PredictIn,
    PredictionOut,
    PredictOut,
    RecentPredictions,
)
from trajops.forecasters.gaussian_mlp import GaussianMLP
from trajops.forecasters.kalman import Kalman, KalmanNoise

History = list[list[float]]
WALK: History = [[431_000 + 0.5 * n, 5_820_000 + 0.1 * n] for n in range(8)]
ODD: dict[str, History] = {
    "displaced-3-km": [*WALK[:5], [431_000, 5_823_000], *WALK[6:]],
    "fix-at-the-origin": [*WALK[:7], [0, 0]],
    "jump-of-10-km": [*WALK[:7], [441_000, 5_820_000]],
    "alternating-at-the-bound": [[1e7 * (-1) ** n, -1e7 * (-1) ** n] for n in range(8)],
}
COORDINATES = st.one_of(st.floats(-1e7, 1e7), st.sampled_from([0, -1e7, 1e7, 1e-300, 431_000, 5_820_000]))
HISTORIES = st.lists(st.lists(COORDINATES, min_size=2, max_size=2), min_size=8, max_size=8)
AGENTS = count()


def a_network() -> GaussianMLP:
    rng = np.random.default_rng(0)
    sizes = (15, 8, 84)
    weights = [rng.normal(size=pair) for pair in pairwise(sizes)]
    return GaussianMLP(weights, [rng.normal(size=size) for size in sizes[1:]], np.full(12, 0.01))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_api(tmp_path_factory.mktemp("var")) as served:
        loader: Any = served.api.parts.loader
        loader.models |= {2: lambda: Kalman(KalmanNoise(1.0, 1e-4, 4.0)), 3: a_network}
        for version in (3, 2, 1):
            served.api.promote(version)
        yield served


@pytest.fixture(scope="module")
def api(served: Served) -> Api:
    return served.api


def assert_comes_back(api: Api, histories: Sequence[History], model_version: int | None = None) -> None:
    agent_id = f"agent{next(AGENTS)}"
    answers = []
    for history in histories:
        body = a_body(agent_id, history=history, model_version=model_version)
        PredictIn.model_validate_json(json.dumps(body))
        answer = api.post("/predict", body)
        assert answer.status_code == 200, answer.text
        answers.append(PredictOut.model_validate_json(answer.content))
    listed = api.get("/v1/predictions", agent_id=agent_id)
    assert listed.status_code == 200, listed.text
    found = RecentPredictions.model_validate_json(listed.content).predictions
    remembered = {one.prediction.prediction_id: one for one in found}
    for history, out in zip(histories, answers, strict=True):
        one = remembered[out.prediction_id]
        assert [list(position) for position in one.history] == [[float(x), float(y)] for x, y in history]
        assert one.prediction.modes[0].positions == out.modes[0].positions
        assert np.allclose(one.prediction.modes[0].covariance, out.modes[0].covariance, rtol=1e-6)


@pytest.mark.parametrize("history", ODD.values(), ids=ODD)
def test_a_glitch_is_answered_and_remembered(api: Api, history: History) -> None:
    for version in (None, 2, 3):
        assert_comes_back(api, [history], version)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(HISTORIES, min_size=1, max_size=4), st.sampled_from([None, 2, 3]))
@example([[[1e7, -1e7]] * 7 + [[-1e7, 1e7]]], None)
def test_whatever_is_accepted(api: Api, histories: list[History], model_version: int | None) -> None:
    assert_comes_back(api, histories, model_version)


def test_batches_answer_glitches_within_their_contract(api: Api) -> None:
    bodies = [a_body(f"batch-{name}", history=history) for name, history in ODD.items()]
    items = BatchPredictOut.model_validate_json(api.post("/batch_predict", {"items": bodies}).content).items
    assert all(item.prediction is not None for item in items)
    columns = BatchColumnsIn(history=list(ODD.values()), agent_id=list(ODD))
    out = BatchColumnsOut.model_validate_json(api.post("/batch_predict", columns.model_dump()).content)
    assert not out.errors


def test_the_console_reads_a_glitch(served: Served) -> None:
    with TrajOpsClient(f"http://127.0.0.1:{served.port}", served.key) as client:
        out = client.predict(PredictIn.model_validate(a_body("glitch", history=ODD["displaced-3-km"])))
        assert client.prediction(out.prediction_id).prediction.modes[0].positions == out.modes[0].positions
        assert out.prediction_id in {one.prediction.prediction_id for one in client.predictions().predictions}


@pytest.mark.parametrize(
    "spoilt",
    [
        {"mean_m": [0.0] * 23},
        {"weights": None},
        {"cov_m2": [1e39] * 36},
        {"variant": None},
        {"history_m": [0.0] * 15},
        {"agent_id": None},
    ],
    ids=lambda spoilt: next(iter(spoilt)),
)
def test_a_row_that_cannot_be_read_leaves_the_others(api: Api, spoilt: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    name = f"row-{next(iter(spoilt))}"
    scene = {"scene_id": name, "received_ns": api.parts.clock.now_ns()}
    rows = [a_prediction_event(f"{name}-good", **scene), a_prediction_event(f"{name}-bad", **(scene | spoilt))]
    api.parts.spool.write("predictions", rows)
    found = RecentPredictions.model_validate_json(api.get("/v1/predictions", scene_id=name).content).predictions
    assert [one.prediction.prediction_id for one in found] == [f"{name}-good"]
    assert api.get(f"/v1/predictions/{name}-bad").status_code == 404
    assert "agent_id" in spoilt or f"prediction {name}-bad is left out" in caplog.text


def test_an_outcome_that_cannot_be_read_leaves_its_prediction(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    stamped = {"scene_id": "outcome", "received_ns": api.parts.clock.now_ns()}
    api.parts.spool.write("predictions", [a_prediction_event(name, **stamped) for name in ("scored", "misscored")])
    outcomes = [an_outcome_event("scored", **stamped), an_outcome_event("misscored", **(stamped | {"nll": float("nan")}))]
    api.parts.spool.write("outcomes", outcomes)
    found = RecentPredictions.model_validate_json(api.get("/v1/predictions", scene_id="outcome").content).predictions
    assert {one.prediction.prediction_id: one.outcome is not None for one in found} == {"scored": True, "misscored": False}
    assert "the outcome of prediction misscored is left out" in caplog.text
    one = PredictionOut.model_validate_json(api.get("/v1/predictions/scored").content)
    assert one.outcome is not None
