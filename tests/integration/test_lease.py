"""Job leases over real databases: never two holders, and late ones are found out."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from data.sql.engine import Database
from data.stubs import SetClock
from trajops.clock import now
from trajops.errors import Conflict
from workers.lease import Leases

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'control.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    database = Database(url)
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def leases(database: Database, clock: SetClock) -> Leases:
    return Leases(database.unit_of_work, clock)


def test_a_lease_ends_by_itself(leases: Leases, clock: SetClock) -> None:
    assert leases.acquire("compact", "a", 10) == 1
    clock.advance(9.9)
    assert leases.acquire("compact", "b", 10) is None
    clock.advance(0.1)
    assert leases.acquire("compact", "b", 10) == 2
    assert not leases.renew("compact", "a", 1, 10)
    assert not leases.release("compact", "a", 1)


def test_a_renewed_lease_goes_on(leases: Leases, clock: SetClock) -> None:
    assert leases.acquire("compact", "a", 10) == 1
    for _ in range(5):
        clock.advance(9)
        assert leases.renew("compact", "a", 1, 10)
        assert leases.acquire("compact", "b", 10) is None


def test_a_released_lease_is_free_and_the_fence_grows(leases: Leases) -> None:
    for fence in (1, 2, 3):
        assert leases.acquire("compact", "a", 10) == fence
        assert leases.release("compact", "a", fence)


def test_of_many_who_ask_at_once_one_gets_it(leases: Leases, clock: SetClock) -> None:
    together = threading.Barrier(6)

    def ask(holder: int) -> int | None:
        together.wait()
        return leases.acquire("compact", str(holder), 10)

    for fence in (1, 2, 3):
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(ask, range(6)))
        assert sorted(answers, key=str) == [fence] + [None] * 5
        clock.advance(10)


def test_a_late_holder_cannot_write(leases: Leases, database: Database, clock: SetClock) -> None:
    old = leases.acquire("compact", "a", 10)
    assert old is not None
    clock.advance(11)
    new = leases.acquire("compact", "b", 10)
    assert new is not None

    def write(holder: str, fence: int) -> None:
        with leases.fenced("compact", holder, fence, 10) as uow:
            uow.jobs.describe("compact", holder, 1)

    with pytest.raises(Conflict, match="lost the lease"):
        write("a", old)
    write("b", new)
    with database.unit_of_work(read_only=True) as uow:
        assert [schedule.description for schedule in uow.jobs.schedules()] == ["b"]


def test_nobody_takes_over_before_a_fenced_commit(leases: Leases, database: Database, clock: SetClock) -> None:
    fence = leases.acquire("compact", "a", 10)
    assert fence is not None
    with ThreadPoolExecutor(1) as pool:
        with leases.fenced("compact", "a", fence, 10) as uow:
            clock.advance(60)
            taking = pool.submit(leases.acquire, "compact", "b", 10)
            with pytest.raises(TimeoutError):
                taking.result(timeout=0.3)
            uow.jobs.describe("compact", "a", 1)
        assert taking.result(timeout=20) == 2
    with database.unit_of_work(read_only=True) as reading:
        assert [schedule.description for schedule in reading.jobs.schedules()] == ["a"]


def test_a_held_lease_is_renewed_while_the_block_runs(database: Database) -> None:
    leases = Leases(database.unit_of_work)
    with leases.held("compact", "a", ttl_s=1.5) as fence:
        assert fence == 1
        with leases.held("compact", "b", ttl_s=1.5) as other:
            assert other is None
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:  # two lives long: without renewal it would be free by now
            assert leases.acquire("compact", "b", 1.5) is None
            threading.Event().wait(0.1)
    assert leases.acquire("compact", "b", 1.5) == 2


def test_a_held_lease_is_given_back_after_an_error(leases: Leases) -> None:
    def fail() -> None:
        with leases.held("compact", "a", ttl_s=60):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert leases.acquire("compact", "b", 10) == 2


RACE = """
import json, sys, time
from data.sql.engine import Database
from workers.lease import Leases
url, holder, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
leases, spans = Leases(Database(url).unit_of_work), []
while len(spans) < rounds:
    fence = leases.acquire("compact", holder, 30)
    if fence is None:
        continue
    since = time.monotonic_ns()
    time.sleep(0.002)
    spans.append((fence, since, time.monotonic_ns()))
    assert leases.release("compact", holder, fence)
print(json.dumps(spans))
"""


@pytest.mark.slow
def test_two_processes_never_hold_it_together(database: Database) -> None:
    url = database.url.render_as_string(hide_password=False)
    racing = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, url, holder, "25"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for holder in ("a", "b")
    ]
    spans: list[tuple[int, int, int]] = []
    for process in racing:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        spans += [tuple(span) for span in json.loads(output)]
    spans.sort()
    assert [fence for fence, _, _ in spans] == list(range(1, 51))
    assert all(until <= since for (_, _, until), (_, since, _) in pairwise(spans))


def test_time_comes_from_the_clock(leases: Leases, database: Database, clock: SetClock) -> None:
    clock.advance(-3600 * 24 * 365)
    assert leases.acquire("compact", "a", 10) == 1
    with database.unit_of_work() as uow:
        present = now(clock)
        assert uow.leases.renew("compact", "a", 1, present, present)
