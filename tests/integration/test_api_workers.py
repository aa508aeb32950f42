"""Several processes behind one port: all answer, one that dies is replaced, and a process that leaves says so first."""

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.alert_receivers import wait_for
from tests.api_process import Server
from tests.running_api import a_body

pytestmark = pytest.mark.slow


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, "--workers", "2")
    try:
        server.wait_until(200)
        yield server
    finally:
        if server.process.poll() is None:
            assert server.stop() == 0, server.log.read_text()


def test_all_processes_answer_and_one_that_is_killed_is_replaced(two: Server) -> None:
    before = two.everybody(2)
    assert len(before) == len(two.children()) == 2
    os.kill(two.children()[0], signal.SIGKILL)
    after = two.everybody(1, besides=frozenset(before))
    assert len(after - before) == 1
    assert len(two.children()) == 2


def test_a_process_that_hangs_keeps_nobody_from_leaving(tmp_path: Path) -> None:
    server = Server(tmp_path, "--workers", "2")
    try:
        server.everybody(2)
        hung, other = server.children()
        os.kill(hung, signal.SIGSTOP)
        server.wait_until_asked(3)  # the one that hangs is asked once; the other, which answers, in every second round
        began_s = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        while "State:\tZ" not in Path(f"/proc/{other}/status").read_text():  # ended, and not fetched yet
            assert time.monotonic() < began_s + 15, "the other one hears of it while the first hangs"
            time.sleep(0.05)
        assert server.process.wait(60) == 0
    finally:
        for pid in server.children() if server.process.poll() is None else ():
            os.kill(pid, signal.SIGKILL)
        server.process.kill()
        server.process.wait()


def test_all_processes_are_replaced_one_after_another(two: Server) -> None:
    before = frozenset(two.everybody(2))
    two.process.send_signal(signal.SIGHUP)
    two.everybody(2, besides=before)


def test_a_replacement_that_is_interrupted_leaves_nobody_behind(tmp_path: Path) -> None:
    server = Server(tmp_path, "--workers", "2", TRAJOPS_DRAIN_S="1")
    try:
        server.wait_until(200)
        before = server.children()
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 60
        while len(server.children()) < 3:  # the first replacement starts beside those that serve
            assert time.monotonic() < deadline
            time.sleep(0.01)
        everybody = {*before, *server.children()}
        assert server.stop() == 0, server.log.read_text()
        assert not [pid for pid in everybody if Path(f"/proc/{pid}").exists()]
    finally:
        server.kill()


def test_a_replacement_that_is_interrupted_while_the_old_process_drains_leaves_nobody_behind(tmp_path: Path) -> None:
    server = Server(tmp_path, "--workers", "2", TRAJOPS_DRAIN_S="300")
    try:
        server.wait_until(200)
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 60
        while "another process takes over" not in server.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        everybody = server.children()
        assert len(everybody) == 3
        server.process.send_signal(signal.SIGTERM)
        server.wait_until(503)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0, server.log.read_text()
        assert not [pid for pid in everybody if Path(f"/proc/{pid}").exists()]
    finally:
        server.kill()


@pytest.mark.parametrize(("workers", "code"), [("1", 128 + signal.SIGINT), ("2", 0)])
def test_an_interrupted_server_ends_without_a_traceback(tmp_path: Path, workers: str, code: int) -> None:
    server = Server(tmp_path, "--workers", workers)
    try:
        server.wait_until(200)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == code
        assert "Traceback" not in server.log.read_text()
    finally:
        server.kill()


def test_a_process_that_leaves_says_so_and_answers_until_then(tmp_path: Path) -> None:
    server = Server(tmp_path, TRAJOPS_DRAIN_S="2")
    try:
        server.wait_until(200)
        server.process.send_signal(signal.SIGTERM)
        server.wait_until(503)
        assert server.who_answers()
        assert server.process.wait(30) == -signal.SIGTERM
    finally:
        server.kill()


ROUTES = [
    ("POST", "/predict", a_body(), 200),
    ("POST", "/observations", {"observations": []}, 422),
    ("POST", "/batch_predict", {"items": [a_body()]}, 200),
    ("POST", "/v2/models/trajectory/infer", {}, 400),
    ("POST", "/invocations", {}, 400),
    ("GET", "/readyz", None, 503),
    ("GET", "/v2/health/ready", None, 400),
    ("GET", "/v1/status", None, 200),
    ("GET", "/nowhere", None, 404),
]


def test_answers_of_a_process_that_leaves_tell_their_clients_to_leave(tmp_path: Path) -> None:
    server = Server(tmp_path, TRAJOPS_DRAIN_S="300")
    try:
        server.wait_until(200)
        kept = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=10) for _ in ROUTES]

        def ask(connection: http.client.HTTPConnection, method: str, path: str, body: Any) -> http.client.HTTPResponse:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, server.headers)
            answer = connection.getresponse()
            answer.read()
            return answer

        for connection, (method, path, body, _) in zip(kept, ROUTES, strict=True):
            for _again in range(2):
                assert ask(connection, method, path, body).headers["connection"] is None
        server.process.send_signal(signal.SIGTERM)
        server.wait_until(503)
        for connection, (method, path, body, status) in zip(kept, ROUTES, strict=True):
            sock = connection.sock
            answer = ask(connection, method, path, body)
            assert (answer.status, answer.headers["connection"]) == (status, "close"), path
            assert sock is not connection.sock  # http.client has let go of it, as it was told
    finally:
        server.kill()


@pytest.mark.parametrize(("workers", "code"), [("1", -signal.SIGTERM), ("2", 0)])
def test_a_second_signal_does_not_wait(tmp_path: Path, workers: str, code: int) -> None:
    server = Server(tmp_path, "--workers", workers, TRAJOPS_DRAIN_S="300")
    try:
        server.wait_until(200)
        server.process.send_signal(signal.SIGTERM)
        server.wait_until(503)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == code
    finally:
        server.kill()


def test_a_second_signal_is_heard_by_a_process_that_had_not_yet_looked_at_the_first(tmp_path: Path) -> None:
    """To it, both are one, for which it would drain."""
    server = Server(tmp_path, "--workers", "2", TRAJOPS_DRAIN_S="300")
    try:
        server.everybody(2)  # who still starts when the signal comes leaves at once, without draining
        quick, slow = server.children()
        os.kill(slow, signal.SIGSTOP)
        server.process.send_signal(signal.SIGTERM)
        server.wait_until(503)
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: quick not in server.children(), "the end of the other process")
        os.kill(slow, signal.SIGCONT)
        assert server.process.wait(30) == 0
    finally:
        server.kill()
