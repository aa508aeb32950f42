"""Rows that go into the lake as files, past the spool."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from data.lake import parquet
from data.lake.bulk import BulkWriter
from data.sql.tables import lake_files
from tests.builders import CLOCK_NS, an_outcome_event
from tests.lake_house import House, a_house
from trajops.errors import Unavailable

HOUR_NS = 3_600 * 10**9


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as house:
        yield house


def outcomes(*received_ns: int) -> pa.Table:
    events = [an_outcome_event(f"p{number}", received_ns=at_ns) for number, at_ns in enumerate(received_ns)]
    return pa.Table.from_pylist([dataclasses.asdict(event) for event in reversed(events)])


def writer(house: House) -> BulkWriter:
    return BulkWriter(house.folder / "lake", house.database.engine, house.clock)


def test_each_hour_is_a_file_in_the_order_of_receipt(house: House) -> None:
    writer(house).write("outcomes", outcomes(CLOCK_NS, CLOCK_NS + 1, CLOCK_NS + HOUR_NS))
    assert [file.rows for file in house.files()] == [2, 1]
    received = [parquet.read(house.folder / "lake", file)["received_ns"].to_pylist() for file in house.files()]
    assert received == [[CLOCK_NS, CLOCK_NS + 1], [CLOCK_NS + HOUR_NS]]
    assert house.lake.count("outcomes") == 3


def test_no_rows_are_no_file(house: House) -> None:
    writer(house).write("outcomes", outcomes(CLOCK_NS).slice(0, 0))
    assert house.files() == []


def test_files_are_merged_with_those_of_the_compactor(house: House) -> None:
    for number in range(3):
        writer(house).write("outcomes", outcomes(CLOCK_NS + number))
    house.write(an_outcome_event("spooled", received_ns=CLOCK_NS + 5), table="outcomes")
    house.clock.ns += 3 * HOUR_NS
    house.compact()
    assert [file.rows for file in house.files()] == [4]
    assert house.lake.count("outcomes") == 4


def test_what_cannot_be_published_is_not_in_the_lake_and_swept_later(house: House) -> None:
    with house.database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE lake_files RENAME TO away"))
    with pytest.raises(Unavailable, match="manifest"):
        writer(house).write("outcomes", outcomes(CLOCK_NS))
    with house.database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE away RENAME TO lake_files"))
    assert house.lake.count("outcomes") == 0
    [left] = (house.folder / "lake").glob("outcomes/*/*.parquet")
    house.clock.ns = left.stat().st_mtime_ns + HOUR_NS
    house.compact()
    assert not left.exists()
    assert house.scalar(sa.select(sa.func.count()).select_from(lake_files)) == 0


def test_a_folder_that_cannot_be_written_is_named(house: House) -> None:
    (house.folder / "lake").write_text("in the way")
    with pytest.raises(Unavailable, match=r"free space, or give this user the right"):
        writer(house).write("outcomes", outcomes(CLOCK_NS))
