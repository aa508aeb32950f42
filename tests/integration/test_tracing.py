"""Traces of a real API process reach a real OTLP receiver, are put together rightly, and cost no answer when nobody receives them."""

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.api_process import ROOT, Server
from tests.conftest import free_port
from tests.running_api import a_body

pytestmark = pytest.mark.slow

SERVER_KIND, ERROR = 2, 2


class Span(NamedTuple):
    """What a test looks at."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    links: set[tuple[str, str]]
    attributes: dict[str, Any]
    status: int
    resource: dict[str, Any]


def values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


class Collector:
    """Takes spans by OTLP over HTTP; may go and come back on its port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.spans: list[Span] = []
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/v1/traces"
                for group in request.resource_spans:
                    resource = values(group.resource.attributes)
                    for span in (span for scope in group.scope_spans for span in scope.spans):
                        links = {(link.trace_id.hex(), link.span_id.hex()) for link in span.links}
                        ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                        found = Span(span.name, span.kind, *ids, links, values(span.attributes), span.status.code, resource)
                        collector.spans.append(found)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def wait_for(self, wanted: Callable[[Span], bool], count: int = 1) -> list[Span]:
        """The spans that are wanted, once there are so many."""
        deadline = time.monotonic() + 30
        while len(found := [span for span in list(self.spans) if wanted(span)]) < count:
            assert time.monotonic() < deadline, self.spans
            time.sleep(0.02)
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector()
    one.start()
    yield one
    one.stop()


@pytest.fixture
def traced(tmp_path: Path, collector: Collector) -> Iterator[Callable[..., Server]]:
    """Starts an API that is ready."""
    servers: list[Server] = []

    def start(ratio: str) -> Server:
        # On a busy machine a wait is no overload: that is not what is tested here.
        own = {"TRAJOPS_OTLP_URL": collector.url, "TRAJOPS_OTLP_RATIO": ratio, "TRAJOPS_MAX_WAIT_S": "20"}
        servers.append(Server(tmp_path, **own))
        servers[0].wait_until(200)
        return servers[0]

    yield start
    for server in servers:
        server.kill()


class Parent(NamedTuple):
    """The caller's span."""

    trace: str
    id: str

    def header(self, *, is_sampled: bool = True) -> dict[str, str]:
        return {"traceparent": f"00-{self.trace}-{self.id}-0{int(is_sampled)}"}


def a_parent() -> Parent:
    return Parent(secrets.token_hex(16), secrets.token_hex(8))


def ask(server: Server, method: str, path: str, headers: dict[str, str], body: Any = None) -> httpx.Response:
    return httpx.request(method, server.url + path, headers=server.headers | headers, json=body, trust_env=False, timeout=30)


def log_lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.read_text().splitlines()]


def test_a_sampled_prediction_goes_on_with_the_trace_of_its_caller(traced: Callable[..., Server], collector: Collector) -> None:
    server, parent = traced("0"), a_parent()
    answer = ask(server, "POST", "/predict", {**parent.header(), "X-Request-ID": "mine"}, a_body()).json()
    write = collector.wait_for(lambda span: span.name == "spool write")[0]
    turn = collector.wait_for(lambda span: span.id == write.parent)[0]
    request = collector.wait_for(lambda span: span.id == turn.parent)[0]
    assert {span.trace for span in (write, turn, request)} == {parent.trace}
    assert (request.name, request.kind, request.parent, request.status) == ("POST /predict", SERVER_KIND, parent.id, 0)
    assert (turn.name, turn.links, turn.attributes["trajops.turn.size"]) == ("turn", {(request.trace, request.id)}, 1)
    assert write.attributes["trajops.spool.table"] == "predictions"
    expected = {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "url.path": "/predict",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "client.address": "127.0.0.1",
        "trajops.request_id": "mine",
        "trajops.prediction_id": answer["prediction_id"],
        "trajops.model.name": "trajectory",
        "trajops.model.version": 1,
        "trajops.variant": "champion",
    }
    assert request.attributes.items() >= expected.items()
    assert (
        request.resource.items() >= {"service.name": "api", "service.namespace": "trajops", "deployment.environment.name": "demo"}.items()
    )


def test_what_is_not_sampled_is_absent_and_every_route_has_its_template(traced: Callable[..., Server], collector: Collector) -> None:
    server = traced("0")
    for headers in ({}, a_parent().header(is_sampled=False), {"traceparent": "nonsense"}):
        assert ask(server, "POST", "/predict", headers, a_body()).status_code == 200
    routes = [
        ("POST", "/v2/models/trajectory/infer", "/v2/models/{name}/infer", 400),
        ("POST", "/batch_predict", "/batch_predict", 422),
        ("POST", "/v1/jobs/none/run", "/v1/jobs/{job}/run", 403),
        ("GET", "/nowhere", None, 404),
        ("POST", "/v1/token", "/v1/token", 422),
    ]
    parents = [a_parent() for _ in routes]
    for parent, (method, path, _, status) in zip(parents, routes, strict=True):
        assert ask(server, method, path, parent.header(), {} if method == "POST" else None).status_code == status, path
    # They are sent in order, so that what is absent now was never sent.
    last = collector.wait_for(lambda span: span.trace == parents[-1].trace)[0]
    by_trace = {span.trace: span for span in collector.spans}
    assert by_trace.keys() == {parent.trace for parent in parents}
    for parent, (method, path, template, status) in zip(parents, routes, strict=True):
        span = by_trace[parent.trace]
        assert span.name == (f"{method} {template}" if template else method)
        assert (span.attributes.get("http.route"), span.attributes["http.response.status_code"]) == (template, status), path
    [line] = [line for line in log_lines(server) if line.get("trace.id") == last.trace]
    assert line["span.id"] == last.id
    assert line["trajops"]["request_id"] == last.attributes["trajops.request_id"]


def test_a_share_of_the_requests_that_nobody_has_decided_begins_a_trace(traced: Callable[..., Server], collector: Collector) -> None:
    server, asked = traced("0.5"), 200
    with httpx.Client(base_url=server.url, headers=server.headers, trust_env=False, timeout=30) as client:
        for _ in range(asked):
            assert client.post("/predict", json=a_body()).status_code == 200
    assert server.stop() == -signal.SIGTERM  # which sends what waits
    requests = [span for span in collector.spans if span.name == "POST /predict"]
    # Six standard deviations around a half; `/readyz` was asked too.
    assert abs(len(requests) - asked / 2) < 6 * (asked / 4) ** 0.5
    assert {span.parent for span in requests} == {""}
    assert len({span.trace for span in requests}) == len(requests)
    assert "trajops-chosen" not in str(collector.spans)


def test_a_turn_is_linked_to_all_its_sampled_requests(traced: Callable[..., Server], collector: Collector) -> None:
    server = traced("0")
    parents = [a_parent() for _ in range(60)]

    def predict(parent: Parent) -> int:
        return ask(server, "POST", "/predict", parent.header(is_sampled=parent in parents[::2]), a_body()).status_code

    sampled = {parent.trace for parent in parents[::2]}
    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(predict, parents)) == {200}
    requests = collector.wait_for(lambda span: span.kind == SERVER_KIND, len(sampled))
    assert {span.trace for span in requests} == sampled
    ids = {(span.trace, span.id) for span in requests}
    deadline = time.monotonic() + 30
    while sum(len(span.links) for span in collector.spans) < len(ids):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    turns = [span for span in collector.spans if span.name == "turn"]
    linked = [link for turn in turns for link in turn.links]
    assert sorted(linked) == sorted(ids)
    assert all((turn.trace, turn.parent) in turn.links for turn in turns)
    assert all(turn.attributes["trajops.turn.size"] >= len(turn.links) for turn in turns)


def test_answers_go_on_without_a_collector_and_spans_when_it_is_back(traced: Callable[..., Server], collector: Collector) -> None:
    server = traced("1")

    def predict() -> str:
        answer = ask(server, "POST", "/predict", {}, a_body())
        assert answer.status_code == 200
        identity: str = answer.json()["prediction_id"]
        return identity

    def is_root_of(prediction_id: str) -> Callable[[Span], bool]:
        return lambda span: span.attributes.get("trajops.prediction_id") == prediction_id and not span.parent

    collector.wait_for(is_root_of(predict()))
    collector.stop()
    deadline, answered = time.monotonic() + 60, 0
    while not any("takes no spans" in line["message"] for line in log_lines(server)):
        predict()
        answered += 1
        assert time.monotonic() < deadline
    assert answered > 10
    collector.start()
    deadline = time.monotonic() + 60
    while not any("takes spans again" in line["message"] for line in log_lines(server)):
        predict()
        assert time.monotonic() < deadline
    assert sum("collector" in line["message"] for line in log_lines(server)) == 2
    # What waits at the end is sent; and without a collector the end does not wait for it.
    last = predict()
    assert server.stop() == -signal.SIGTERM
    collector.wait_for(is_root_of(last))
    collector.stop()
    server.start()
    server.wait_until(200)
    predict()
    started_s = time.monotonic()
    assert server.stop() == -signal.SIGTERM
    assert time.monotonic() - started_s < 15


# As if the extra were not installed: the API itself brings no more than OpenTelemetry's interfaces, with redis.
ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("opentelemetry.exporter"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


def test_a_missing_extra_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(ABSENT)
    own = {"TRAJOPS_VAR_DIR": str(tmp_path / "var"), "TRAJOPS_OTLP_URL": "http://127.0.0.1:9", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "api"], cwd=ROOT, env={**os.environ, **own}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "TRAJOPS_OTLP_URL is set, but opentelemetry.exporter is not installed" in done.stderr
    assert "pip install" in done.stderr


def test_nothing_of_it_is_imported_unless_it_is_asked_for(tmp_path: Path) -> None:
    code = (
        "import sys; from api.server import application; from api.wiring import Parts; from trajops.settings import Settings\n"
        "parts = Parts(Settings()); application(parts); parts.turn; parts.open(); parts.close()\n"
        "sys.exit(str([name for name in ('api.tracing', 'opentelemetry.sdk', 'opentelemetry.exporter') if name in sys.modules]))"
    )
    own = {"TRAJOPS_VAR_DIR": str(tmp_path), "TRAJOPS_MLFLOW_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **own}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stderr.strip().splitlines()[-1] == "[]", done.stderr
