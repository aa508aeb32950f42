"""`/batch_predict` as columns: the same answers as item by item, bad rows beside good ones, recorded where agents are named."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.broken_forecasters import FailsOnSome
from tests.builders import CLOCK_S, a_history, some_histories
from tests.running_api import Api, recorded, running_api
from trajops.contracts.predictions import BatchColumnsOut
from trajops.errors import Unavailable
from trajops.forecasters.constant_velocity import ConstantVelocity

HISTORY = a_history()[0].tolist()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("var"), max_batch=3_000) as api:
        api.parts.loader.models[3] = FailsOnSome  # type: ignore[attr-defined]
        api.promote(1)
        yield api


def ask(api: Api, body: Any) -> BatchColumnsOut:
    answer = api.post("/batch_predict", body)
    assert answer.status_code == 200, answer.text
    return BatchColumnsOut.model_validate_json(answer.content)


@pytest.mark.parametrize("rows", [3, 2_500], ids=["inline", "by-workers"])
def test_rows_without_agents_are_answered_in_order_and_not_recorded(api: Api, rows: int) -> None:
    histories = some_histories(rows).astype(float).round(3) + 4e5
    bad = {1: [["1", 2.0]] * 8, rows - 1: [[0.0, 1.0]] * 7}
    history = histories.tolist()
    for row, value in bad.items():
        history[row] = value
    before = len(recorded(api))
    out = ask(api, {"history": history})
    assert [error.row for error in out.errors] == sorted(bad)
    assert {error.error_code for error in out.errors} == {"invalid_input"}
    expected = ConstantVelocity().forecast(histories)
    for row in range(rows):
        if row in bad:
            assert out.positions[row] is out.covariance[row] is out.weights[row] is out.model_version[row] is None
        else:
            assert np.abs(np.array(out.positions[row]) - expected.mean_m[row]).max() <= 0.5001e-4
    good = [row for row in range(rows) if row not in bad]
    assert {(out.model_name[row], out.model_version[row], out.variant[row]) for row in good} == {("trajectory", 1, "champion")}
    assert np.array(out.covariance[0])[0, :, 0] == pytest.approx(expected.covariance_m2[0, 0, :, 0, 0], abs=1e-8)
    assert (out.prediction_id, out.epoch, out.dt_s) == (None, 1, 0.4)
    assert len(recorded(api)) == before


def test_a_position_beyond_the_bounds_is_an_error_of_its_row(api: Api) -> None:
    for named in ({}, {"agent_id": ["far1", "far2"]}):
        out = ask(api, {"history": [HISTORY, [[2e7, 0.0], *HISTORY[1:]]], **named})
        assert [(error.row, "1e7" in error.error) for error in out.errors] == [(1, True)]
        assert out.positions[0] is not None


@pytest.mark.parametrize("word", ["NaN", "-Infinity", "1e999", "null"])
def test_words_that_are_no_numbers_spoil_their_row_only(api: Api, word: str) -> None:
    columns = json.dumps({"history": [HISTORY, [["WORD", 1.0], *HISTORY[1:]]]}).replace('"WORD"', word)
    assert [error.row for error in ask(api, columns.encode()).errors] == [1]
    items = json.dumps({"items": [{"agent_id": "w", "history": row} for row in (HISTORY, [["WORD", 1.0], *HISTORY[1:]])]})
    found = api.post("/batch_predict", items.replace('"WORD"', word).encode()).json()["items"]
    assert [item["error_code"] for item in found] == [None, "invalid_input"]


@pytest.mark.parametrize("count", [5, 700], ids=["inline", "in-parts"])
def test_rows_with_agents_are_recorded_and_equal_single_predictions(api: Api, count: int) -> None:
    history = some_histories(count, seed=7).astype(float).round(3).tolist()
    names = [f"col{count}-{n}" for n in range(count)]
    body = {"history": history, "agent_id": names, "scene_id": "s", "observed_at_s": [CLOCK_S + n for n in range(count)]}
    out = ask(api, body)
    assert out.prediction_id is not None
    events = {event["prediction_id"]: event for event in recorded(api) if event["agent_id"] in set(names)}
    assert [events[found]["agent_id"] for found in out.prediction_id if found] == names
    for row in (0, count - 1):
        one = {"agent_id": names[row], "scene_id": "s", "history": history[row], "observed_at_s": CLOCK_S + row}
        single = api.post("/predict", one).json()
        assert [mode["positions"] for mode in single["modes"]] == [[list(point) for point in mode] for mode in out.positions[row] or []]
        assert [mode["covariance"] for mode in single["modes"]] == [[list(three) for three in mode] for mode in out.covariance[row] or []]
        assert events[out.prediction_id[row] or ""]["observed_at_s"] == CLOCK_S + row


def test_failing_rows_are_the_baselines(api: Api) -> None:
    histories = some_histories(4).astype(float)
    histories[2, -1, 0] = 200.0
    api.post("/predict", {"agent_id": "warm", "history": HISTORY, "model_version": 3})
    out = ask(api, {"history": histories.tolist(), "model_version": 3})
    assert out.model_name == ["trajectory", "trajectory", "baseline", "trajectory"]
    assert out.model_version == [3, 3, 0, 3]
    assert set(out.variant) == {"direct"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"history": []}, "at least one"),
        ({"history": 5}, "must be a list"),
        ({"history": [HISTORY], "agent_id": ["a", "b"]}, "agent_id has 2 entries and history has 1"),
        ({"history": [HISTORY], "agent_id": [""]}, "body.agent_id.0"),
        ({"history": [HISTORY], "agent_id": ["a\n"]}, "body.agent_id.0"),
        ({"history": [HISTORY], "observed_at_s": "now"}, "body.observed_at_s"),
        ({"history": [HISTORY], "model_version": 1.5}, "body.model_version"),
        ({"history": [HISTORY], "more": 1}, "body.more"),
        ({"history": [HISTORY], "items": []}, "body.items"),
        (json.dumps({"history": [HISTORY]})[:-1].encode(), "EOF"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("padding", [0, 40_000], ids=["inline", "by-workers"])
def test_malformed_columns_are_a_problem(api: Api, body: Any, says: str, padding: int) -> None:
    content = (body if isinstance(body, bytes) else json.dumps(body).encode()) + b" " * padding
    answer = api.post("/batch_predict", content)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert says in answer.text
    if says.startswith("body."):
        assert says in {error["field"] for error in answer.json()["errors"]}


def test_too_many_rows_are_413(api: Api) -> None:
    answer = api.post("/batch_predict", {"history": [[[0, 0]] * 8] * 3_001})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert "3000" in answer.json()["detail"]


def test_what_cannot_be_recorded_in_the_middle_is_an_error_of_its_rows(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    write = api.parts.spool.write_lines
    calls = 0

    def full_after_three(table: str, lines: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise Unavailable("the spool cannot be written (No space left on device)")
        write(table, lines)

    monkeypatch.setattr(api.parts.spool, "write_lines", full_after_three)
    items = [{"agent_id": f"full{n}", "history": HISTORY} for n in range(300)]
    found = api.post("/batch_predict", {"items": items}).json()["items"]
    answered = [item["prediction"]["agent_id"] for item in found if item["prediction"]]
    assert {item["error_code"] for item in found} == {None, "unavailable"}
    assert answered == [event["agent_id"] for event in recorded(api) if event["agent_id"].startswith("full")]
    assert len(answered) == 3 * 64


def test_a_dead_worker_is_replaced(api: Api) -> None:
    history = some_histories(1_000).astype(float).tolist()
    ask(api, {"history": history})
    [*before] = [worker.process for worker in api.parts.json_workers._workers]
    assert before
    for process in before:
        process.kill()
        process.wait()
    out = ask(api, {"history": history})
    assert not out.errors
    assert not set(before) & {worker.process for worker in api.parts.json_workers._workers}
