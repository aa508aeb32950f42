"""Kill -9 of writers and compactors, and deleted segments, under load: every acknowledged row is in the lake exactly once."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from data.lake.compactor import Compactor
from data.lake.queries import Lake
from data.sql.engine import Database
from data.sql.tables import metadata

ROOT = Path(__file__).resolve().parents[2]

WRITER = """
    import asyncio, itertools, os, sys
    from pathlib import Path
    from data.lake.group_commit import GroupCommit
    from data.lake.spool import Spool
    from tests.builders import a_prediction_event, an_observation_event

    async def client(commits, name):
        for number in itertools.count():
            prediction_id = f"{os.getpid()}-{name}-{number}"
            await asyncio.gather(
                commits.commit("predictions", [a_prediction_event(prediction_id)]),
                commits.commit("observations", [an_observation_event(agent_id=prediction_id)]),
            )
            os.write(1, (prediction_id + "\\n").encode())  # the answer: acknowledged from here on

    async def main():
        spool = Spool(Path(sys.argv[1]), rotate_s=float(sys.argv[2]), sync_s=0.05)
        commits = GroupCommit(spool)
        await asyncio.gather(*(client(commits, name) for name in range(16)))

    asyncio.run(main())
"""

COMPACTOR = """
    import sys
    from pathlib import Path
    from data.lake.compactor import Compactor
    from data.sql.engine import Database

    compactor = Compactor(Path(sys.argv[1]) / "lake", Path(sys.argv[1]) / "spool", Database(sys.argv[2]).engine, delete_delay_s=0.2)
    print("ready", flush=True)
    while True:
        compactor.run()
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'control.db'}")
    metadata.create_all(database.engine)
    yield database
    database.close()


def start(code: str, *arguments: object, stderr: int | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=stderr,
    )


def acknowledged_by(writer: subprocess.Popen[bytes], at_least: int) -> list[str]:
    """Kill the writer when it has acknowledged enough; return everything it has acknowledged."""
    assert writer.stdout is not None
    os.set_blocking(writer.stdout.fileno(), True)
    lines = [writer.stdout.readline() for _ in range(at_least)]
    writer.send_signal(signal.SIGKILL)
    lines += writer.stdout.readlines()
    assert writer.wait(timeout=30) == -signal.SIGKILL
    writer.stdout.close()
    return [line.decode().strip() for line in lines if line.endswith(b"\n")]


def found(lake: Lake, table: str, column: str) -> Counter[str]:
    query = f"SELECT {column} FROM {table}"
    return Counter(lake.read((table,), lambda cursor, prefix: [row[0] for row in cursor.execute(prefix + query).fetchall()]))


def assert_exactly_once(lake: Lake, acknowledged: list[str], writers: int) -> None:
    for table, column in (("predictions", "prediction_id"), ("observations", "agent_id")):
        rows = found(lake, table, column)
        assert rows.keys() >= set(acknowledged), f"{table}: an acknowledged row is lost"
        assert max(rows.values()) == 1, f"{table}: a row is there twice"
        # A written row whose answer was cut off may be there too: at most one for each of the writer's clients.
        assert len(rows) <= len(acknowledged) + 16 * writers


def test_kill_9_of_a_writer_loses_nothing_it_acknowledged(tmp_path: Path, database: Database) -> None:
    acknowledged = acknowledged_by(start(WRITER, tmp_path / "spool", 0.15), 3000)
    lake = Lake(tmp_path / "lake", tmp_path / "spool", database.engine)
    assert len(acknowledged) >= 3000
    assert list((tmp_path / "spool").glob("*.open")), "it was killed with open segments"
    assert_exactly_once(lake, acknowledged, 1)
    compactor = Compactor(tmp_path / "lake", tmp_path / "spool", database.engine, delete_delay_s=0)
    report = compactor.run()
    assert report["adopted"] == 2
    assert report["quarantined"] == 0
    assert_exactly_once(lake, acknowledged, 1)
    compactor.run()
    assert not list((tmp_path / "spool").glob("*.ndjson*"))
    assert_exactly_once(lake, acknowledged, 1)
    lake.close()


def test_segments_deleted_under_load_lose_nothing_that_was_acknowledged(tmp_path: Path, database: Database) -> None:
    spool_dir = tmp_path / "spool"
    writer = start(WRITER, spool_dir, 3600, stderr=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stderr is not None
    acknowledged: list[str] = []
    for _ in range(10):
        acknowledged += [writer.stdout.readline().decode().strip() for _ in range(200)]
        for path in list(spool_dir.glob("*.open")):
            path.unlink()
        with suppress(OSError):
            spool_dir.rmdir()  # unless the writer has been faster
        said = [writer.stderr.readline().decode() for _ in range(2)]
        assert all("its rows are written again" in line for line in said), said
    acknowledged += acknowledged_by(writer, 200)
    writer.stderr.close()
    assert len(list(spool_dir.iterdir())) == 2
    lake = Lake(tmp_path / "lake", spool_dir, database.engine)
    assert_exactly_once(lake, acknowledged, 1)
    lake.close()


@pytest.mark.slow
def test_kill_9_of_writers_and_compactors_at_random_moments(tmp_path: Path, database: Database) -> None:
    rng = random.Random(7)
    acknowledged: list[str] = []
    rounds = 6
    lake = Lake(tmp_path / "lake", tmp_path / "spool", database.engine)
    for _ in range(rounds):
        writer = start(WRITER, tmp_path / "spool", 0.15)
        compactor = start(COMPACTOR, tmp_path, database.url)
        assert compactor.stdout is not None
        assert compactor.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + rng.uniform(0.05, 0.8)
        assert writer.stdout is not None
        while time.monotonic() < deadline:
            acknowledged.append(writer.stdout.readline().decode().strip())
        compactor.send_signal(signal.SIGKILL)
        assert compactor.wait(timeout=30) == -signal.SIGKILL
        compactor.stdout.close()
        acknowledged += acknowledged_by(writer, 200)
        assert_exactly_once(lake, acknowledged, rounds)
    last = Compactor(tmp_path / "lake", tmp_path / "spool", database.engine, delete_delay_s=0)
    last.run()
    last.run()
    assert not list((tmp_path / "spool").glob("*.ndjson*"))
    assert_exactly_once(lake, acknowledged, rounds)
    lake.close()
