"""The spool: what it writes, when it closes segments, and what it says when it cannot write."""

import asyncio
import dataclasses
import errno
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from data.lake import schema, spool
from data.lake.group_commit import GroupCommit
from data.lake.spool import Spool, base_name, lines_of, table_of
from tests.builders import CLOCK_NS, a_prediction_event, an_observation_event, an_outcome_event
from tests.lake_house import HandClock
from trajops.errors import InvalidInput, Unavailable
from trajops.telemetry import TABLES, ObservationEvent


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def writer(tmp_path: Path, clock: HandClock) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", rotate_s=10, sync_s=3600, clock=clock) as writer:
        yield writer


def names(writer: Spool) -> list[str]:
    return sorted(path.name for path in writer.folder.iterdir())


def rows(writer: Spool) -> list[dict[str, Any]]:
    return [orjson.loads(line) for path in sorted(writer.folder.iterdir()) for line in path.read_bytes().splitlines()]


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)


@pytest.mark.parametrize("table", TABLES)
def test_the_schema_has_the_fields_of_the_event(table: str) -> None:
    event = TABLES[table]
    assert list(schema.COLUMNS[table]) == [field.name for field in dataclasses.fields(event)]
    kinds = {"str": "VARCHAR", "Source": "VARCHAR", "float": ("DOUBLE", "FLOAT"), "int": ("BIGINT", "INTEGER"), "bool": "BOOLEAN"}
    for field in dataclasses.fields(event):
        kind = str(field.type if isinstance(field.type, str) else getattr(field.type, "__name__", field.type))
        for name, sql_types in kinds.items():
            if kind == name:
                assert schema.COLUMNS[table][field.name] in sql_types, field.name
    assert schema.arrow_schema(table).names == list(schema.COLUMNS[table])
    assert schema.NULLABLE[table] <= set(schema.COLUMNS[table])


def test_events_are_lines_in_a_segment_named_by_table_and_writer(writer: Spool) -> None:
    events = [a_prediction_event("p1"), a_prediction_event("p2", scene_id='a "scene"\\ ü')]
    writer.write("predictions", events)
    assert names(writer) == [f"predictions.{writer.writer_id}.000000.ndjson.open"]
    assert rows(writer) == [dataclasses.asdict(event) for event in events]
    assert table_of(names(writer)[0]) == "predictions"
    assert base_name(names(writer)[0]) == f"predictions.{writer.writer_id}.000000.ndjson"


def test_each_table_has_its_own_segment(writer: Spool) -> None:
    writer.write("predictions", [a_prediction_event()])
    writer.write("observations", [an_observation_event()])
    writer.write("outcomes", [an_outcome_event()])
    assert [table_of(name) for name in names(writer)] == ["observations", "outcomes", "predictions"]


def test_not_a_number_is_written_as_null() -> None:
    assert orjson.loads(lines_of([an_observation_event(x_m=float("nan"))]))["x_m"] is None


def test_a_call_is_one_write(writer: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: writes.append(real(fd, data)) or writes[-1])
    writer.write("predictions", [a_prediction_event(str(number)) for number in range(50)])
    assert len(writes) == 1
    assert len(rows(writer)) == 50
    writer.write("predictions", [])
    assert len(writes) == 1


def test_a_short_write_is_continued(writer: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[: max(1, len(data) // 2)])))
    writer.write("predictions", [a_prediction_event("p1"), a_prediction_event("p2")])
    assert [row["prediction_id"] for row in rows(writer)] == ["p1", "p2"]


def fail_after(monkeypatch: pytest.MonkeyPatch, parts: int, error: int = errno.ENOSPC) -> None:
    """Let `parts` short writes succeed, then fail."""
    real, left = os.write, [parts]

    def write(fd: int, data: Any) -> int:
        if left[0] == 0:
            raise OSError(error, os.strerror(error))
        left[0] -= 1
        return real(fd, bytes(data[:-7]))

    monkeypatch.setattr(os, "write", write)


def test_a_full_disk_acknowledges_nothing_and_loses_nothing(writer: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.write("predictions", [a_prediction_event("before")])
    with monkeypatch.context() as patch:
        fail_after(patch, 1)
        with pytest.raises(Unavailable, match=r"No space left on device.*free space on it") as caught:
            writer.write("predictions", [a_prediction_event("refused-1"), a_prediction_event("refused-2")])
    assert str(writer.folder) in caught.value.message
    assert [row["prediction_id"] for row in rows(writer)] == ["before"], "what was written in part is taken back"
    writer.write("predictions", [a_prediction_event("after")])
    assert [row["prediction_id"] for row in rows(writer)] == ["before", "after"]
    assert len(names(writer)) == 1
    meter, size = writer.meters["predictions"], sum((writer.folder / name).stat().st_size for name in names(writer))
    assert (meter.written_bytes, meter.seconds.count, meter.failures) == (size, 2, 1)
    assert writer.meters["observations"].seconds.count == 0


def test_what_cannot_be_taken_back_ends_its_segment(writer: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.write("predictions", [a_prediction_event("before")])
    with monkeypatch.context() as patch:
        fail_after(patch, 1, errno.EIO)
        patch.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
        with pytest.raises(Unavailable):
            writer.write("predictions", [a_prediction_event("refused")])
    writer.write("predictions", [a_prediction_event("after")])
    writer.sync()
    closed, live = names(writer)
    assert closed.endswith(".ndjson")
    assert live.endswith("000001.ndjson.open")
    assert orjson.loads((writer.folder / live).read_bytes())["prediction_id"] == "after"


def test_a_folder_that_cannot_be_made_is_said_clearly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        Spool(tmp_path / "file" / "spool") as writer,
        pytest.raises(Unavailable, match=r"cannot be written .Not a directory.*TRAJOPS_VAR_DIR"),
    ):
        writer.write("predictions", [a_prediction_event()])


def test_wrong_calls_are_refused(writer: Spool) -> None:
    with pytest.raises(InvalidInput, match="no table 'forecasts'"):
        writer.write_lines("forecasts", b"{}\n")
    with pytest.raises(InvalidInput, match="end with a newline"):
        writer.write_lines("predictions", b"{}")
    with pytest.raises(InvalidInput, match="writer id"):
        Spool(writer.folder, writer_id="a.b")


def test_without_a_descriptor_left_nothing_is_let_go_of(writer: Spool, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_fd: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    writer.write("predictions", [a_prediction_event("p1")])
    clock.ns += int(60e9)
    # A younger segment of another table, which only needs its rows forced to the device.
    writer.write("observations", [ObservationEvent(CLOCK_NS, 1.0, "s", "a", 0.0, 0.0)])
    monkeypatch.setattr("data.lake.spool.os.dup", none_left)
    writer.sync()
    monkeypatch.undo()
    writer.sync()
    writer.close()
    assert [name for name in names(writer) if name.endswith(".open")] == []
    assert len(rows(writer)) == 2


def test_a_segment_is_closed_by_age_also_when_idle(writer: Spool, clock: HandClock) -> None:
    writer.write("predictions", [a_prediction_event("p1")])
    clock.ns += int(9.9e9)
    writer.sync()
    assert names(writer)[0].endswith(".open")
    clock.ns += int(0.2e9)
    writer.sync()
    assert names(writer) == [f"predictions.{writer.writer_id}.000000.ndjson"]
    writer.write("predictions", [a_prediction_event("p2")])
    assert names(writer)[-1] == f"predictions.{writer.writer_id}.000001.ndjson.open"


def test_a_segment_is_closed_by_size(writer: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "ROTATE_BYTES", 10)
    writer.write("predictions", [a_prediction_event("p1")])
    writer.sync()
    assert names(writer)[0].endswith(".ndjson")


def test_the_background_thread_syncs_and_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (synced.append(fd), real(fd)))
    with Spool(tmp_path, rotate_s=0.05, sync_s=0.01) as writer:
        writer.write("predictions", [a_prediction_event()])
        until(lambda: [path.suffix for path in tmp_path.iterdir()] == [".ndjson"])
    assert synced
    assert not [thread for thread in threading.enumerate() if thread.name == "spool-sync"]


def test_close_closes_and_a_later_write_begins_anew(writer: Spool) -> None:
    writer.write("predictions", [a_prediction_event("p1")])
    writer.close()
    assert [Path(name).suffix for name in names(writer)] == [".ndjson"]
    writer.write("predictions", [a_prediction_event("p2")])
    writer.close()
    assert [row["prediction_id"] for row in rows(writer)] == ["p1", "p2"]


def test_a_live_segment_is_locked_and_a_closed_one_is_not(writer: Spool) -> None:
    writer.write("predictions", [a_prediction_event()])
    (path,) = writer.folder.iterdir()
    assert is_locked(path)
    writer.close()
    (path,) = writer.folder.iterdir()
    assert not is_locked(path)


def test_a_writer_with_a_fixed_name_never_overwrites(tmp_path: Path) -> None:
    for number in range(3):
        with Spool(tmp_path, writer_id="api-1") as writer:
            writer.write("predictions", [a_prediction_event(str(number))])
    assert [row["prediction_id"] for row in rows(writer)] == ["0", "1", "2"]


def ids(writer: Spool) -> list[str]:
    return [row["prediction_id"] for row in rows(writer)]


def unlink(path: Path) -> None:
    """Delete the segment."""
    path.unlink()


def remove_folder(path: Path) -> None:
    """Delete the segment with the folder that it lies in."""
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("delete", [unlink, remove_folder])
def test_a_segment_deleted_under_the_writer_is_written_again_before_the_next_write_returns(
    writer: Spool, caplog: pytest.LogCaptureFixture, delete: Callable[[Path], None]
) -> None:
    writer.write("predictions", [a_prediction_event("before"), a_prediction_event("before too")])
    (path,) = writer.folder.iterdir()
    delete(path)
    writer.write("predictions", [a_prediction_event("now")])
    assert ids(writer) == ["before", "before too", "now"]
    assert names(writer) == [f"predictions.{writer.writer_id}.000001.ndjson.open"]
    assert is_locked(writer.folder / names(writer)[0])
    writer.write("predictions", [a_prediction_event("after")])
    writer.sync()
    assert ids(writer) == ["before", "before too", "now", "after"]
    assert caplog.text.count("was deleted while it was being written") == 1, "said once"
    writer.close()
    assert names(writer) == [f"predictions.{writer.writer_id}.000001.ndjson"]


def test_a_folder_that_vanishes_while_a_segment_is_made_is_made_again(writer: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    real, vanished = os.open, []

    def open_after_it_vanished(path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
        if flags & os.O_CREAT and len(vanished) < 2:
            vanished.append(path)
            shutil.rmtree(writer.folder)
        return real(path, flags, mode, **options)

    monkeypatch.setattr(spool.os, "open", open_after_it_vanished)
    writer.write("predictions", [a_prediction_event("p1")])
    assert len(vanished) == 2
    assert [row["prediction_id"] for row in rows(writer)] == ["p1"]


def test_a_folder_that_vanishes_while_it_is_synced_is_written_again_and_no_fault(
    writer: Spool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = spool._sync_folder

    def vanish(folder: Path) -> None:
        shutil.rmtree(folder)
        monkeypatch.setattr(spool, "_sync_folder", real)
        real(folder)

    writer.write("predictions", [a_prediction_event("p1")])
    monkeypatch.setattr(spool, "_sync_folder", vanish)
    writer.sync()
    assert "could not be forced" not in caplog.text
    writer.write("predictions", [a_prediction_event("p2")])
    assert [row["prediction_id"] for row in rows(writer)] == ["p1", "p2"]


def test_a_deleted_segment_is_written_again_though_nothing_more_is_written(writer: Spool) -> None:
    writer.write("predictions", [a_prediction_event("p1")])
    writer.write("observations", [an_observation_event()])
    shutil.rmtree(writer.folder)
    writer.sync()
    assert [table_of(name) for name in names(writer)] == ["observations", "predictions"]
    assert len(rows(writer)) == 2


def test_a_deleted_segment_is_found_by_its_links_where_its_name_is_taken(writer: Spool) -> None:
    writer.write("predictions", [a_prediction_event("p1")])
    (path,) = writer.folder.iterdir()
    path.unlink()
    path.touch()
    writer.sync()
    assert ids(writer) == ["p1"]


@pytest.mark.parametrize("end", [Spool.close, Spool.sync], ids=["close", "age"])
def test_a_segment_that_is_deleted_before_it_is_closed_is_closed_with_its_rows(
    writer: Spool, clock: HandClock, end: Callable[[Spool], None]
) -> None:
    writer.write("predictions", [a_prediction_event("p1")])
    shutil.rmtree(writer.folder)
    clock.ns += int(11e9)
    end(writer)
    assert ids(writer) == ["p1"]
    assert [Path(name).suffix for name in names(writer)] == [".ndjson"]


def test_a_deleted_segment_that_is_longer_than_a_copy_s_step_is_copied_whole(writer: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_COPY_BYTES", 100)
    writer.write("predictions", [a_prediction_event(str(number)) for number in range(20)])
    shutil.rmtree(writer.folder)
    writer.write("predictions", [a_prediction_event("20")])
    assert ids(writer) == [str(number) for number in range(21)]


@pytest.mark.parametrize("parts", [0, 1], ids=["the write fails", "the copy fails"])
def test_a_deleted_segment_on_a_full_disk_acknowledges_nothing_and_loses_nothing(
    writer: Spool, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    writer.write("predictions", [a_prediction_event("before")])
    shutil.rmtree(writer.folder)
    with monkeypatch.context() as patch:
        real, left = os.write, [parts]

        def write(fd: int, data: Any) -> int:
            if not left[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            left[0] -= 1
            return real(fd, data)

        patch.setattr(os, "write", write)
        with pytest.raises(Unavailable, match="No space left on device"):
            writer.write("predictions", [a_prediction_event("refused")])
        writer.sync()
    writer.write("predictions", [a_prediction_event("after")])
    assert ids(writer) == ["before", "after"]


def test_a_deleted_segment_that_cannot_be_closed_yet_waits(
    writer: Spool, clock: HandClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer.write("predictions", [a_prediction_event("p1")])
    shutil.rmtree(writer.folder)
    writer.folder.write_text("in the way")
    clock.ns += int(11e9)
    writer.sync()
    assert "cannot be written again" in caplog.text
    writer.folder.unlink()
    writer.sync()
    assert ids(writer) == ["p1"]
    shutil.rmtree(writer.folder)  # closed: it had a name, and no writer any more
    writer.write("predictions", [a_prediction_event("p2")])
    shutil.rmtree(writer.folder)
    writer.folder.write_text("in the way")
    writer.close()
    assert "are lost" in caplog.text


def test_a_forked_child_writes_its_own_segments(writer: Spool) -> None:
    writer.write("predictions", [a_prediction_event("parent")])
    (path,) = writer.folder.iterdir()
    child = os.fork()
    if child == 0:  # no assertion may leave this branch
        try:
            writer.write("predictions", [a_prediction_event("child")])
            writer.close()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert is_locked(path), "the child's end does not free the parent's segment"
    writer.write("predictions", [a_prediction_event("parent again")])
    assert len(path.read_bytes().splitlines()) == 2
    assert sorted(row["prediction_id"] for row in rows(writer)) == ["child", "parent", "parent again"]


def test_threads_share_a_writer(writer: Spool) -> None:
    def work(thread: int) -> None:
        for number in range(200):
            writer.write("predictions", [a_prediction_event(f"{thread}-{number}")])
            if number % 50 == 0:
                writer.sync()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {row["prediction_id"] for row in rows(writer)} == {f"{thread}-{number}" for thread in range(4) for number in range(200)}


def line(prediction_id: str) -> bytes:
    return lines_of([a_prediction_event(prediction_id)])


@pytest.mark.anyio
async def test_the_events_of_one_turn_are_one_write(writer: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    real = os.write
    commits = GroupCommit(writer)
    await commits.commit("predictions", [])
    await commits.commit("observations", [an_observation_event()])  # opened before, so that only lines are counted below
    await commits.commit("predictions", [a_prediction_event("first")])
    monkeypatch.setattr(os, "write", lambda fd, data: writes.append(data.count(b"\n")) or real(fd, data))

    async def raw(prediction_id: str) -> None:
        await commits.commit_line("predictions", line(prediction_id))

    await asyncio.gather(
        *(commits.commit("predictions", [a_prediction_event(str(number))]) for number in range(20)),
        *(raw(f"raw-{number}") for number in range(5)),
        commits.commit("observations", [an_observation_event(), an_observation_event(2)]),
    )
    assert sorted(write for write in writes if write) == [2, 25]
    assert len(rows(writer)) == 29


@pytest.mark.anyio
async def test_nothing_is_acknowledged_before_it_is_written(writer: Spool) -> None:
    commits = GroupCommit(writer)
    waiter = commits.commit_line("predictions", line("p1"))
    assert not waiter.done()
    assert not writer.folder.exists()
    await waiter
    assert rows(writer)[0]["prediction_id"] == "p1"


@pytest.mark.anyio
async def test_a_failed_write_reaches_everyone_who_waits(writer: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = GroupCommit(writer)
    await commits.commit("predictions", [a_prediction_event("before")])
    with monkeypatch.context() as patch:
        fail_after(patch, 0)
        answers = await asyncio.gather(
            *(commits.commit("predictions", [a_prediction_event(str(number))]) for number in range(3)), return_exceptions=True
        )
    assert [type(answer) for answer in answers] == [Unavailable] * 3
    await commits.commit("predictions", [a_prediction_event("after")])
    assert [row["prediction_id"] for row in rows(writer)] == ["before", "after"]


@pytest.mark.anyio
async def test_a_caller_that_is_cancelled_takes_nobody_with_it(writer: Spool) -> None:
    commits = GroupCommit(writer)
    tasks = [asyncio.create_task(commits.commit("predictions", [a_prediction_event(str(number))])) for number in range(3)]
    await asyncio.sleep(0)  # all three wait for the same write now
    tasks[1].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer).__name__ for answer in done] == ["NoneType", "CancelledError", "NoneType"]
    assert {"0", "2"} <= {row["prediction_id"] for row in rows(writer)}


@pytest.mark.anyio
async def test_a_line_without_an_end_is_refused(writer: Spool) -> None:
    with pytest.raises(InvalidInput, match="newline"):
        GroupCommit(writer).commit_line("predictions", b"{}")
