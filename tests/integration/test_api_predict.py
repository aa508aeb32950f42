"""The hot routes over the whole application: answers, records, batches, observations."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import CLOCK_S
from tests.running_api import Api, a_body, recorded, running_api
from trajops.contracts.predictions import BatchPredictOut, PredictionOut, PredictOut, RecentPredictions
from trajops.forecasters.constant_velocity import ConstantVelocity


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("var"), max_body_bytes=1_000_000, max_batch=500) as api:
        api.promote(1)
        yield api


def test_an_answer_is_in_the_spool_when_it_arrives(api: Api) -> None:
    answer = api.post("/predict", a_body(), **{"X-Request-ID": "mine-1"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == "mine-1"
    out = PredictOut.model_validate_json(answer.content)
    assert (out.model_name, out.model_version, out.variant) == ("trajectory", 1, "champion")
    [event] = [event for event in recorded(api) if event["prediction_id"] == out.prediction_id]
    assert (event["request_id"], event["client_id"]) == ("mine-1", "key:viewer key")
    assert event["mean_m"] == [number for point in answer.json()["modes"][0]["positions"] for number in point]


def test_the_lake_gives_the_answer_back(api: Api) -> None:
    out = PredictOut.model_validate_json(api.post("/predict", a_body("lake")).content)
    found = PredictionOut.model_validate_json(api.get(f"/v1/predictions/{out.prediction_id}").content)
    assert found.prediction.modes[0].positions == out.modes[0].positions
    newest = RecentPredictions.model_validate_json(api.get("/v1/predictions", agent_id="lake").content)
    assert [one.prediction.prediction_id for one in newest.predictions] == [out.prediction_id]


def test_a_version_can_be_asked_for_and_is_loaded_while_the_client_waits(api: Api) -> None:
    for asked, version in ((3, 3), ("champion", 1)):
        out = api.post("/predict", a_body(model_version=asked)).json()
        assert (out["model_version"], out["variant"]) == (version, "direct")
    answer = api.post("/predict", a_body(model_version=404))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_slow_load_is_answered_with_a_time_to_come_back(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from threading import Event

    may_go_on = Event()

    def slow() -> ConstantVelocity:
        may_go_on.wait(20)
        return ConstantVelocity()

    monkeypatch.setattr("api.warm_up.WARM_UP_S", 0.05)
    api.parts.loader.models[77] = slow
    answer = api.post("/predict", a_body(model_version=77))
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "no_model_ready", "1")
    loading = api.parts.host.ask(next(ref for ref in api.parts.host._asked if ref.version == 77))
    may_go_on.set()
    loading.result(20)
    assert api.post("/predict", a_body(model_version=77)).status_code == 200


def test_positions_posted_one_by_one_are_enough(api: Api) -> None:
    def report(steps: range) -> None:
        rows = [{"agent_id": "walker", "scene_id": "s", "observed_at_s": CLOCK_S + n * 0.4, "position": [n * 0.4, 1.0]} for n in steps]
        assert api.post("/observations", {"observations": rows}).json() == {"accepted": len(rows)}

    by_id = {"agent_id": "walker", "scene_id": "s"}
    unknown = api.post("/predict", by_id)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    report(range(5))
    short = api.post("/predict", by_id)
    assert (short.status_code, short.json()["code"]) == (422, "window_too_short")
    assert "1.2 s are missing" in short.json()["detail"]
    report(range(5, 8))
    out = PredictOut.model_validate_json(api.post("/predict", by_id).content)
    assert out.observed_at_s == pytest.approx(CLOCK_S + 2.8)
    assert out.modes[0].positions[0] == (pytest.approx(3.2, abs=1e-3), pytest.approx(1.0))
    stored = [event for event in recorded(api, "observations") if event["agent_id"] == "walker"]
    assert [event["x_m"] for event in stored] == pytest.approx([n * 0.4 for n in range(8)])
    [agent] = [agent for agent in api.get("/v1/agents", scene_id="s").json()["agents"] if agent["agent_id"] == "walker"]
    assert (agent["observations"], agent["is_ready"]) == (8, True)


def test_many_observations_are_kept_too(api: Api) -> None:
    rows = [{"agent_id": f"many{n}", "observed_at_s": CLOCK_S, "position": [n, 0]} for n in range(300)]
    assert api.post("/observations", {"observations": rows, "source": "replay"}).json() == {"accepted": 300}
    stored = [event for event in recorded(api, "observations") if event["agent_id"].startswith("many")]
    assert len(stored) == 300
    assert {event["source"] for event in stored} == {"replay"}


@pytest.mark.parametrize("count", [4, 300], ids=["on-the-loop", "in-a-thread"])
def test_a_batch_keeps_the_order_and_one_bad_item_spoils_only_itself(api: Api, count: int) -> None:
    items: list[dict[str, Any]] = [a_body(f"batch{count}-{n}") for n in range(count)]
    items[1] = a_body("bad", history=[["1", 0]] * 8)
    items[2] = {"agent_id": "nobody"}
    items[3]["agent_id"] = f"batch{count}\n3"
    answer = api.post("/batch_predict", {"items": items})
    assert answer.status_code == 200
    out = BatchPredictOut.model_validate_json(answer.content).items
    assert [item.prediction and item.prediction.agent_id for item in out] == [
        None if n in {1, 2, 3} else items[n]["agent_id"] for n in range(count)
    ]
    assert [item.error_code for item in out[1:4]] == ["invalid_input", "not_found", "invalid_input"]
    assert "history.0.0" in (out[1].error or "")
    ids = {item.prediction.prediction_id for item in out if item.prediction}
    assert len(ids) == count - 3
    assert ids == {event["prediction_id"] for event in recorded(api) if event["agent_id"].startswith(f"batch{count}-")}


def test_a_batch_equals_single_predictions(api: Api) -> None:
    bodies = [a_body(f"equal{n}", model_version=2 if n % 2 else None) for n in range(6)]
    api.post("/predict", bodies[1])  # warms version 2
    batch = api.post("/batch_predict", {"items": bodies}).json()["items"]
    for item, body in zip(batch, bodies, strict=True):
        single = api.post("/predict", body).json()
        volatile = {"prediction_id", "model_ms"}
        assert {k: v for k, v in item["prediction"].items() if k not in volatile} == {k: v for k, v in single.items() if k not in volatile}


def test_a_batch_does_not_wait_for_a_cold_version_but_begins_to_load_it(api: Api) -> None:
    first = api.post("/batch_predict", {"items": [a_body("cold", model_version=5)]}).json()["items"][0]
    assert first["error_code"] == "no_model_ready"
    assert api.post("/predict", a_body("cold", model_version=5)).status_code == 200
    again = api.post("/batch_predict", {"items": [a_body("cold", model_version=5)]}).json()["items"][0]
    assert again["prediction"]["model_version"] == 5


def test_names_with_escapes_and_beyond_ascii(api: Api) -> None:
    for name in ('agent "7"', "Ágnes", "走る人", "a\\b", "🏃"):
        for ensure_ascii in (True, False):
            answer = api.post("/predict", json.dumps(a_body(name), ensure_ascii=ensure_ascii).encode())
            assert answer.status_code == 200, answer.text
            assert answer.json()["agent_id"] == name


def test_a_body_in_many_pieces_is_put_together(api: Api) -> None:
    whole = json.dumps(a_body("pieces")).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(whole), 50):
            yield whole[start : start + 50]

    answer = api.client.post("/predict", content=pieces(), headers=api.headers["viewer"])
    assert answer.json()["agent_id"] == "pieces"


def test_counters_are_exported(api: Api) -> None:
    before = api.client.get("/metrics").text
    api.post("/predict", a_body())
    api.post("/predict", {"agent_id": ""})
    after = api.client.get("/metrics").text

    def value(text: str, line: str) -> float:
        return next((float(found.rsplit(" ", 1)[1]) for found in text.splitlines() if found.startswith(line)), 0.0)

    for line in (
        'trajops_requests_total{route="/predict",status="200"}',
        'trajops_requests_total{route="/predict",status="422"}',
        'trajops_predictions_total{model="trajectory",variant="champion",version="1"}',
        'trajops_request_seconds_bucket{le="+Inf",route="/predict"}',
    ):
        assert value(after, line) > value(before, line), line
    assert value(after, "trajops_epoch") == 1
    assert value(after, "trajops_warm_models") >= 1
    assert value(after, "trajops_buffered_agents") >= 1


def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    with running_api(tmp_path) as api:
        api.promote(2)
        first = api.post("/predict", a_body()).json()["prediction_id"]
    with running_api(tmp_path) as api:
        api.follow()
        assert api.get("/readyz").json()["epoch"] == 1
        second = api.post("/predict", a_body()).json()
        assert second["model_version"] == 2
        ids = {event["prediction_id"] for event in recorded(api)}
        assert ids == {first, second["prediction_id"]}
