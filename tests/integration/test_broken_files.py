"""Files of the lake that are broken: they are found by whoever reads them, set aside and reported, and the rest goes on."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from data.lake import rollups
from data.lake.manifest import Manifest
from tests.builders import a_prediction_event
from tests.lake_house import House, a_house
from trajops.clock import utc
from trajops.errors import Unavailable

MIDNIGHT_NS = 1_700_006_400 * 10**9  # 2023-11-15 00:00 UTC
HOUR_NS = 3_600 * 10**9


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as house:
        house.clock.ns = MIDNIGHT_NS + 5 * HOUR_NS
        for hour in range(4):
            received_ns = MIDNIGHT_NS + hour * HOUR_NS
            house.write(*(a_prediction_event(f"p{hour}-{n:03d}", received_ns=received_ns + n) for n in range(200)))
        house.compact()
        yield house


def truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def empty(_content: bytes) -> bytes:
    return b""


def scramble(content: bytes) -> bytes:
    """The footer is right, the pages are not."""
    return content[:4] + bytes(byte ^ 0x5A for byte in content[4:-3_000]) + content[-3_000:]


BREAKS: dict[str, Callable[[bytes], bytes]] = {"truncated": truncate, "empty": empty, "scrambled": scramble}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_file_is_left_out_and_reported(house: House, caplog: pytest.LogCaptureFixture, name: str) -> None:
    bad = house.files()[1]
    path = house.folder / "lake" / bad.path
    broken = BREAKS[name](path.read_bytes())
    path.write_bytes(broken)
    since, until = utc(MIDNIGHT_NS), utc(MIDNIGHT_NS + 10 * HOUR_NS)
    with caplog.at_level(logging.ERROR):
        [row] = house.lake.performance(since, until).rows
    assert row.predictions == 600
    assert bad.path in caplog.text
    assert house.lake.broken_files() == [bad.path]
    assert house.lake.count("predictions") == 600
    caplog.clear()
    assert house.lake.performance(since, until).rows == [row], "found once"
    assert not caplog.records
    house.clock.ns += 24 * HOUR_NS
    house.compactor.run()
    assert path.read_bytes() == broken, "it stays for somebody to look at"


def test_a_broken_rollup_is_made_anew(house: House) -> None:
    house.rollups.run()
    since, until = utc(MIDNIGHT_NS), utc(MIDNIGHT_NS + 10 * HOUR_NS)
    [before] = house.lake.performance(since, until).rows
    [path] = {rollup.path for rollup in Manifest(house.database.engine).contents(rollups.TABLES).rollups}
    target = house.folder / "lake" / path
    target.write_bytes(truncate(target.read_bytes()))
    [row] = house.lake.performance(since, until).rows
    assert row == before, "from the rows"
    assert house.lake.broken_files() == []
    assert house.rollups.run() == {"rolled": 4, "days": 1}
    assert house.lake.performance(since, until).rows == [before]


@pytest.mark.parametrize("name", BREAKS)
def test_jobs_go_on_without_a_broken_file(house: House, name: str) -> None:
    house.write(*(a_prediction_event(f"q{n}", received_ns=MIDNIGHT_NS + n) for n in range(10)))
    bad, *_, other = house.files()
    for file in (bad, other):
        path = house.folder / "lake" / file.path
        path.write_bytes(BREAKS[name](path.read_bytes()))
    house.compactor.run()
    assert house.lake.broken_files() == [bad.path], "it was to be merged"
    assert house.rollups.run()["rolled"] == 0
    assert house.lake.broken_files() == sorted([bad.path, other.path])
    assert house.rollups.run() == {"rolled": 3, "days": 1}
    assert house.compactor.run()["merged"] == 0
    assert house.lake.count("predictions") == 410


@pytest.mark.parametrize("name", BREAKS)
def test_a_good_copy_in_its_place_brings_a_broken_file_back(house: House, name: str) -> None:
    house.rollups.run()
    since, until = utc(MIDNIGHT_NS), utc(MIDNIGHT_NS + 10 * HOUR_NS)
    [before] = house.lake.performance(since, until).rows
    bad, other = house.files()[1:3]
    path = house.folder / "lake" / bad.path
    good = path.read_bytes()
    path.write_bytes(BREAKS[name](good))
    assert len(house.lake.recent_predictions(1000)) == 600
    assert house.compactor.run()["mended"] == 0
    path.write_bytes((house.folder / "lake" / other.path).read_bytes()[:-1])
    assert house.compactor.run()["mended"] == 0
    path.write_bytes(good)
    assert house.compactor.run()["mended"] == 1
    assert house.lake.broken_files() == []
    house.rollups.run()
    assert house.lake.performance(since, until).rows == [before]


def test_files_that_are_away_are_not_broken(house: House) -> None:
    """A share that is not mounted must not empty the lake."""
    folder = house.folder / "lake" / "predictions"
    folder.rename(house.folder / "away")
    with pytest.raises(Unavailable, match="cannot be read"):
        house.lake.recent_predictions(5)
    (house.folder / "away").rename(folder)
    assert house.lake.broken_files() == []
    assert house.lake.count("predictions") == 800


def test_a_wrong_question_breaks_nothing(house: House) -> None:
    with pytest.raises(duckdb.BinderException, match="no_such_column"):
        house.lake.read(("predictions",), lambda cursor, prefix: cursor.execute(prefix + "SELECT no_such_column FROM predictions"))
    assert house.lake.broken_files() == []
