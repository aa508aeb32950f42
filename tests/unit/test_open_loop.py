"""The open-loop generator: requests keep their times, and a server that stalls is charged with all that was due meanwhile."""

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.load import closed_loop, post
from benchmarks.open_loop import due_times_s, open_loop

ANSWER = b'HTTP/1.1 200 OK\r\ncontent-length: 63\r\n\r\n{"prediction_id":"0123456789abcdefPROCESS1abcdefgh","x":"1234"}\n'
STALL_S = 0.3


class Stalling:
    """Answers one request after another, and once none for a while: the stall begins with a request of its own number."""

    def __init__(self, stall_at: int, stall_s: float) -> None:
        self.lock = threading.Lock()
        self.left, self.stall_s = stall_at, stall_s

    def serve(self, connection: socket.socket) -> None:
        with connection:
            while request := connection.recv(65_536):
                assert request.endswith(b"body")
                with self.lock:
                    self.left -= 1
                    if self.left == 0:
                        time.sleep(self.stall_s)
                    connection.sendall(ANSWER)


@contextmanager
def serving(stalling: Stalling) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=stalling.serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_stall_is_felt_by_all_that_were_due_in_it() -> None:
    request, connections = post("/predict", b"body", {}), 4
    with serving(Stalling(connections + 100, STALL_S)) as port:
        done = open_loop(port, request, rate_per_s=200, requests=200, connections=connections, arrivals="even")
    assert (done.answers, done.refusals, done.failures) == (200, 0, 0)
    # Sixty requests are due in 0.3 s; each waits for what is left of it, though only four connections hang.
    waited = sum(taken_ms > STALL_S * 1e3 / 3 for taken_ms in done.latencies_ms)
    assert waited >= 30
    assert done.starved >= 40
    assert done.processes == (connections,)

    with serving(Stalling(connections + 100, STALL_S)) as port:
        closed = closed_loop("127.0.0.1", port, request, requests=200, connections=connections)
    assert sum(taken_ms > STALL_S * 1e3 / 3 for taken_ms in closed.latencies_ms) <= connections


def test_arrivals_are_the_same_each_time_and_come_at_the_rate() -> None:
    assert due_times_s(100, 5, "even") == [0.0, 0.01, 0.02, 0.03, 0.04]
    poisson = due_times_s(1_000, 20_000, "poisson")
    assert poisson == due_times_s(1_000, 20_000, "poisson")
    assert poisson == sorted(poisson)
    assert poisson[-1] == pytest.approx(20.0, rel=0.03)
    gaps_s = [later - earlier for earlier, later in itertools.pairwise(poisson)]
    # Of exponential gaps, 1/e are longer than their mean.
    assert sum(gap_s > 1e-3 for gap_s in gaps_s) / len(gaps_s) == pytest.approx(0.368, abs=0.02)
