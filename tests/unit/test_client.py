"""The console's client against a real socket that answers from a script."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from console.client import ApiProblem, ApiUnavailable, TrajOpsClient
from trajops.contracts.predictions import BatchColumnsIn, ObservationIn, PredictIn

NOW = "2026-11-24T03:00:00Z"
ROUTE = {
    "epoch": 4,
    "champion": {"model_name": "trajectory", "model_version": 3},
    "challenger": None,
    "previous": None,
    "coverage": 0.0,
    "changed_at": NOW,
    "actor": "ada",
    "reason": "because it is better",
}
CHANGE = {
    "deployment": {
        "deployment_id": "d 1",
        "model_name": "trajectory",
        "model_version": 3,
        "state": "live",
        "version": 4,
        "created_at": NOW,
        "updated_at": NOW,
    },
    "route": ROUTE,
    "audit_id": "aud-1",
}
PREDICTION = {
    "prediction_id": "p1",
    "agent_id": "a",
    "scene_id": "s",
    "observed_at_s": 1.0,
    "dt_s": 0.4,
    "model_name": "trajectory",
    "model_version": 3,
    "variant": "champion",
    "epoch": 4,
    "modes": [{"weight": 1.0, "positions": [[0.0, 0.0]], "covariance": [[1.0, 0.0, 1.0]]}],
    "model_ms": 0.2,
}
REMEMBERED = {"prediction": PREDICTION, "received_at": NOW, "history": [[0.0, 0.0]], "truth": [None], "outcome": None}
PERFORMANCE = {"since": NOW, "until": NOW, "nominal_coverage": 0.9, "rows": [], "series": [], "step_error_m": {}, "last_outcome_at": None}
RUN = {
    "run_id": "r",
    "job": "j",
    "state": "succeeded",
    "holder": "w",
    "started_at": NOW,
    "finished_at": NOW,
    "duration_s": 0.1,
    "result": {},
    "error": None,
}
STATUS = {
    "at": NOW,
    "verdict": "ok",
    "sentence": "well",
    "environment": "demo",
    "route": ROUTE,
    "services": [],
    "traffic": [],
    "performance": [],
    "changes": [],
    "jobs": [],
    "drift_verdict": None,
}
HISTORY = [(float(i), 0.0) for i in range(8)]
REASON = "a reason that is long enough"


class Scripted:
    """Answers each call with the next scripted (status, body); the last one is repeated."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.calls: list[tuple[str, str, dict[str, str], Any]] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def handle_call(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {key.lower(): value for key, value in self.headers.items()}
                script.calls.append((self.command, self.path, headers, json.loads(raw) if raw else None))
                status, body = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
                data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                self.handle_call()

            def do_POST(self) -> None:
                self.handle_call()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def api() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.close()


@pytest.fixture
def client(api: Scripted) -> Iterator[TrajOpsClient]:
    with TrajOpsClient(api.url + "/", "secret-token") as made:
        yield made


AT = datetime(2026, 11, 24, 3, tzinfo=UTC)
CALLS: dict[str, tuple[Any, str, str, Any, Any]] = {
    # name: (call, method, path, sent body, answer)
    "predict": (
        lambda c: c.predict(PredictIn(agent_id="a", history=HISTORY, model_version=3)),
        "POST",
        "/predict",
        {"agent_id": "a", "history": [list(p) for p in HISTORY], "model_version": 3},
        PREDICTION,
    ),
    "batch_predict": (
        lambda c: c.batch_predict([PredictIn(agent_id="a")]),
        "POST",
        "/batch_predict",
        {"items": [{"agent_id": "a"}]},
        {"items": [{"prediction": PREDICTION, "error_code": None, "error": None}]},
    ),
    "batch_columns": (
        lambda c: c.batch_columns(BatchColumnsIn(history=[HISTORY], agent_id=["a"])),
        "POST",
        "/batch_predict",
        {"history": [[list(p) for p in HISTORY]], "agent_id": ["a"]},
        {
            "dt_s": 0.4,
            "epoch": 1,
            "model_name": ["trajectory"],
            "model_version": [1],
            "variant": ["champion"],
            "prediction_id": ["p"],
            "weights": [[1.0]],
            "positions": [[[[1.0, 2.0]]]],
            "covariance": [[[[1.0, 0.0, 1.0]]]],
            "errors": [],
        },
    ),
    "observe": (
        lambda c: c.observe([ObservationIn(agent_id="a", observed_at_s=1.0, position=(1.0, 2.0))]),
        "POST",
        "/observations",
        {"observations": [{"agent_id": "a", "scene_id": "default", "observed_at_s": 1.0, "position": [1.0, 2.0]}], "source": "live"},
        {"accepted": 1},
    ),
    "sign_in": (
        lambda c: c.sign_in("ada", "pw"),
        "POST",
        "/v1/token",
        {"username": "ada", "password": "pw"},
        {"access_token": "t", "expires_at": NOW, "username": "ada", "role": "operator"},
    ),
    "me": (lambda c: c.me(), "GET", "/v1/me", None, {"username": "ada", "role": "operator", "environment": "demo"}),
    "models": (lambda c: c.models(), "GET", "/v1/models", None, {"model_name": "trajectory", "versions": []}),
    "deployments": (lambda c: c.deployments(), "GET", "/v1/deployments", None, {"deployments": []}),
    "routes": (lambda c: c.routes(), "GET", "/v1/routes", None, {"current": ROUTE, "history": [ROUTE]}),
    "audit": (lambda c: c.audit(limit=7), "GET", "/v1/audit?limit=7", None, {"entries": []}),
    "performance": (
        lambda c: c.performance(AT, AT),
        "GET",
        "/v1/performance?since=2026-11-24T03%3A00%3A00%2B00%3A00&until=2026-11-24T03%3A00%3A00%2B00%3A00",
        None,
        PERFORMANCE,
    ),
    "performance-open": (lambda c: c.performance(), "GET", "/v1/performance", None, PERFORMANCE),
    "predictions": (
        lambda c: c.predictions(limit=5, agent_id="a b"),
        "GET",
        "/v1/predictions?limit=5&agent_id=a+b",
        None,
        {"predictions": [REMEMBERED]},
    ),
    "prediction": (lambda c: c.prediction("p/1"), "GET", "/v1/predictions/p%2F1", None, REMEMBERED),
    "agents": (lambda c: c.agents("s"), "GET", "/v1/agents?scene_id=s", None, {"agents": []}),
    "drift": (lambda c: c.drift(), "GET", "/v1/drift", None, {"latest": None, "history": [], "last_report": None}),
    "jobs": (lambda c: c.jobs(), "GET", "/v1/jobs", None, {"jobs": []}),
    "run_job": (lambda c: c.run_job("check_drift"), "POST", "/v1/jobs/check_drift/run", None, RUN),
    "status": (lambda c: c.status(), "GET", "/v1/status", None, STATUS),
    "health": (lambda c: c.health(), "GET", "/healthz", None, {"status": "alive"}),
    "ready": (lambda c: c.ready(), "GET", "/readyz", None, {"status": "ready", "epoch": 1, "warm": [], "missing": [], "detail": ""}),
    "stage": (lambda c: c.stage(5, REASON), "POST", "/v1/deployments", {"model_version": 5, "reason": REASON}, CHANGE),
    "start_canary": (
        lambda c: c.start_canary("d 1", 3, 0.2, REASON),
        "POST",
        "/v1/deployments/d%201/canary",
        {"expected_version": 3, "reason": REASON, "coverage": 0.2},
        CHANGE,
    ),
    "stop_canary": (
        lambda c: c.stop_canary("d1", 3, REASON),
        "POST",
        "/v1/deployments/d1/canary/stop",
        {"expected_version": 3, "reason": REASON},
        CHANGE,
    ),
    "promote": (
        lambda c: c.promote("d1", 3, REASON),
        "POST",
        "/v1/deployments/d1/promote",
        {"expected_version": 3, "reason": REASON},
        CHANGE,
    ),
    "rollback": (lambda c: c.rollback(4, REASON), "POST", "/v1/routes/rollback", {"expected_epoch": 4, "reason": REASON}, CHANGE),
}
CHANGES = ("run_job", "stage", "start_canary", "stop_canary", "promote", "rollback")


@pytest.mark.parametrize("name", CALLS)
def test_each_method_calls_its_route_and_returns_the_model(client: TrajOpsClient, api: Scripted, name: str) -> None:
    call, method, path, sent, answer = CALLS[name]
    api.answers = [(200, answer)]
    got = call(client)
    assert len(api.calls) == 1
    called_method, called_path, headers, body = api.calls[0]
    assert (called_method, called_path, body) == (method, path, sent)
    assert headers["authorization"] == "Bearer secret-token"
    assert got == type(got).model_validate(answer)
    assert ("idempotency-key" in headers) == (name in CHANGES)


def test_text_routes(client: TrajOpsClient, api: Scripted) -> None:
    api.answers = [(200, "trajops_predictions_total 3\n")]
    assert client.metrics() == "trajops_predictions_total 3\n"
    api.answers = [(200, "<html></html>")]
    assert client.drift_report("c1") == "<html></html>"
    assert api.calls[1][1] == "/v1/drift/c1/report"
    assert api.calls[1][2]["accept"] == "text/html"


PROBLEM = {
    "type": "/docs/errors#stale_version",
    "title": "Conflict",
    "status": 409,
    "code": "stale_version",
    "detail": "somebody was faster",
    "request_id": "r9",
    "errors": [{"field": "body.expected_version", "message": "is 4 by now", "value": 3}],
}


def test_problem_is_raised_with_all_it_says(client: TrajOpsClient, api: Scripted) -> None:
    api.answers = [(409, PROBLEM)]
    with pytest.raises(ApiProblem) as caught:
        client.promote("d1", 3, REASON)
    problem = caught.value
    assert (problem.status, problem.code, problem.detail, problem.request_id) == (409, "stale_version", "somebody was faster", "r9")
    assert problem.errors[0].field == "body.expected_version"
    assert len(api.calls) == 1, "a refusal is final"


@pytest.mark.parametrize(
    ("status", "body"), [(502, "<h1>Bad gateway</h1>"), (500, ""), (404, "{}")], ids=["proxy", "empty", "not-a-problem"]
)
def test_answer_that_is_no_problem_document_still_becomes_one(client: TrajOpsClient, api: Scripted, status: int, body: str) -> None:
    api.answers = [(status, body)]
    with pytest.raises(ApiProblem, match=str(status)) as caught:
        client.me()
    assert caught.value.code == "http_error"


def test_answer_of_another_release_is_a_problem_not_a_crash(client: TrajOpsClient, api: Scripted) -> None:
    api.answers = [(200, {"username": "ada"})]
    with pytest.raises(ApiProblem, match="same release") as caught:
        client.me()
    assert caught.value.code == "unexpected_answer"


def test_reads_are_tried_again_while_the_service_is_briefly_away(client: TrajOpsClient, api: Scripted) -> None:
    api.answers = [(503, ""), (502, ""), (200, CALLS["me"][4])]
    assert client.me().username == "ada"
    assert len(api.calls) == 3


def test_change_is_tried_again_with_the_same_key(client: TrajOpsClient, api: Scripted) -> None:
    api.answers = [(503, ""), (200, CHANGE)]
    assert client.promote("d1", 3, REASON).audit_id == "aud-1"
    first, second = (headers["idempotency-key"] for _, _, headers, _ in api.calls)
    assert first == second


def test_two_changes_have_different_keys_and_a_given_key_is_kept(client: TrajOpsClient, api: Scripted) -> None:
    api.answers = [(200, CHANGE)]
    client.promote("d1", 3, REASON)
    client.promote("d1", 3, REASON)
    client.promote("d1", 3, REASON, idempotency_key="mine")
    keys = [headers["idempotency-key"] for _, _, headers, _ in api.calls]
    assert keys[0] != keys[1]
    assert keys[2] == "mine"


@pytest.mark.parametrize("name", ["predict", "batch_predict", "batch_columns", "observe", "sign_in"])
def test_calls_that_are_not_idempotent_are_never_repeated(client: TrajOpsClient, api: Scripted, name: str) -> None:
    api.answers = [(503, "")]
    with pytest.raises(ApiProblem):
        CALLS[name][0](client)
    assert len(api.calls) == 1


def test_not_ready_is_an_answer(client: TrajOpsClient, api: Scripted) -> None:
    api.answers = [(503, {"status": "not_ready", "epoch": 1, "warm": [], "missing": ["trajectory/3"], "detail": "loading"})]
    assert client.ready().missing == ["trajectory/3"]
    assert len(api.calls) == 1


def test_unreachable_api_says_what_to_do(api: Scripted) -> None:
    gone = Scripted()
    gone.close()
    with TrajOpsClient(gone.url, attempts=2) as client, pytest.raises(ApiUnavailable, match="TRAJOPS_API_URL"):
        client.status()


def test_slow_api_is_unavailable() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with TrajOpsClient(url, read_s=0.05, attempts=1) as client, pytest.raises(ApiUnavailable, match="timed out"):
            client.me()
