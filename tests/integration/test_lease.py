"""Job leases over real databases: never two holders, and late ones are found out."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from data.sql.engine import Database
from data.sql.repositories.leases import SqlLeases
from trajops.errors import Conflict
from workers.lease import Held, fenced, under

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'control.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    database = Database(url)
    database.migrate()
    yield database
    database.close()


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def acquire(database: Database, holder: str, at_s: float) -> Held | None:
    """The lease of `compact` for ten seconds."""
    with database.unit_of_work() as uow:
        fence = uow.leases.acquire("compact", holder, later(at_s), later(at_s + 10))
    return None if fence is None else Held("compact", holder, fence)


def described(database: Database) -> list[str]:
    with database.unit_of_work(read_only=True) as uow:
        return [schedule.description for schedule in uow.jobs.schedules()]


def test_of_many_who_ask_at_once_one_gets_it(database: Database) -> None:
    together = threading.Barrier(6)

    def ask(holder: int, at_s: float) -> int | None:
        together.wait()
        held = acquire(database, str(holder), at_s)
        return None if held is None else held.fence

    for fence in (1, 2, 3):
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(ask, range(6), [10.0 * fence] * 6))
        assert sorted(answers, key=str) == [fence] + [None] * 5


def test_a_late_holder_cannot_write(database: Database) -> None:
    old, new = acquire(database, "a", 0), acquire(database, "b", 11)
    assert old is not None
    assert new is not None
    unit_of_work = fenced(database.unit_of_work)

    def write(held: Held) -> None:
        with under(held), unit_of_work() as uow:
            uow.jobs.describe("compact", held.holder, 1)

    write(new)
    with pytest.raises(Conflict, match="a has lost the lease on compact"):
        write(old)
    assert described(database) == ["b"]
    with under(old), unit_of_work(read_only=True) as uow:
        assert uow.jobs.schedules()
    with unit_of_work() as uow:  # under no lease: whoever is asked by a person
        uow.jobs.describe("compact", "somebody", 1)
    assert described(database) == ["somebody"]


def test_nobody_takes_over_between_the_last_look_and_the_commit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    held = acquire(database, "a", 0)
    assert held is not None
    taking: list[Future[Held | None]] = []
    with ThreadPoolExecutor(1) as pool:
        is_held = SqlLeases.is_held

        def look(leases: SqlLeases, job: str, holder: str, fence: int) -> bool:
            found = is_held(leases, job, holder, fence)
            taking.append(pool.submit(acquire, database, "b", 60))
            with pytest.raises(TimeoutError):
                taking[0].result(timeout=0.3)
            return found

        monkeypatch.setattr(SqlLeases, "is_held", look)
        with under(held), fenced(database.unit_of_work)() as uow:
            uow.jobs.describe("compact", "a", 1)
        assert taking[0].result(timeout=20) == Held("compact", "b", 2)
    assert described(database) == ["a"]


RACE = """
import json, sys, time
from datetime import timedelta
from data.sql.engine import Database
from trajops.clock import SystemClock, now
url, holder, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
database, spans = Database(url), []
while len(spans) < rounds:
    at = now(SystemClock())
    with database.unit_of_work() as uow:
        fence = uow.leases.acquire("compact", holder, at, at + timedelta(seconds=30))
    if fence is None:
        continue
    since = time.monotonic_ns()
    time.sleep(0.002)
    spans.append((fence, since, time.monotonic_ns()))
    with database.unit_of_work() as uow:
        assert uow.leases.release("compact", holder, fence, now(SystemClock()))
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
