"""The lake: each acknowledged row exactly once, whatever happens between spool and Parquet."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

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
from data.lake.spool import Spool
from data.sql.tables import lake_files, lake_segments, metadata
from tests.builders import a_prediction_event, an_outcome_event
from tests.lake_house import HOUR_NS, MINUTE_NS, PLAIN_HOUR_NS, START, House, a_house, ids, some
from trajops.errors import Unavailable


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as house:
        yield house


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
