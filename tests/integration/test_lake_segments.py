"""Segments of the spool on their way to the lake: writers that died, torn and corrupt lines, files that cannot be read, a full disk."""

import fcntl
import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from data.lake.backlog import quarantined
from data.lake.spool import lines_of
from tests.builders import CLOCK_NS, a_prediction_event
from tests.lake_house import MINUTE_NS, House, a_house, ids, some
from trajops.errors import Unavailable
from trajops.telemetry import PredictionEvent


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as house:
        yield house


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
    assert quarantined(house.folder / "spool") == [path.name]


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


def replace_floats(event: PredictionEvent, drawn: random.Random) -> PredictionEvent:
    """The same with positions that cannot be compressed."""
    return replace(event, history_m=[drawn.random() for _ in event.history_m], mean_m=[drawn.random() for _ in event.mean_m])


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


def test_readers_pass_over_a_corrupt_line(house: House) -> None:
    house.write(*some(4))
    (path,) = (house.folder / "spool").glob("*.ndjson")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"garbage\n", *lines[2:]]))
    assert house.ids() == ids(4)
