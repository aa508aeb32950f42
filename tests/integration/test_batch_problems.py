"""What `/batch_predict` says of input that it cannot use: the field or the row, the value, and how to mend it."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.builders import a_history
from tests.running_api import Api, running_api

HISTORY: list[list[float]] = a_history()[0].tolist()
ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}
MAX_ROWS = 200


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("var"), max_batch=MAX_ROWS) as api:
        api.promote(1)
        yield api


def columns(**fields: Any) -> dict[str, Any]:
    return {"history": [HISTORY, HISTORY], **fields}


@pytest.mark.parametrize(
    ("body", "field", "value", "says"),
    [
        ({}, "body.items", None, "items (one object a trajectory) or history (one list a field), and this has neither"),
        ({"rows": [1]}, "body.items", None, "this has only rows"),
        ({"items": [], "history": []}, "body.items", None, "two forms of a batch; send one"),
        ([], "body", "[]", "send an object"),
        ({"items": None}, "body.items", None, "send a list"),
        ({"items": []}, "body.items", "[]", "add 1 more"),
        ({"history": None}, "body.history", "null", "must be a list of trajectories"),
        ({"history": []}, "body.history", "[]", "at least one trajectory; add one"),
        (columns(agent_id=["a"]), "body.agent_id", 1, "1 entries and history has 2; give one for each"),
        (columns(scene_id=["a", "b", "c"]), "body.scene_id", 3, "3 entries and history has 2"),
        (columns(observed_at_s=[]), "body.observed_at_s", 0, "0 entries and history has 2"),
        (columns(agent_id=["a", 7]), "body.agent_id.1", 7, "send a text, in quotes"),
        (columns(agent_id=["a", None]), "body.agent_id.1", None, "send a text, in quotes"),
        (columns(agent_id="a"), "body.agent_id", "a", "send a list"),
        (columns(observed_at_s="1"), "body.observed_at_s", "1", "without quotes"),
        (columns(observed_at_s=-1), "body.observed_at_s", -1, "greater than or equal to 0"),
        (columns(model_version="newest"), "body.model_version", "newest", "'champion', 'challenger'"),
        (columns(model_version=0), "body.model_version", 0, "greater than or equal to 1"),
        (columns(source="test"), "body.source", "test", "'live' or 'replay'"),
        (columns(agentid=["a", "b"]), "body.agentid", "['a', 'b']", "remove it, or correct its name"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_body_is_refused_by_field_and_value(api: Api, body: Any, field: str, value: Any, says: str) -> None:
    answer = api.post("/batch_predict", body)
    assert answer.status_code == 422
    found = {error["field"]: error for error in answer.json()["errors"]}
    assert found[field]["value"] == value
    assert says in found[field]["message"]
    assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (None, ["this is null", "leave a trajectory out"]),
        ("x", ['this is "x"']),
        ([["7", 1.0]] * 8, ['this is [["7",', "without quotes", "$[0][0]"]),
        ([[None, 1.0], *HISTORY[1:]], ["[[null,", "unknown position"]),
        ([[1.0]] * 8, ["pairs [x, y]", "length 2"]),
        (HISTORY[:7], ["8 positions, not 7"]),
        ([], ["8 positions, not 0"]),
        ([*HISTORY[:5], [2e8, 1.5], *HISTORY[6:]], ["history.5 is [2e+08, 1.5]", "±1e7 m"]),
    ],
    ids=lambda value: str(value)[:30],
)
@pytest.mark.parametrize("named", [True, False], ids=["named", "anonymous"])
def test_a_row_is_an_error_of_its_own_that_shows_it(api: Api, row: Any, says: list[str], named: bool) -> None:
    body: dict[str, Any] = {"history": [HISTORY, row]}
    if named:
        body["agent_id"] = ["a", "b"]
    [error] = api.post("/batch_predict", body).json()["errors"]
    assert error["row"] == 1
    for part in says:
        assert part in error["error"]


def test_an_item_tells_its_first_fields_with_their_values(api: Api) -> None:
    bad = [["7", 0.0]] * 8
    items = [{"agent_id": "", "history": HISTORY}, {"agent_id": "a", "history": bad}, {"agent_id": "a", "history": HISTORY, "colour": 1}]
    found = [item["error"] for item in api.post("/batch_predict", {"items": items}).json()["items"]]
    assert "agent_id: String should have at least 1 character (it is '')" in found[0]
    assert "history.0.0: Input should be a valid number; send a JSON number, without quotes (it is '7')" in found[1]
    assert found[1].endswith("; and 5 more")
    assert "colour: " in found[2]
    assert "(it is 1)" in found[2]


@pytest.mark.parametrize("form", ["columns", "named columns", "arrow", "named arrow"])
def test_a_version_that_there_is_not_is_said_once(api: Api, form: str) -> None:
    names = {"agent_id": ["a"]} if form.startswith("named") else {}
    if form.endswith("columns"):
        answer = api.post("/batch_predict", {"history": [HISTORY], "model_version": 99, **names})
    else:
        answer = api.post("/batch_predict", arrow(pa.table({"history": flat(1), **names}), model_version="99"), **ARROW)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "there is no version trajectory/99" in answer.json()["detail"]


def test_an_item_that_asks_for_a_cold_version_is_told_what_to_do(api: Api) -> None:
    [item] = api.post("/batch_predict", {"items": [{"agent_id": "a", "history": HISTORY, "model_version": 98}]}).json()["items"]
    assert item["error_code"] == "no_model_ready"
    assert "its load has begun; send the row again" in item["error"]


def flat(rows: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(rows * 16, np.float32)), 16)


def arrow(table: pa.Table, file: bool = False, **metadata: str) -> bytes:
    table = table.replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("body", "headers", "says"),
    [
        (arrow(pa.table({"history": flat(1)}), file=True), ARROW, "it is an Arrow file; write a stream instead"),
        (json.dumps({"history": [HISTORY]}).encode(), ARROW, "looks like JSON; send it with Content-Type application/json"),
        (arrow(pa.table({"history": flat(1)})), {}, "Content-Type application/vnd.apache.arrow.stream"),
        (arrow(pa.table({"history": flat(1)}))[:-200], ARROW, "send it whole"),
    ],
    ids=["file", "json-as-arrow", "arrow-as-json", "cut"],
)
def test_a_wrong_form_is_told_from_its_beginning(api: Api, body: bytes, headers: dict[str, str], says: str) -> None:
    answer = api.post("/batch_predict", body, **headers)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    ("extra", "field", "value", "says"),
    [
        ({"agent_id": ["a", None]}, "body.agent_id.1", None, "in quotes"),
        ({"agent_id": [1, 2]}, "body.agent_id", "int64", "utf8 strings; cast it"),
        ({"observed_at_s": [1.0, None]}, "body.observed_at_s.1", None, "valid number"),
        ({"model_version": [1, 1]}, "body.model_version", "int64", "metadata of the schema"),
        ({"speed": [1.0, 1.0]}, "body.speed", "double", "there are history, agent_id, scene_id, observed_at_s"),
    ],
    ids=str,
)
def test_arrow_columns_are_refused_by_field_and_value(api: Api, extra: dict[str, Any], field: str, value: Any, says: str) -> None:
    answer = api.post("/batch_predict", arrow(pa.table({"history": flat(2), **extra})), **ARROW)
    assert answer.status_code == 422
    found = {error["field"]: error for error in answer.json()["errors"]}
    assert found[field]["value"] == value
    assert says in found[field]["message"]


@pytest.mark.parametrize("padding", [0, 40_000], ids=["inline", "by-workers"])
@pytest.mark.parametrize(
    "body",
    [
        {"items": [{}] * (MAX_ROWS + 1)},
        {"history": [HISTORY] * (MAX_ROWS + 1)},
        {"history": [0] * (MAX_ROWS + 1)},
        {"history": [HISTORY] * (MAX_ROWS + 1), "agent_id": ["a"] * (MAX_ROWS + 1)},
    ],
    ids=["items", "columns", "malformed", "named"],
)
def test_too_many_rows_are_413_whatever_stands_in_them(api: Api, body: Any, padding: int) -> None:
    answer = api.post("/batch_predict", json.dumps(body).encode() + b" " * padding)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert f"at most {MAX_ROWS} trajectories, not {MAX_ROWS + 1}" in answer.json()["detail"]


def test_a_problem_shows_a_few_of_many_fields(api: Api) -> None:
    answer = api.post("/batch_predict", {"history": [HISTORY] * MAX_ROWS, "agent_id": [7] * MAX_ROWS})
    assert len(answer.json()["errors"]) == 20
    assert f"(and {MAX_ROWS - 1} more)" in answer.json()["detail"]
