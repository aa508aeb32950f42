"""The lake: each acknowledged row exactly once, whatever happens between spool and Parquet, and what readers are told."""

import fcntl
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from data.lake import compactor as compacting
from data.lake import parquet, schema
from data.lake.compactor import Compactor
from data.lake.drift_rows import COLUMNS
from data.lake.manifest import LakeFile, Manifest
from data.lake.queries import Lake
from data.lake.spool import Spool, lines_of
from data.sql.tables import lake_files, lake_segments, metadata
from tests.builders import CLOCK_NS, a_prediction_event, an_observation_event, an_outcome_event
from tests.lake_house import House, a_house
from trajops.clock import utc
from trajops.errors import InvalidInput, NotFound, Unavailable
from trajops.telemetry import PredictionEvent

MINUTE_NS = 60 * 10**9
HOUR_NS = 60 * MINUTE_NS
START = utc(CLOCK_NS)
PLAIN_HOUR_NS = 1_700_006_400 * 10**9  # 2023-11-15 00:00 UTC


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as house:
        yield house


def some(count: int, start: int = 0, **changes: Any) -> list[PredictionEvent]:
    return [
        a_prediction_event(f"p{n:04d}", received_ns=CLOCK_NS + n * 10**6, agent_id=f"a{n % 5}", **changes)
        for n in range(start, start + count)
    ]


def ids(count: int) -> list[str]:
    return [f"p{n:04d}" for n in range(count)]


def test_an_empty_lake_answers(house: House) -> None:
    assert house.lake.counts() == {"predictions": 0, "observations": 0, "outcomes": 0}
    figures = house.lake.performance(START, START + timedelta(hours=1))
    assert (figures.rows, figures.series, figures.step_error_m, figures.last_outcome_at) == ([], [], {}, None)
    assert house.lake.recent_predictions() == []
    assert house.lake.drift_rows(START, START + timedelta(hours=1)).column_names == list(COLUMNS)
    assert house.compact()["rows"] == 0


def test_a_row_is_counted_once_wherever_it_is(house: House) -> None:
    house.write(*some(10), close=False)
    assert house.ids() == ids(10), "in the open segment"
    house.write(*some(10, 10))
    assert house.ids() == ids(20), "in a closed one"
    assert house.compact() | {"deleted": 0} == {
        "adopted": 0, "segments": 1, "rows": 20, "files": 1, "torn": 0, "quarantined": 0, "mended": 0, "retired": 0, "merged": 0,
        "deleted": 0,
    }  # fmt: skip
    assert house.segments() != []
    assert house.ids() == ids(20), "in Parquet, and still in its segment"
    house.write(*some(5, 20), close=False)
    assert house.ids() == ids(25), "in Parquet and in the spool"
    house.clock.ns += 61 * 10**9
    house.compactor.run()
    assert len(house.segments()) == 1
    assert house.ids() == ids(25), "the compacted segment is gone"
    assert house.lake.counts()["predictions"] == 25


def test_values_survive_the_way_to_parquet(house: House) -> None:
    event = a_prediction_event(
        "p'1", scene_id="Łódź \"quoted\" \\ 'x'", agent_id="🏃", mean_m=[5_812_345.678 + n / 8 for n in range(24)], experiment_id="e1"
    )
    house.write(event, close=False)
    live = house.lake.prediction("p'1")
    house.compact()
    stored = house.lake.prediction("p'1")
    assert stored == live
    assert stored.prediction.scene_id == event.scene_id
    assert stored.prediction.modes[0].positions[0] == (5_812_345.678, 5_812_345.803), "a northing keeps its millimetres"


def test_files_hold_one_hour_each_sorted_with_a_schema_version(house: House) -> None:
    times_ns = [PLAIN_HOUR_NS + shift for shift in (5, -5, HOUR_NS, 3)]
    house.write(*(a_prediction_event(f"p{n}", received_ns=time_ns) for n, time_ns in enumerate(times_ns)))
    house.compact()
    files = house.files()
    assert [(file.day, file.path.split("/")[2][:3], file.rows) for file in files] == [
        ("2023-11-14", "23-", 1),
        ("2023-11-15", "00-", 2),
        ("2023-11-15", "01-", 1),
    ]
    assert (files[1].min_received_ns, files[1].max_received_ns) == (PLAIN_HOUR_NS + 3, PLAIN_HOUR_NS + 5)
    stored = pq.ParquetFile(house.folder / "lake" / files[1].path)
    assert stored.read()["received_ns"].to_pylist() == [PLAIN_HOUR_NS + 3, PLAIN_HOUR_NS + 5]
    assert stored.schema_arrow.metadata[schema.VERSION_KEY] == b"4"
    assert (house.folder / "lake" / files[1].path).stat().st_size == files[1].size_bytes


class Killed(BaseException):
    """Stands for a process that ends here."""


def kill_after(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    real = getattr(owner, name)

    def call(*args: Any, **options: Any) -> None:
        real(*args, **options)
        raise Killed

    monkeypatch.setattr(owner, name, call)


def kill_before(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    def call(*_: Any, **__: Any) -> None:
        raise Killed

    monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize("how", [kill_before, kill_after], ids=["before", "after"])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (compacting.segments, "parse"),
        (compacting.parquet, "write_hours"),
        (Manifest, "publish"),
        (Manifest, "contents"),
        (Manifest, "replace"),
        (Manifest, "deletable"),
        (Manifest, "forget"),
        (Manifest, "paths"),
    ],
)
def test_killed_anywhere_each_row_stays_once(
    house: House, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, how: Callable[..., None]
) -> None:
    house.write(*some(10))
    house.compact()
    house.write(*some(10, 10))
    house.clock.ns += 2 * HOUR_NS  # the hour is over: the two files will be merged, the first segment deleted
    with monkeypatch.context() as patch:
        how(patch, owner, name)
        with pytest.raises(Killed):
            house.compactor.run()
    assert house.ids() == ids(20), "while nothing has run again"
    house.compactor.run()
    assert house.ids() == ids(20)
    house.clock.ns += 2 * HOUR_NS
    house.compactor.run()
    house.compactor.run()
    assert house.ids() == ids(20)
    assert house.segments() == []
    assert [file.rows for file in house.files()] == [20]


def test_files_that_were_never_published_are_swept(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.write(*some(10))
    with monkeypatch.context() as patch:
        kill_before(patch, Manifest, "publish")
        with pytest.raises(Killed):
            house.compactor.run()
    (lost,) = (house.folder / "lake").rglob("*.parquet")
    house.clock.ns = time.time_ns()
    house.compactor.run()
    assert lost.exists(), "young files may be about to be published"
    os.utime(lost, ns=(house.clock.ns - 16 * MINUTE_NS,) * 2)
    house.compactor.run()
    assert not lost.exists()
    assert house.ids() == ids(10)


def test_two_compactors_at_once_do_not_double(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.write(*some(10))
    other, real = house.compactor, parquet.write_hours
    calls: list[int] = []

    def write_hours(*args: Any) -> list[LakeFile]:
        files = real(*args)
        calls.append(1)
        if len(calls) == 1:
            assert other.run()["rows"] == 10
        return files

    monkeypatch.setattr(parquet, "write_hours", write_hours)
    assert house.compactor.run()["rows"] == 0
    assert house.ids() == ids(10)
    assert len(list((house.folder / "lake").rglob("*.parquet"))) == 1


def test_two_compactors_merge_only_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(3):
        house.write(*some(10, n * 10))
        house.compact()
    house.clock.ns += 2 * HOUR_NS
    other, real = house.compactor, Manifest.replace
    calls: list[int] = []

    def replaced(self: Manifest, *args: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            assert other.run()["merged"] == 3
        real(self, *args)

    monkeypatch.setattr(Manifest, "replace", replaced)
    assert house.compactor.run()["merged"] == 0
    assert house.ids() == ids(30)


def test_the_segment_of_a_dead_writer_is_taken_over_and_that_of_a_live_one_is_not(house: House) -> None:
    house.write(*some(5), close=False)
    orphan = house.folder / "spool" / "predictions.gone-1-1.000000.ndjson.open"
    orphan.write_bytes(lines_of(some(5, 5)))
    empty = orphan.with_name("predictions.gone-1-1.000001.ndjson.open")
    empty.touch()
    unborn = orphan.with_name("predictions.gone-1-1.000002.ndjson.new")
    unborn.touch()
    report = house.compactor.run()
    assert (report["adopted"], report["rows"]) == (1, 5)
    assert not empty.exists()
    assert unborn.exists(), "its writer may be about to lock it"
    os.utime(unborn, ns=(0, 0))
    house.compactor.run()
    assert not unborn.exists()
    assert house.ids() == ids(10)
    house.write(*some(5, 10), close=False)
    assert house.ids() == ids(15), "the live writer was not disturbed"


def test_a_segment_whose_writer_lives_in_another_process_is_left_alone(house: House) -> None:
    path = house.folder / "spool" / "predictions.other-1-1.000000.ndjson.open"
    path.parent.mkdir()
    path.write_bytes(lines_of(some(5)))
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert house.compactor.run()["adopted"] == 0
    assert house.compactor.run()["adopted"] == 1
    assert house.ids() == ids(5)


def test_a_torn_tail_is_dropped(house: House) -> None:
    whole, torn = lines_of(some(3)), lines_of(some(1, 3))
    path = house.folder / "spool" / "predictions.gone-1-1.000000.ndjson.open"
    path.parent.mkdir()
    for cut in (1, len(torn) // 2, len(torn) - 2):
        path.write_bytes(whole + torn[:cut])
        assert house.ids() == ids(3)
    report = house.compactor.run()
    assert (report["rows"], report["torn"], report["quarantined"]) == (3, 1, 0)
    assert house.ids() == ids(3)


def test_a_last_line_that_lacks_only_its_end_stays(house: House) -> None:
    path = house.folder / "spool" / "predictions.gone-1-1.000000.ndjson.open"
    path.parent.mkdir()
    path.write_bytes(lines_of(some(4))[:-1])
    assert house.ids() == ids(4)
    report = house.compactor.run()
    assert (report["rows"], report["torn"]) == (4, 0)
    assert house.ids() == ids(4)


BAD_LINES = {
    "no JSON": b"garbage",
    "no object": b"[1, 2]",
    "zeros after a power loss": b"\0\0\0\0",
    "not UTF-8": lines_of(some(1)).replace(b"champion", b"\xff\xfe").strip(),
    "a wrong type": lines_of(some(1)).replace(b'"epoch":1', b'"epoch":"one"').strip(),
    "a missing column": lines_of(some(1)).replace(b'"scene_id"', b'"scene"').strip(),
    "two objects": lines_of(some(2)).replace(b"\n", b""),
}


@pytest.mark.parametrize("bad", BAD_LINES.values(), ids=BAD_LINES)
def test_a_corrupt_line_is_kept_aside_and_the_rest_goes_on(house: House, bad: bytes, caplog: pytest.LogCaptureFixture) -> None:
    house.write(*some(10))
    (path,) = (house.folder / "spool").glob("*.ndjson")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], bad + b"\n", b"\n", *lines[4:]]))
    house.write(a_prediction_event("p0010", received_ns=CLOCK_NS + 10**7))
    report = house.compact()
    assert (report["rows"], report["quarantined"]) == (11, 1)
    assert house.ids() == ids(11)
    assert (house.folder / "spool" / "quarantine" / path.name).read_bytes() == bad + b"\n"
    assert "quarantine" in caplog.text


def test_an_empty_segment_stops_nobody(house: House) -> None:
    house.write(*some(3))
    (house.folder / "spool" / "predictions.aaa-1-1.000000.ndjson").touch()
    report = house.compact()
    assert (report["segments"], report["rows"], report["torn"], report["quarantined"]) == (2, 3, 0, 0)
    assert house.ids() == ids(3)


def test_lines_of_nothing_but_null_are_kept_aside(house: House) -> None:
    """In a process of its own: Arrow's reader ends the process that gives it such lines."""
    house.write(*some(3))
    (house.folder / "spool" / "predictions.aaa-1-1.000000.ndjson").write_bytes(b"null\nnull\n")
    script = (
        "import sys; from pathlib import Path; from data.lake.compactor import Compactor; from data.sql.engine import Database\n"
        "folder = Path(sys.argv[1]); database = Database(f'sqlite:///{folder}/control.db')\n"
        "print(Compactor(folder / 'lake', folder / 'spool', database.engine).run()['quarantined'])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(house.folder)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr
    assert house.ids() == ids(3)


def test_a_segment_that_is_one_endless_line_hides_only_itself(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """What a power loss can leave of a segment: zeros instead of its blocks, more than a reader takes as one line."""
    house.write(*some(3))
    zeros = house.folder / "spool" / "predictions.aaa-1-1.000000.ndjson"
    zeros.write_bytes(lines_of(some(2, 10)) + bytes(17 * 1024 * 1024))
    assert set(ids(3)) <= set(house.ids())
    assert zeros.name in caplog.text
    report = house.compact()
    assert (report["rows"], report["torn"]) == (5, 1)
    assert len(house.ids()) == 5, "the compactor takes its whole lines"


def test_a_segment_that_cannot_be_read_holds_up_no_other(house: House) -> None:
    house.write(*some(3))
    (house.folder / "spool" / "predictions.aaa-1-1.000000.ndjson").mkdir()
    with pytest.raises(Unavailable, match="aaa-1-1"):
        house.compact()
    assert [file.rows for file in house.files()] == [3]


def test_a_full_disk_is_not_filled_again_by_every_attempt(house: House) -> None:
    drawn = random.Random(0)
    house.write(*some(1))
    house.compact()
    (first,) = house.segments()
    house.clock.ns += 2 * MINUTE_NS
    house.write(*[replace_floats(event, drawn) for event in some(3_000, 1)])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512 * 1024, limit[1]))
    try:
        for _ in range(3):
            with pytest.raises(Unavailable, match="free space"):
                house.compactor.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert first not in house.segments(), "what is due is deleted all the same, which makes room"
    assert [str(path.relative_to(house.folder / "lake")) for path in (house.folder / "lake").rglob("*.parquet")] == [
        file.path for file in house.files()
    ]
    assert house.compact()["rows"] == 3_000
    assert house.ids() == ids(3_001)


def replace_floats(event: PredictionEvent, drawn: random.Random) -> PredictionEvent:
    """The same with positions that cannot be compressed."""
    return replace(event, history_m=[drawn.random() for _ in event.history_m], mean_m=[drawn.random() for _ in event.mean_m])


def test_readers_pass_over_a_corrupt_line(house: House) -> None:
    house.write(*some(4))
    (path,) = (house.folder / "spool").glob("*.ndjson")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"garbage\n", *lines[2:]]))
    assert house.ids() == ids(4)


def test_small_files_of_a_finished_hour_become_one(house: House) -> None:
    for n in range(3):
        house.write(*some(10, n * 10))
        house.compact()
    assert [file.rows for file in house.files()] == [10, 10, 10], "the hour still runs"
    old = [house.folder / "lake" / file.path for file in house.files()]
    house.clock.ns += 2 * HOUR_NS
    assert house.compactor.run()["merged"] == 3
    (merged,) = house.files()
    assert merged.rows == 30
    assert house.ids() == ids(30)
    assert all(path.exists() for path in old), "a reader that began before may still need them"
    house.clock.ns += 61 * 10**9
    house.compactor.run()
    assert not any(path.exists() for path in old)
    assert house.ids() == ids(30)
    assert house.compactor.run()["merged"] == 0


def test_many_small_files_of_the_present_hour_are_merged_too(house: House) -> None:
    for n in range(compacting.MERGE_FILES):
        house.write(*some(2, n * 2))
        house.compact()
    assert [file.rows for file in house.files()] == [2 * compacting.MERGE_FILES]


def test_big_files_are_left_alone_and_groups_are_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "MERGE_ROWS", 20)
    for n, rows in enumerate((12, 9, 9, 9)):
        house.write(*some(rows, n * 20))
        house.compact()
    house.clock.ns += 2 * HOUR_NS
    house.compactor.run()
    assert sorted(file.rows for file in house.files()) == [9, 12, 18]


def test_the_memory_of_segments_is_dropped_after_a_day(house: House) -> None:
    house.write(*some(1))
    house.compact()
    house.clock.ns += 2 * MINUTE_NS
    house.compactor.run()
    assert house.scalar(sa.select(lake_segments.c.is_deleted)) is True
    house.clock.ns += 25 * HOUR_NS
    house.compactor.run()
    assert house.scalar(sa.select(sa.func.count()).select_from(lake_segments)) == 0
    assert house.scalar(sa.select(sa.func.count()).select_from(lake_files)) == 1


def test_files_of_an_older_schema_are_read_and_merged(house: House) -> None:
    house.write(*some(2))
    house.compact()
    path = house.folder / "lake" / house.files()[0].path
    pq.write_table(pq.ParquetFile(path).read().drop_columns(["experiment_id", "source", "shadow_of"]), path)
    house.write(*some(2, 2, experiment_id="e1", shadow_of="p0000"))
    house.compact()
    query = "SELECT prediction_id, experiment_id, shadow_of FROM predictions ORDER BY prediction_id"

    def experiments() -> list[Any]:
        return house.lake.read(("predictions",), lambda cursor, prefix: cursor.execute(prefix + query).fetchall())

    expected = [("p0000", None, None), ("p0001", None, None), ("p0002", "e1", "p0000"), ("p0003", "e1", "p0000")]
    assert experiments() == expected
    house.clock.ns += 2 * HOUR_NS
    assert house.compactor.run()["merged"] == 2
    assert experiments() == expected


def test_outcomes_of_an_older_schema_are_read_and_merged(house: House) -> None:
    """Those of before they carried their experiment, in a file and in a segment, beside those that do."""
    house.write(an_outcome_event("old"), table="outcomes")
    house.compact()
    path = house.folder / "lake" / house.files()[0].path
    pq.write_table(pq.ParquetFile(path).read().drop_columns(["experiment_id", "shadow_of"]), path)
    older = {name: value for name, value in asdict(an_outcome_event("spooled")).items() if name not in {"experiment_id", "shadow_of"}}
    house.spool.write_lines("outcomes", orjson.dumps(older, option=orjson.OPT_APPEND_NEWLINE))
    house.write(an_outcome_event("new", experiment_id="e1", shadow_of="answer"), table="outcomes")
    query = "SELECT prediction_id, experiment_id, shadow_of, ade_m FROM outcomes ORDER BY prediction_id"

    def outcomes() -> list[Any]:
        return house.lake.read(("outcomes",), lambda cursor, prefix: cursor.execute(prefix + query).fetchall())

    expected = [("new", "e1", "answer", 0.5), ("old", None, None, 0.5), ("spooled", None, None, 0.5)]
    assert outcomes() == expected
    assert house.compact()["quarantined"] == 0
    assert outcomes() == expected
    house.clock.ns += 2 * HOUR_NS
    assert house.compactor.run()["merged"] == 2
    assert outcomes() == expected


def test_a_compaction_between_listing_and_manifest_is_not_counted_twice(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.write(*some(10))
    real = Manifest.contents

    def contents(self: Manifest, tables: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(Manifest, "contents", real)
            house.compactor.run()
        return real(self, tables)

    monkeypatch.setattr(Manifest, "contents", contents)
    assert house.ids() == ids(10)


@pytest.mark.parametrize("event", ["closed", "deleted"])
def test_a_file_that_vanishes_is_looked_for_again(house: House, monkeypatch: pytest.MonkeyPatch, event: str) -> None:
    house.write(*some(10), close=event == "deleted")
    real = Lake.prefix
    calls: list[int] = []

    def prefix(self: Lake, *args: Any, **options: Any) -> str:
        text = real(self, *args, **options)
        calls.append(1)
        if len(calls) == 1:
            house.spool.close()
            if event == "deleted":
                house.compactor.run()
                house.clock.ns += 61 * 10**9
                house.compactor.run()
        return text

    monkeypatch.setattr(Lake, "prefix", prefix)
    assert house.ids() == ids(10)
    assert len(calls) == 2


def test_a_lake_that_lost_a_file_says_so(house: House) -> None:
    house.write(*some(3))
    house.compact()
    (house.folder / "lake" / house.files()[0].path).unlink()
    with pytest.raises(Unavailable, match="cannot be read"):
        house.ids()


def test_a_manifest_out_of_reach_is_unavailable(house: House) -> None:
    metadata.drop_all(house.database.engine)
    with pytest.raises(Unavailable, match=r"manifest .*TRAJOPS_DATABASE_URL"):
        house.lake.counts()


def test_folders_with_pattern_characters_are_taken_as_they_are(house: House) -> None:
    folder = house.folder / "a[b]c*d?'e"
    lake = Lake(folder / "lake", folder / "spool", house.database.engine)
    with Spool(folder / "spool") as spool:
        spool.write("predictions", some(3))
        assert lake.count("predictions") == 3
    Compactor(folder / "lake", folder / "spool", house.database.engine).run()
    assert lake.count("predictions") == 3
    lake.close()


@pytest.mark.slow
def test_readers_never_miss_or_double_while_everything_moves(house: House) -> None:
    """A writer that closes segments all the time, a compactor that never rests, and readers on several threads."""
    written, stop, faults = [0], threading.Event(), []

    def write() -> None:
        with Spool(house.folder / "spool", rotate_s=0.1, sync_s=0.02) as spool:
            while not stop.is_set():
                spool.write("predictions", some(5, written[0]))
                written[0] += 5
                time.sleep(0.002)

    def compact() -> None:
        compactor = Compactor(house.folder / "lake", house.folder / "spool", house.database.engine, delete_delay_s=1.0)
        while not stop.is_set():
            compactor.run()

    def read() -> None:
        query = "SELECT count(*), count(DISTINCT prediction_id) FROM predictions"
        while not stop.is_set():
            before = written[0]
            [(rows, distinct)] = house.lake.read(("predictions",), lambda cursor, prefix: cursor.execute(prefix + query).fetchall())
            if rows != distinct or rows < before:
                faults.append((before, rows, distinct))

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - told below
            faults.append(error)
            stop.set()

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (write, compact, read, read, read)]
    for thread in threads:
        thread.start()
    stop.wait(6)
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert written[0] > 200
    assert house.ids() == ids(written[0])


# What readers are told


def outcome(prediction_id: str, **changes: Any) -> Any:
    return an_outcome_event(prediction_id, **changes)


@pytest.mark.parametrize("is_compacted", [False, True], ids=["live", "compacted"])
def test_performance_by_hand(house: House, is_compacted: bool) -> None:
    control = {"variant": "control", "agent_id": "a1", "latency_ms": 1.0}
    treatment = {"variant": "treatment", "model_version": 2, "agent_id": "a2"}
    house.write(
        a_prediction_event("c1", **control),
        a_prediction_event("c2", **{**control, "latency_ms": 3.0, "received_ns": CLOCK_NS + 30 * 10**9}),
        a_prediction_event("c3", **control, received_ns=CLOCK_NS + 119 * 10**9),
        a_prediction_event("t1", **treatment),
        a_prediction_event("x1", source="backfill"),
        a_prediction_event("x2", received_ns=CLOCK_NS - 1),
        a_prediction_event("x3", received_ns=CLOCK_NS + 120 * 10**9),
    )
    house.write(
        outcome("c1", steps_scored=3, is_complete=False, ade_m=9.0, fde_m=None, is_miss=None, variant="control"),
        outcome("c1", ade_m=0.5, fde_m=1.0, nll=1.0, inside_share=0.5, cv_ade_m=0.6, variant="control", scored_ns=CLOCK_NS + 7),
        outcome(
            "c2",
            steps_scored=4,
            is_complete=False,
            ade_m=0.1,
            fde_m=None,
            is_miss=None,
            nll=3.0,
            inside_share=1.0,
            cv_ade_m=0.2,
            variant="control",
            received_ns=CLOCK_NS + 30 * 10**9,
            step_error_m=[0.1] * 4 + [None] * 8,
        ),
        outcome("t1", model_version=2, ade_m=2.5, fde_m=5.0, is_miss=True, step_error_m=[2.5] * 12),
        table="outcomes",
    )
    if is_compacted:
        house.compact()
    figures = house.lake.performance(START, START + timedelta(seconds=120), 0.9, buckets=4)
    first, second = figures.rows
    assert (first.model_version, first.variant, first.predictions, first.scored, first.agents) == (1, "control", 3, 2, 1)
    assert first.complete == 1
    assert first.join_rate == 1.0, "the third is too young to count"
    assert first.ade_m == pytest.approx(0.5), "the second is known for its easy steps only"
    assert first.fde_m == pytest.approx(1.0)
    assert first.miss_rate == pytest.approx(0.0)
    assert first.nll == pytest.approx(1.0)
    assert first.coverage == pytest.approx(0.5)
    assert first.cv_ade_m == pytest.approx(0.6)
    assert first.latency_p50_ms == pytest.approx(1.0, rel=0.04)
    assert (second.model_version, second.variant, second.miss_rate, second.ade_m) == (2, "treatment", 1.0, 2.5)
    assert [(point.at, point.model_version, point.predictions, point.scored) for point in figures.series] == [
        (START, 1, 1, 1),
        (START, 2, 1, 1),
        (START + timedelta(seconds=30), 1, 1, 1),
        (START + timedelta(seconds=90), 1, 1, 0),
    ]
    assert figures.series[3].ade_m is None
    assert figures.step_error_m["1"] == pytest.approx([0.3] * 4 + [0.5] * 8)
    assert figures.step_error_m["2"] == pytest.approx([2.5] * 12)
    assert figures.last_outcome_at == utc(an_outcome_event().scored_ns)
    assert figures.nominal_coverage == 0.9
    with_backfill = house.lake.performance(START, START + timedelta(seconds=120), sources=("backfill",))
    assert [row.predictions for row in with_backfill.rows] == [1]


def test_the_join_rate_counts_what_has_no_outcome(house: House) -> None:
    house.write(*(a_prediction_event(f"p{n}", received_ns=CLOCK_NS + n * 10**9) for n in range(10)))
    house.write(outcome("p0"), outcome("p1", received_ns=CLOCK_NS + 10**9), table="outcomes")
    (row,) = house.lake.performance(START, START + timedelta(seconds=10)).rows
    assert row.join_rate == pytest.approx(2 / 4), "four are older than 6.8 s"


def test_the_last_outcome_is_found_outside_the_range(house: House) -> None:
    house.write(outcome("p1"), table="outcomes")
    house.compact()
    far = house.lake.performance(START + timedelta(days=3), START + timedelta(days=4))
    assert (far.rows, far.last_outcome_at) == ([], utc(an_outcome_event().scored_ns))


def test_traffic_has_a_point_for_every_bucket(house: House) -> None:
    house.write(*(a_prediction_event(f"p{n}", received_ns=CLOCK_NS + n * 10**9, latency_ms=float(n)) for n in (0, 1, 2, 25)))
    points = house.lake.traffic(START, START + timedelta(seconds=30), buckets=3)
    assert [(point.at, point.predictions) for point in points] == [
        (START, 3),
        (START + timedelta(seconds=10), 0),
        (START + timedelta(seconds=20), 1),
    ]
    assert [point.latency_p50_ms for point in points] == [pytest.approx(1.0, rel=0.04), None, pytest.approx(25.0, rel=0.04)]


@pytest.mark.parametrize(
    ("since", "until", "buckets", "words"),
    [
        (START, START, 1, "begin before it ends"),
        (START, START + timedelta(1), 0, "at least one bucket"),
        (datetime(2023, 1, 1), datetime(2023, 1, 2, tzinfo=UTC), 1, "without a zone"),  # noqa: DTZ001
    ],
)
def test_ranges_that_mean_nothing_are_refused(house: House, since: datetime, until: datetime, buckets: int, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        house.lake.traffic(since, until, buckets)


def test_recent_predictions_are_the_newest_first_and_can_be_narrowed(house: House) -> None:
    house.write(*some(20), *some(1, 20, scene_id="s2"))
    house.compact()
    house.write(*some(5, 21), close=False)
    found = [entry.prediction.prediction_id for entry in house.lake.recent_predictions(8)]
    assert found == [f"p{n:04d}" for n in range(25, 17, -1)]
    assert [entry.prediction.prediction_id for entry in house.lake.recent_predictions(3, agent_id="a2")] == ["p0022", "p0017", "p0012"]
    assert [entry.prediction.prediction_id for entry in house.lake.recent_predictions(scene_id="s2")] == ["p0020"]
    assert house.lake.recent_predictions(scene_id="nowhere") == []


def test_an_old_prediction_is_found_too(house: House) -> None:
    house.write(a_prediction_event("old", received_ns=CLOCK_NS - 40 * 24 * HOUR_NS), *some(3))
    house.compact()
    assert house.lake.prediction("old").prediction.prediction_id == "old"
    with pytest.raises(NotFound, match="no prediction nothing"):
        house.lake.prediction("nothing")


def test_a_prediction_is_shown_with_what_happened(house: House) -> None:
    house.write(a_prediction_event("p1"))
    house.write(an_observation_event(1), an_observation_event(3), an_observation_event(6, x_m=99.0, agent_id="a2"), table="observations")
    shown = house.lake.prediction("p1")
    assert shown.received_at == START
    assert shown.history[-1] == pytest.approx((2.8, 0.0))
    assert shown.truth[:3] == [pytest.approx((2.8 + 0.4 * step, 0.0)) for step in (1, 2, 3)], "the second is interpolated"
    assert shown.truth[3:] == [None] * 9
    assert shown.outcome is None
    assert shown.prediction.modes[0].covariance[0] == pytest.approx((0.01, 0.0, 0.01))
    house.write(outcome("p1", ade_m=1.0, steps_scored=3, is_complete=False, fde_m=None, is_miss=None), outcome("p1"), table="outcomes")
    house.compact()
    shown = house.lake.prediction("p1")
    assert shown.outcome is not None
    assert (shown.outcome.ade_m, shown.outcome.steps_scored, len(shown.outcome.step_error_m)) == (0.5, 12, 12)


def test_drift_rows_by_hand(house: House) -> None:
    corner_m = [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (6, 2)]
    ahead_m = [(6, 2 + 3 * step) for step in range(1, 13)]
    house.write(
        a_prediction_event(
            "p1",
            dt_s=0.5,
            history_m=np.ravel(np.array(corner_m, float)).tolist(),
            weights=[0.6, 0.4],
            mean_m=np.ravel(np.array([ahead_m, [(0, 0)] * 12], float)).tolist(),
            cov_m2=[1.0, 0.0, 1.0] * 11 + [3.0, 0.0, 5.0] + [7.0, 0.0, 7.0] * 12,
        ),
        a_prediction_event("p2", received_ns=CLOCK_NS + 1, source="backfill"),
        a_prediction_event("p3", received_ns=CLOCK_NS + 2, history_m=[1.0, 2.0]),
    )
    house.write(outcome("p1"), table="outcomes")
    rows = house.lake.drift_rows(START, START + timedelta(seconds=1))
    assert rows.column_names == list(COLUMNS)
    first, second = rows.to_pylist()
    assert first == {
        "received_ns": CLOCK_NS, "agent_id": "a1", "scene_id": "s1", "model_version": 1, "variant": "champion", "dt_s": 0.5,
        "speed_mps": pytest.approx(8 / 7 / 0.5), "speed_last_mps": 4.0, "acceleration_mps2": pytest.approx((4 - 2) / 3),
        "turn_rad": pytest.approx(np.pi / 2), "heading_rad": pytest.approx(np.pi / 2), "path_m": 8.0,
        # One bend of (−1, 2) among six second differences.
        "jitter_m": pytest.approx(np.sqrt(5 / 6 / 12)), "max_speed_mps": 4.0, "max_acceleration_mps2": pytest.approx(np.sqrt(5) / 0.25),
        "x_m": 6.0, "y_m": 2.0, "observed_at_s": ANY,
        "predicted_speed_mps": pytest.approx(6.0), "predicted_spread_m": pytest.approx(2.0), "latency_ms": pytest.approx(0.2),
        "ade_m": 0.5, "fde_m": 0.5, "inside_share": 1.0,
    }  # fmt: skip
    assert (second["ade_m"], second["fde_m"], second["inside_share"]) == (None, None, None)
    assert second["speed_mps"] == pytest.approx(1.0)
    assert len(house.lake.drift_rows(START, START + timedelta(seconds=1), sources=("live",))) == 1
    empty = house.lake.drift_rows(START + timedelta(days=1), START + timedelta(days=2))
    assert (len(empty), empty.schema) == (0, rows.schema)


def test_more_questions_than_cursors_wait_and_are_answered(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.write(*some(50))
    lake = Lake(house.folder / "lake", house.folder / "spool", house.database.engine, cursors=2)
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(lake.count("predictions"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [50] * 8
    monkeypatch.setattr("data.lake.reader.WAIT_S", 0.01)

    def nested(_cursor: Any, _prefix: str) -> None:
        lake.read(("predictions",), lambda *_: lake.count("predictions"))

    with pytest.raises(Unavailable, match="2 questions"):
        lake.read(("predictions",), nested)
    lake.close()


def test_nothing_is_fetched_from_outside(house: House) -> None:
    query = "SELECT name, value FROM duckdb_settings() WHERE name LIKE 'auto%known_extensions'"
    settings = house.lake.read(("predictions",), lambda cursor, _prefix: cursor.execute(query).fetchall())
    assert dict(settings) == {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}


def test_merging_keeps_the_rows_bit_for_bit(house: House) -> None:
    house.write(*some(3))
    house.compact()
    house.write(*some(3, 3))
    house.compact()
    before = pa.concat_tables([parquet.read(house.folder / "lake", file) for file in house.files()])
    house.clock.ns += 2 * HOUR_NS
    house.compactor.run()
    (merged,) = house.files()
    assert parquet.read(house.folder / "lake", merged).equals(before)
