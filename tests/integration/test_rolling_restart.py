"""Servers are replaced under load behind a real HAProxy: every request is answered, and every answer is recorded once."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data.lake.spool import base_name
from tests.api_process import Server
from tests.conftest import Haproxy
from tests.load import Load, load

pytestmark = pytest.mark.slow

Start = Callable[..., Haproxy]
# Longer than the 1.2 s and some that HAProxy needs to find out: docs/deployment.md.
DRAIN_S = "2.5"
ANSWERS = 200
# On a busy machine a wait is no overload: that is not what is tested here.
MAX_WAIT_S = "20"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Callable[..., list[Server]]]:
    """Starts two servers that share state and key."""
    servers: list[Server] = []

    def start(drain_s: str) -> list[Server]:
        servers.append(Server(tmp_path, TRAJOPS_DRAIN_S=drain_s, TRAJOPS_MAX_WAIT_S=MAX_WAIT_S))
        servers.append(Server(tmp_path, key=servers[0].key, TRAJOPS_DRAIN_S=drain_s, TRAJOPS_MAX_WAIT_S=MAX_WAIT_S))
        for server in servers:
            server.wait_until(200)
        return servers

    yield start
    for server in servers:
        server.kill()


def recorded(folder: Path) -> Counter[str]:
    """How often each prediction stands in the spool; a segment may get its final name at any moment."""

    def text_of(segment: Path) -> bytes:
        try:
            return segment.read_bytes()
        except FileNotFoundError:
            return segment.with_name(base_name(segment.name)).read_bytes()

    segments = {base_name(path.name): path for path in sorted((folder / "spool").glob("predictions.*"))}
    return Counter(json.loads(line)["prediction_id"] for segment in segments.values() for line in text_of(segment).splitlines())


def tried_again(balancer: Haproxy) -> int:
    """Requests that HAProxy had to send once more, or could not have answered."""
    counters = balancer.counters()
    return sum(int(counters[name]) for name in ("wretr", "wredis", "econ", "eresp"))


def assert_all_recorded(seen: Load, folder: Path) -> None:
    counts = recorded(folder)
    assert len(set(seen.answered)) == len(seen.answered)
    assert {one: counts[one] for one in seen.answered if counts[one] != 1} == {}


def test_two_servers_are_replaced_one_after_another(tmp_path: Path, pair: Callable[..., list[Server]], haproxy: Start) -> None:
    servers = pair(DRAIN_S)
    balancer = haproxy(*(server.port for server in servers))
    balancer.wait_until(api1="UP", api2="UP")
    with load(balancer.port, servers[0].headers) as seen:
        for name, server in [*zip(("api1", "api2"), servers, strict=True)] * 2:
            seen.wait_for(ANSWERS)
            assert server.stop() == -signal.SIGTERM, server.log.read_text()
            server.start()
            server.wait_until(200)
            balancer.wait_until(**{name: "UP"})
        seen.wait_for(ANSWERS)
    assert seen.failed == []
    assert tried_again(balancer) == 0, balancer.counters()
    assert_all_recorded(seen, tmp_path)
    for name in ("api1", "api2"):
        assert int(balancer.counters(name)["chkdown"]) == 2


def test_the_processes_of_one_server_are_replaced_without_it_being_away(tmp_path: Path, haproxy: Start) -> None:
    server = Server(tmp_path, "--workers", "2", TRAJOPS_DRAIN_S=DRAIN_S, TRAJOPS_MAX_WAIT_S=MAX_WAIT_S)
    try:
        server.wait_until(200)
        before = frozenset(server.everybody(2))
        balancer = haproxy(server.port)
        balancer.wait_until(api1="UP", api2="DOWN")
        with load(balancer.port, server.headers) as seen:
            seen.wait_for(ANSWERS)
            server.process.send_signal(signal.SIGHUP)
            server.everybody(2, besides=before)
            deadline = time.monotonic() + 60
            while len(server.children()) != 2:
                assert time.monotonic() < deadline, server.log.read_text()
                time.sleep(0.05)
            seen.wait_for(ANSWERS)
        assert seen.failed == []
        assert tried_again(balancer) == 0, balancer.counters()
        assert_all_recorded(seen, tmp_path)
        assert balancer.counters("api1")["chkdown"] == "0"
        assert server.stop() == 0, server.log.read_text()
    finally:
        server.kill()


def test_a_server_that_is_killed_is_noticed(tmp_path: Path, pair: Callable[..., list[Server]], haproxy: Start) -> None:
    """The check of the tests above can fail; what was answered is recorded all the same."""
    servers = pair("0")
    balancer = haproxy(*(server.port for server in servers))
    balancer.wait_until(api1="UP", api2="UP")
    with load(balancer.port, servers[0].headers) as seen:
        seen.wait_for(ANSWERS)
        os.kill(servers[0].process.pid, signal.SIGKILL)
        balancer.wait_until(api1="DOWN")
        seen.wait_for(ANSWERS)
    assert tried_again(balancer) > 0
    assert_all_recorded(seen, tmp_path)
