"""Each method of both clients: the route that it calls, what it sends, and what it makes of the answer."""

import inspect
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from tests import (
    account_calls,
    alert_calls,
    client_calls,
    experiment_calls,
    operation_calls,
    rollout_calls,
    run_builders,
    task_calls,
    validation_calls,
)
from tests.both_clients import KINDS, Kind, a_client
from tests.client_calls import CHANGE, PREDICTION, REASON
from tests.faulty_server import answer, faulty_server
from trajops.client import ApiProblem, AsyncTrajOpsClient, TrajOpsClient
from trajops.contracts.experiments import ArmIn
from trajops.contracts.predictions import PredictIn, PredictOut
from trajops.errors import InvalidInput

_PARTS = (
    client_calls,
    account_calls,
    alert_calls,
    experiment_calls,
    operation_calls,
    rollout_calls,
    run_builders,
    task_calls,
    validation_calls,
)
CALLS = {name: call for part in _PARTS for name, call in part.CALLS.items()}
CHANGES = tuple(name for part in _PARTS for name in part.CHANGES)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.mark.parametrize("name", CALLS)
def test_each_method_calls_its_route_and_returns_the_model(kind: Kind, name: str) -> None:
    call, method, path, sent, body = CALLS[name]
    with faulty_server(answer(200, body)) as server, a_client(kind, server.url + "/", "secret-token") as client:
        got = call(client)
    (request,) = server.received
    assert (request.method, request.path, request.body) == (method, path, sent)
    assert request.headers["authorization"] == "Bearer secret-token"
    assert request.headers["x-request-id"]
    assert got == type(got).model_validate(body)
    assert ("idempotency-key" in request.headers) == (name in CHANGES)


def test_text_routes(kind: Kind) -> None:
    with faulty_server(answer(200, "trajops_predictions_total 3\n")) as server, a_client(kind, server.url) as client:
        assert client.metrics() == "trajops_predictions_total 3\n"
    with faulty_server(answer(200, "# Card ä")) as server, a_client(kind, server.url) as client:
        assert client.model_card(3) == "# Card ä"
    (request,) = server.received
    assert (request.path, request.headers["accept"]) == ("/v1/models/3/card", "text/markdown")
    with faulty_server(answer(200, "<html>ä</html>")) as server, a_client(kind, server.url) as client:
        assert client.drift_report("c1") == "<html>ä</html>"
    (request,) = server.received
    assert (request.path, request.headers["accept"]) == ("/v1/drift/c1/report", "text/html")
    assert "authorization" not in request.headers


def test_an_image_travels_as_it_is(kind: Kind) -> None:
    with faulty_server(answer(200, b"RIFF\xff\x00")) as server, a_client(kind, server.url) as client:
        assert client.scene_image("quay 3/north") == b"RIFF\xff\x00"
    (request,) = server.received
    assert (request.path, request.headers["accept"]) == ("/v1/scenes/quay%203%2Fnorth/background/image", "image/webp")


def test_a_background_is_asked_for_with_a_view_or_without(kind: Kind) -> None:
    body = {"scene_id": "s", "origin": None, "coast": []}
    with faulty_server(answer(200, body)) as server, a_client(kind, server.url) as client:
        assert client.scene_background("s").image is None
    (request,) = server.received
    assert request.path == "/v1/scenes/s/background"


def test_tables_travel_as_arrow(kind: Kind) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table(
        {"history": pa.FixedSizeListArray.from_arrays(pa.array([0.5] * 32, pa.float32()), 16)}, metadata={"model_version": "3"}
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream = sink.getvalue().to_pybytes()
    with faulty_server(answer(200, stream), answer(200, b"no stream")) as server, a_client(kind, server.url) as client:
        assert client.batch_arrow(table).equals(table, check_metadata=True)
        with pytest.raises(ApiProblem, match="something other than an Arrow stream"):
            client.batch_arrow(table)
    request = server.received[0]
    assert request.body == stream
    assert request.headers["content-type"] == request.headers["accept"] == "application/vnd.apache.arrow.stream"


PROBLEM: dict[str, Any] = {
    "type": "/docs/errors#stale_version",
    "title": "Conflict",
    "status": 409,
    "code": "stale_version",
    "detail": "somebody was faster",
    "request_id": "r9",
    "errors": [{"field": "body.expected_version", "message": "is 4 by now", "value": 3}],
}


def test_problem_is_raised_with_all_it_says(kind: Kind) -> None:
    with (
        faulty_server(answer(409, PROBLEM | {"a newer": "field"})) as server,
        a_client(kind, server.url) as client,
        pytest.raises(ApiProblem, match=r"^somebody was faster \(stale_version, 409, request r9\)$") as caught,
    ):
        client.promote("d1", 3, REASON)
    problem = caught.value
    assert (problem.status, problem.code, problem.detail, problem.request_id) == (409, "stale_version", "somebody was faster", "r9")
    assert problem.errors[0].field == "body.expected_version"
    assert len(server.received) == 1, "a refusal is final"


@pytest.mark.parametrize(
    ("status", "body"), [(502, "<h1>Bad gateway</h1>"), (500, ""), (404, "{}")], ids=["proxy", "empty", "not-a-problem"]
)
def test_answer_that_is_no_problem_document_still_becomes_one(kind: Kind, status: int, body: str) -> None:
    with (
        faulty_server(answer(status, body)) as server,
        a_client(kind, server.url) as client,
        pytest.raises(ApiProblem, match=str(status)) as caught,
    ):
        client.me()
    assert caught.value.code == "http_error"
    assert caught.value.request_id == server.received[0].headers["x-request-id"]


def test_answer_of_another_release_is_a_problem_not_a_crash(kind: Kind) -> None:
    with (
        faulty_server(answer(200, {"username": "ada"})) as server,
        a_client(kind, server.url) as client,
        pytest.raises(ApiProblem, match="something other than Me; the API must be of this client's release") as caught,
    ):
        client.me()
    assert caught.value.code == "unexpected_answer"


def test_a_newer_api_may_say_more(kind: Kind) -> None:
    newer = PREDICTION | {"explained": True, "modes": [{**mode, "name": "left"} for mode in PREDICTION["modes"]]}
    with faulty_server(answer(200, newer)) as server, a_client(kind, server.url) as client:
        assert client.predict(PredictIn(agent_id="a")) == PredictOut.model_validate(PREDICTION)


@pytest.mark.parametrize("split", [0, 1, -0.5, 2, float("inf"), 1e-17, 1 - 1e-16, 0.00005, 0.99995])
def test_a_split_that_leaves_an_arm_empty_is_refused_in_one_sentence(kind: Kind, split: Any) -> None:
    with faulty_server() as server, a_client(kind, server.url) as client:
        with pytest.raises(
            InvalidInput, match=r"^traffic_split is .* version 4: from 0.0001 to 0.9999, not .*; nothing was sent$"
        ) as refused:
            client.create_experiment(3, 4, split)
        assert server.received == []
    assert (refused.value.code, "pydantic" in refused.value.message) == ("invalid_input", False)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c: c.create_experiment(3, 4, float("nan")), "traffic_split is a number, such as 0.5, not nan; nothing was sent"),
        (lambda c: c.create_experiment(3, 4, "0.5"), "traffic_split is a number, such as 0.5, not '0.5'; nothing was sent"),
        (lambda c: c.create_experiment(3, 4, None), "traffic_split is a number, such as 0.5, not None; nothing was sent"),
        (lambda c: c.create_experiment(3, 4, True), "traffic_split is a number, such as 0.5, not True; nothing was sent"),
        (lambda c: c.create_experiment(True, 3), "model_a is the number of a version, such as 3, not True; nothing was sent"),
        (lambda c: c.create_experiment(3, True), "model_b is the number of a version, such as 3, not True; nothing was sent"),
        (lambda c: c.create_experiment(3, 4, idempotency_key=""), "an idempotency key is .* not empty .*, not ''; nothing"),
        (lambda c: c.create_experiment(3, 4, coverage=0), "create_experiment: coverage: Input should be greater than 0; nothing was sent"),
        (lambda c: c.launch_experiment("e", 2, "why"), "launch_experiment: reason: String should have at least 10 characters; nothing"),
        (lambda c: c.experiment(None), "/v1/experiments/… takes the id of something, not None; nothing was sent"),
        (lambda c: c.experiment_errors(""), "/v1/experiments/…/errors takes the id of something, not ''; nothing was sent"),
        (lambda c: c.rollout(".."), "/v1/rollouts/… takes the id of something, not '..'; nothing was sent"),
        (lambda c: c.experiment("\ud83d"), r"/v1/experiments/… takes the id of something, not '\\ud83d'; nothing was sent"),
        (lambda c: c.create_experiment(3, 4, idempotency_key=5), "an idempotency key is a text of ASCII .*, not 5; nothing was sent"),
        (lambda c: c.create_experiment(3, 4, idempotency_key="a\nb"), r"an idempotency key is .*, not 'a\\nb'; nothing was sent"),
        (lambda c: c.create_experiment(3, 4, idempotency_key="😀"), "an idempotency key is .*, not '😀'; nothing was sent"),
        (lambda c: c.experiment_slices("e", by="\ud83d"), r"by is no text that can be sent: '\\ud83d'; nothing was sent"),
    ],
    ids=[
        *("nan", "text", "none", "flag", "flag as version", "flag as other version", "empty key"),
        *("coverage", "reason", "no id", "empty", "way out", "half a pair", "number", "line end", "emoji", "parameter"),
    ],
)
def test_what_makes_no_body_is_refused_in_one_sentence(kind: Kind, call: Any, said: str) -> None:
    with faulty_server() as server, a_client(kind, server.url) as client, pytest.raises(InvalidInput, match=f"^{said}"):
        call(client)


@pytest.mark.parametrize("split", [0.0001, 0.9999])
def test_the_smallest_and_the_largest_split_are_sent(kind: Kind, split: float) -> None:
    with faulty_server(answer(200, experiment_calls.CHANGE)) as server, a_client(kind, server.url) as client:
        client.create_experiment(3, 4, split)
    (request,) = server.received
    assert [arm["weight"] for arm in request.body["plan"]["arms"]] == [pytest.approx(1 - split, abs=1e-12), split]


def test_a_flag_is_no_version(kind: Kind) -> None:
    with pytest.raises(ValidationError, match="a version is a number, such as 3, and no flag"):
        ArmIn(variant="control", model_version=True, weight=0.5)


def test_two_changes_have_different_keys(kind: Kind) -> None:
    with faulty_server(answer(200, CHANGE)) as server, a_client(kind, server.url) as client:
        client.promote("d1", 3, REASON)
        client.promote("d1", 3, REASON)
    first, second = (request.headers["idempotency-key"] for request in server.received)
    assert first != second


def test_not_ready_is_an_answer(kind: Kind) -> None:
    not_ready = {"status": "not_ready", "epoch": 1, "warm": [], "missing": ["trajectory/3"], "detail": "loading"}
    with faulty_server(answer(503, not_ready)) as server, a_client(kind, server.url) as client:
        assert client.ready().missing == ["trajectory/3"]
    assert len(server.received) == 1


@pytest.mark.parametrize("token", ["", "tok_secret\n", " tok_secret", "tok sécret", "tok_\x00secret"])
@pytest.mark.parametrize("client", [TrajOpsClient, AsyncTrajOpsClient])
def test_a_token_that_can_never_work_is_refused_and_not_shown(client: type, token: str) -> None:
    with pytest.raises(ValueError, match="the token is empty, or holds") as caught:
        client("http://127.0.0.1:8000", token)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://a:b", "http://[::1", "http://a?x=1", "http://a#f", "http://"])
@pytest.mark.parametrize("client", [TrajOpsClient, AsyncTrajOpsClient])
def test_an_address_that_is_none_is_refused(client: type, url: str) -> None:
    with pytest.raises(ValueError, match="no address of an API"):
        client(url)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("127.0.0.1:8000", {}),
        ("http://a", {"deadline_s": 0}),
        ("http://a", {"attempts": 0}),
        ("http://a", {"connections": 0}),
        ("http://a", {"read_s": -1}),
    ],
    ids=str,
)
@pytest.mark.parametrize("client", [TrajOpsClient, AsyncTrajOpsClient])
def test_options_that_can_never_work_are_refused(client: type, url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"http://|must be"):
        client(url, **options)


@pytest.mark.parametrize(
    ("client", "transport", "other"), [("TrajOpsClient", "requests", "httpx"), ("AsyncTrajOpsClient", "httpx", "requests")]
)
def test_a_client_is_imported_with_its_own_transport_and_nothing_heavy(client: str, transport: str, other: str) -> None:
    code = f"import sys; from trajops.client import {client}; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert transport in loaded
    assert not loaded & {other, "numpy", "scipy", "pandas", "pyarrow", "yaml", "sqlalchemy"}


@pytest.mark.parametrize("client", [TrajOpsClient, AsyncTrajOpsClient])
def test_methods_are_documented_with_their_arguments(client: type) -> None:
    signature = inspect.signature(client.promote)  # type: ignore[attr-defined]
    assert [*signature.parameters] == ["self", "deployment_id", "expected_version", "reason", "idempotency_key"]
    for name, method in inspect.getmembers(client, inspect.isfunction):
        if not name.startswith("_"):
            assert method.__doc__, name
