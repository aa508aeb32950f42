"""The short way inside the server answers as the ordinary way does: whatever comes in, in whatever pieces, one after another."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.direct import LARGEST_BYTES
from api.errors import render_protocol
from api.main import create_app
from api.server import OPTIONS
from api.wiring import Parts
from tests.alert_receivers import wait_for
from tests.builders import CLOCK_S
from tests.running_api import Api, MemoryLoader, a_body
from trajops.errors import Unavailable
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.settings import Settings

MAX_BODY = 200_000


class Both(NamedTuple):
    """One application behind the server's own protocol and behind uvicorn's."""

    api: Api
    direct: int
    ordinary: int
    taken: list[bool]

    def head(self, role: str = "viewer") -> bytes:
        return f"Host: api\r\nAuthorization: {self.api.headers[role]['Authorization']}\r\n".encode()


@contextmanager
def served(folder: Path, **options: Any) -> Iterator[Both]:
    configured = Settings(
        **{"var_dir": folder, "environment": "test", "mlflow_url": "http://127.0.0.1:9", "max_body_bytes": MAX_BODY} | options
    )
    parts = Parts(configured)
    parts.loader = MemoryLoader()
    app = create_app(configured, parts)
    taken: list[bool] = []
    begin = app.doors[b"/predict"].begin

    def watched(exchange: Any) -> bool:
        taken.append(begin(exchange))
        return taken[-1]

    app.doors[b"/predict"].begin = watched  # type: ignore[method-assign]
    first = uvicorn.Server(uvicorn.Config(app, **OPTIONS | {"timeout_keep_alive": 1}))
    second = uvicorn.Server(uvicorn.Config(app, lifespan="off", **OPTIONS | {"http": HttpToolsProtocol, "timeout_keep_alive": 1}))

    async def serve() -> None:
        # The second serves what the first has opened; a request that comes before that would be told to wait.
        await asyncio.gather(first.serve(sockets=[listeners[0]]), second.serve(sockets=[listeners[1]]))

    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not (first.started and second.started):
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        ports = [listener.getsockname()[1] for listener in listeners]
        with httpx.Client(base_url=f"http://127.0.0.1:{ports[1]}", trust_env=False) as client:
            yield Both(Api(parts, client), *ports, taken)  # type: ignore[arg-type]
    finally:
        first.should_exit = second.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with served(tmp_path_factory.mktemp("var"), rate_limit_per_s=0) as both:
        both.api.promote(1)
        ask(both.direct, [post(both, a_body())])  # the key is known from here on
        yield both


def post(both: Both, body: Any, *, path: str = "/predict", more: bytes = b"", head: bytes | None = None) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = both.head() if head is None else head
    return b"POST %s HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n%s" % (path.encode(), head, more, len(content), content)


class Heard(NamedTuple):
    """One answer: status, header fields without the date, and the body without what differs from answer to answer."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    content: bytes


def ask(port: int, pieces: list[bytes], *, answers: int | None = None, in_turn: bool = False) -> list[Heard]:
    """Send the pieces one after another, and hear until the server closes, or so many answers have come.

    In turn, each but the first waits for the answer to the one before, so that none is in a queue.
    """
    received, sent = b"", 0
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                connection.sendall(piece)
                sent += 1
                while in_turn and len(heard(received)) < sent < len(pieces) and (part := connection.recv(65_536)):
                    received += part
                if len(pieces) > 1 and not in_turn:
                    time.sleep(0.0005)  # so that most pieces arrive by themselves
            while part := connection.recv(65_536):
                received += part
                if answers is not None and len(heard(received)) >= answers:
                    break
        except (ConnectionResetError, BrokenPipeError):
            pass
    return heard(received)


def heard(received: bytes) -> list[Heard]:
    found = []
    while b"\r\n\r\n" in received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        fields = [tuple(line.split(b": ", 1)) for line in lines]
        length = int(dict(fields).get(b"content-length", b"0"))
        if len(rest) < length:
            break
        content, received = rest[:length], rest[length:]
        for volatile in (rb'"prediction_id":"[^"]+"', rb'"model_ms":[0-9.e-]+', rb'"instance":"[^"]+"', rb'"request_id":"[^"]+"'):
            content = re.sub(volatile, b"", content)
        kept = [(name, value) for name, value in fields if name not in {b"date", b"content-length"}]
        # An id that the server made differs from answer to answer.
        kept = [(n, b"made" if n == b"x-request-id" and len(value) == 32 else value) for n, value in kept]
        found.append(Heard(int(status.split()[1]), tuple(sorted(kept)), content))
    return found


def test_a_request_takes_the_short_way_and_hears_the_same(both: Both) -> None:
    before = len(both.taken)
    requests = [post(both, BODY, more=more) for more in (b"", b"X-Request-ID: mine\r\n", b"Connection: close\r\n")]
    direct = ask(both.direct, requests, in_turn=True)
    assert direct == ask(both.ordinary, requests)
    wait_for(lambda: len(both.taken) >= before + 3, "the note of the last one, which follows its answer")
    assert both.taken[before:] == [True] * 3
    assert [answer.status for answer in direct] == [200] * 3
    assert (b"x-request-id", b"mine") in direct[1].fields
    assert (b"connection", b"close") in direct[2].fields


BODY = json.dumps(a_body()).encode()
CHUNKS = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:90], BODY[90:])) + b"0\r\n\r\n"
OBSERVATIONS = {"observations": [{"agent_id": "o", "observed_at_s": CLOCK_S, "position": [0, 0]}]}

# Each kind of request on which the two ways must agree.
KINDS: dict[str, Callable[[Both], bytes]] = {
    "plain": lambda both: post(both, BODY),
    "with its own id": lambda both: post(both, BODY, more=b"X-Request-ID: mine\r\n"),
    "with an id too long": lambda both: post(both, BODY, more=b"X-Request-ID: %s\r\n" % (b"a" * 200)),
    "in chunks": lambda both: b"POST /predict HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n%s" % (both.head(), CHUNKS),
    "with a query": lambda both: post(both, BODY, path="/predict?a=1"),
    "with an escape": lambda both: post(both, BODY, path="/pr%65dict"),
    "of another method": lambda both: b"GET /predict HTTP/1.1\r\n%s\r\n" % both.head(),
    "to health": lambda both: b"GET /healthz HTTP/1.1\r\nHost: api\r\n\r\n",
    "to nowhere": lambda both: post(both, BODY, path="/nowhere"),
    "without a key": lambda both: post(both, BODY, head=b"Host: api\r\n"),
    "with a wrong key": lambda both: post(both, BODY, head=b"Host: api\r\nAuthorization: Bearer nobody\r\n"),
    "in capitals": lambda both: post(both, BODY, head=both.head().replace(b"Authorization", b"AUTHORIZATION")),
    "no JSON": lambda both: post(both, b"{"),
    "empty": lambda both: post(both, b""),
    "too few points": lambda both: post(both, a_body(history=[[0, 0]] * 7)),
    "no number": lambda both: post(both, BODY.replace(b"[[", b"[[NaN,0],[", 1)),
    "no definite covariance": lambda both: post(both, a_body(history=[[1e7, -1e7]] * 8)),
    "with a name that has an escape": lambda both: post(both, a_body("é\\")),
    "for a version": lambda both: post(both, a_body(model_version=1)),
    "for no version": lambda both: post(both, a_body(model_version=404)),
    "for nobody": lambda both: post(both, {"agent_id": "nobody"}),
    "large": lambda both: post(both, BODY[:-1] + b" " * (LARGEST_BYTES + 10) + b"}"),
    "too large": lambda both: post(both, BODY[:-1] + b" " * MAX_BODY + b"}"),
    "to observations": lambda both: post(both, OBSERVATIONS, path="/observations"),
    "with an odd expectation": lambda both: post(both, BODY, more=b"Expect: miracles\r\n"),
    "of an older protocol": lambda both: post(both, BODY, more=b"Connection: keep-alive\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "that is none": lambda both: b"PREDICT, PLEASE\r\n\r\n",
}
# These leave the connection to nobody else.
FINAL = {"of an older protocol", "that is none", "too large"}


def both_answer(both: Both, kinds: Sequence[str], cuts: Sequence[float] = ()) -> list[Heard]:
    """Send the requests at once, or cut into pieces, and compare what the two ways answer."""
    whole = b"".join(KINDS[kind](both) for kind in kinds)
    if kinds[-1] not in FINAL:
        whole += post(both, BODY, more=b"Connection: close\r\n")
    places = sorted({0, len(whole), *(int(cut * len(whole)) for cut in cuts)})
    pieces = [whole[first:last] for first, last in pairwise(places)]
    # uvicorn leaves a connection open whose body it has stopped to read.
    answers = len(kinds) if kinds[-1] == "too large" else None
    direct, ordinary = (ask(port, pieces, answers=answers) for port in (both.direct, both.ordinary))
    assert direct == [_MALFORMED if answer.content == b"Invalid HTTP request received." else answer for answer in ordinary]
    return direct


# uvicorn says it in plain text.
_MALFORMED = Heard(
    400,
    ((b"connection", b"close"), (b"content-type", b"application/problem+json")),
    render_protocol(400).content,
)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_request_hears_the_same(both: Both, kind: str) -> None:
    assert len(both_answer(both, [kind])) == (1 if kind in FINAL else 2)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([kind for kind in KINDS if kind not in FINAL and "large" not in kind]), max_size=5),
    # With uvicorn, what is no request ends the connection at once, and the answers that were under way with it.
    st.sampled_from([kind for kind in KINDS if kind != "that is none"]),
    st.lists(st.floats(0, 1), max_size=6),
)
def test_whatever_comes_in_one_after_another_in_whatever_pieces(both: Both, kinds: list[str], last: str, cuts: list[float]) -> None:
    both_answer(both, [*kinds, last], cuts)


def test_a_request_cut_anywhere_is_answered(both: Both) -> None:
    request = post(both, BODY, more=b"Connection: close\r\n")
    before = len(both.taken)
    for place in range(1, len(request), 23):
        [answer] = ask(both.direct, [request[:place], request[place:]])
        assert answer.status == 200
    assert all(both.taken[before:])


def test_a_hundred_at_once_are_answered_in_their_order(both: Both) -> None:
    requests = [post(both, a_body(f"piped{n}")) for n in range(100)]
    answers = ask(both.direct, [b"".join(requests)], answers=100)
    assert [re.findall(rb'"agent_id":"(\w+)"', answer.content) for answer in answers] == [[b"piped%d" % n] for n in range(100)]


def test_an_idle_connection_is_closed_and_a_busy_one_is_not(both: Both) -> None:
    request = post(both, BODY)
    with socket.create_connection(("127.0.0.1", both.direct), timeout=10) as connection:
        for _ in range(4):  # longer than an idle connection lives
            connection.sendall(request)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
            time.sleep(0.4)
        began_s = time.monotonic()
        assert connection.recv(1) == b""
        assert 0.3 < time.monotonic() - began_s < 5


def exchanged(port: int, *pieces: bytes, ends: bool = False) -> bytes:
    """All that the server says to the pieces until it closes; `ends`: the client says that it sends no more."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while part := connection.recv(65_536):
                received += part
    return received


def test_a_request_that_offers_another_protocol_is_answered_in_this_one(both: Both) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
    inner = b"GET /healthz HTTP/1.1\r\nHost: api\r\n\r\n"
    body = b"%s%s" % (b" " * 20, BODY)
    requests = [post(both, body, more=offer), post(both, body, more=offer), inner, post(both, inner, more=offer + b"Connection: close\r\n")]
    for pieces in ([b"".join(requests)], requests):
        answers = ask(both.direct, pieces)
        assert [answer.status for answer in answers] == [200, 200, 200, 422], "a body is never a request"
    socketed = b"GET /healthz HTTP/1.1\r\nHost: api\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
    assert [answer.status for answer in ask(both.direct, [socketed, post(both, BODY, more=b"Connection: close\r\n")])] == [200, 200]


def test_who_sends_no_more_still_hears_the_answer(both: Both) -> None:
    request = post(both, BODY)
    for _ in range(30):
        assert exchanged(both.direct, request, ends=True).startswith(b"HTTP/1.1 200")
    assert exchanged(both.direct, request[:-5], ends=True) == b""


def test_what_follows_a_body_decides_nothing(both: Both) -> None:
    chunks = CHUNKS.removesuffix(b"\r\n") + both.head().replace(b"Host: api\r\n", b"") + b"\r\n"
    request = b"POST /predict HTTP/1.1\r\nHost: api\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%s" % chunks
    assert exchanged(both.direct, request).startswith(b"HTTP/1.1 401")


def test_a_request_before_rubbish_is_answered(both: Both) -> None:
    received = exchanged(both.direct, post(both, BODY) + b"rubbish\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in received


def test_a_head_is_bounded(both: Both) -> None:
    for part, count in ((b"a: b\r\n" * 1_000, 100), (b"X: " + b"y" * 10_000, 20)):
        received = b""
        connection = socket.create_connection(("127.0.0.1", both.direct), timeout=20)
        with connection, suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(b"POST /predict HTTP/1.1\r\n")
            for _ in range(count):
                connection.sendall(part)
                time.sleep(0.002)
            while more := connection.recv(65_536):
                received += more
        assert not received or (received.startswith(b"HTTP/1.1 431") and b"head_too_large" in received), "what it still sends is not read"


@pytest.mark.parametrize("begun", [0, 30, -5], ids=["nothing", "half-a-head", "half-a-body"])
def test_who_does_not_finish_is_not_waited_for(both: Both, begun: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_S", "BODY_S"):
        monkeypatch.setattr(f"api.direct.{name}", 0.5)
    for path in ("/predict", "/observations"):
        request = post(both, BODY, path=path)
        with socket.create_connection(("127.0.0.1", both.direct), timeout=20) as connection:
            connection.sendall(request[:begun])
            assert connection.recv(65_536) == b""


def test_who_hangs_up_before_the_answer_disturbs_nobody(both: Both) -> None:
    for request in (post(both, BODY), post(both, BODY)[:-5], post(both, BODY)[:30]):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", both.direct)) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # hang up with a reset
                connection.sendall(request)
    [answer] = ask(both.direct, [post(both, BODY, more=b"Connection: close\r\n")])
    assert answer.status == 200


def test_who_never_reads_is_not_read_from_for_ever(both: Both) -> None:
    requests = post(both, BODY) * 50
    sent, left = 0, requests
    with socket.create_connection(("127.0.0.1", both.direct)) as connection:
        connection.setblocking(False)
        silent_since_s = time.monotonic()
        while time.monotonic() - silent_since_s < 2.0:
            try:
                count = connection.send(left)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            sent, left = sent + count, left[count:] or requests
            silent_since_s = time.monotonic()
            assert sent < 40e6, "the server keeps reading what nobody hears the answers of"


def test_what_cannot_be_recorded_is_refused(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(table: str, lines: bytes) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(both.api.parts.spool, "write_lines", full)
    [refused, _] = both_answer(both, ["plain"])
    assert refused.status == 503
    assert b"the disk is full" in refused.content


def test_an_error_that_nobody_foresaw_is_answered(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(both.api.parts.service, "answer", broken)
    [failed, _] = both_answer(both, ["plain"])
    assert failed.status == 500
    assert b"unforeseen" not in failed.content


def test_a_client_over_its_limit_is_refused_and_charged_once(tmp_path: Path) -> None:
    with served(tmp_path, rate_limit_per_s=0.001, rate_limit_burst=4) as both:
        both.api.promote(1)
        request = post(both, BODY)
        answers = ask(both.direct, [request * 6 + post(both, b"{", more=b"Connection: close\r\n")])
        assert [answer.status for answer in answers] == [200] * 4 + [429] * 3
        left = [dict(answer.fields)[b"ratelimit"].partition(b";t=")[0] for answer in answers]
        assert left == [b'"client";r=%d' % n for n in (3, 2, 1, 0, 0, 0, 0)]
        assert all(dict(answer.fields)[b"ratelimit-policy"] == b'"client";q=4;w=4000' for answer in answers)


def test_a_server_that_ends_finishes_what_it_has_begun(tmp_path: Path) -> None:
    class Slow(ConstantVelocity):
        def forecast(self, history_m: Any) -> Any:
            asked.set()
            time.sleep(0.3)
            return super().forecast(history_m)

    asked = threading.Event()
    with served(tmp_path, rate_limit_per_s=0) as both:
        both.api.parts.loader.models[1] = Slow  # type: ignore[attr-defined]
        both.api.promote(1)
        ask(both.direct, [post(both, BODY)], answers=1)
        asked.clear()
        answers: list[Heard] = []
        asking = threading.Thread(target=lambda: answers.extend(ask(both.direct, [post(both, BODY)])))
        asking.start()
        assert asked.wait(10)
    asking.join(10)
    assert [answer.status for answer in answers] == [200]
