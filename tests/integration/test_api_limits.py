"""Limits over HTTP: header fields on every hot answer, 429 with a time, and whole batches or nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import a_history
from tests.running_api import Api, a_body, running_api
from trajops.contracts.problems import Problem

SLOW = {"rate_limit_per_s": 0.01, "rate_limit_burst": 5}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running_api(tmp_path, **SLOW) as api:
        api.promote(1)
        yield api


def batch(count: int) -> dict[str, Any]:
    return {"items": [a_body(f"a{number}") for number in range(count)]}


def test_each_prediction_takes_a_token_until_none_is_left(api: Api) -> None:
    for left in (4, 3, 2, 1, 0):
        answer = api.post("/predict", a_body())
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"client";q=5;w=500'
        assert answer.headers["ratelimit"].startswith(f'"client";r={left};t=')
    refused = api.post("/predict", a_body())
    problem = Problem.model_validate_json(refused.content)
    assert (refused.status_code, problem.code, problem.type) == (429, "rate_limited", "/docs/errors#rate_limited")
    assert refused.headers["content-type"] == "application/problem+json"
    wait_s = int(refused.headers["retry-after"])
    assert 95 <= wait_s <= 100
    assert refused.headers["ratelimit"] == f'"client";r=0;t={wait_s}'
    assert api.post("/predict", a_body(), "operator").status_code == 200, "another client has tokens of its own"


def test_a_batch_takes_as_many_tokens_as_it_has_items_or_none(api: Api) -> None:
    assert api.post("/batch_predict", batch(3)).headers["ratelimit"].startswith('"client";r=2;')
    refused = api.post("/batch_predict", batch(3))
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 95 <= int(refused.headers["retry-after"]) <= 100
    never = api.post("/batch_predict", batch(6))
    assert (never.status_code, never.json()["code"]) == (429, "batch_over_limit")
    assert "retry-after" not in never.headers
    assert "more than the 5" in never.json()["detail"]
    assert api.post("/batch_predict", batch(2)).headers["ratelimit"].startswith('"client";r=0;')


HISTORY = a_history()[0].tolist()
DOORS = {
    "/v2/models/trajectory/infer": lambda rows: {
        "inputs": [{"name": "history", "datatype": "FP64", "shape": [rows, 8, 2], "data": [HISTORY] * rows}]
    },
    "/invocations": lambda rows: {"inputs": [HISTORY] * rows},
}


@pytest.mark.parametrize("path", DOORS)
def test_other_doors_take_from_the_same_bucket_and_say_when_too(api: Api, path: str) -> None:
    body = DOORS[path]
    served = api.post(path, body(3))
    assert served.status_code == 200, served.text
    assert served.headers["ratelimit"].startswith('"client";r=2;')
    refused = api.post(path, body(3))
    assert refused.status_code == 429
    assert 95 <= int(refused.headers["retry-after"]) <= 100
    never = api.post(path, body(6))
    assert never.status_code == 429
    assert "retry-after" not in never.headers
    assert [api.post("/predict", a_body()).status_code for _ in range(3)] == [200, 200, 429]


def test_what_is_wrong_tells_what_is_left_too(api: Api) -> None:
    answer = api.post("/predict", {"agent_id": 5})
    assert answer.status_code == 422
    assert answer.headers["ratelimit"].startswith('"client";r=4;')
    assert "ratelimit" not in api.client.post("/predict", json=a_body()).headers, "nobody's quota is told to a stranger"


def test_observations_take_one_token_a_request(api: Api) -> None:
    rows = [{"agent_id": "a", "observed_at_s": float(n), "position": [0, 0]} for n in range(4)]
    assert api.post("/observations", {"observations": rows}).headers["ratelimit"].startswith('"client";r=4;')


def test_refusals_are_counted(api: Api) -> None:
    for _ in range(7):
        api.post("/predict", a_body())
    assert 'trajops_requests_total{route="/predict",status="429"} 2.0' in api.client.get("/metrics").text


def test_a_rate_of_0_limits_nobody(tmp_path: Path) -> None:
    with running_api(tmp_path, rate_limit_per_s=0, rate_limit_burst=1) as api:
        api.promote(1)
        answers = [api.post("/predict", a_body()) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200] * 3
        assert "ratelimit" not in answers[0].headers
