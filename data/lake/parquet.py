"""Parquet files of the lake: one hour of one table each, sorted by time, on disk before they are published."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.lake.manifest import LakeFile
from data.lake.schema import COLUMNS, arrow_schema
from data.sql.tables import new_id
from trajops.clock import utc

HOUR_NS = 3_600 * 10**9
ROW_GROUP = 122_880
_DISTINCT = frozenset({"prediction_id", "request_id"})  # a dictionary of these would only cost


def write_hours(lake_dir: Path, table: str, rows: pa.Table) -> list[LakeFile]:
    """Write rows as one file for each hour of `received_ns`, synced to the device.

    Raises:
        OSError: if the folder cannot be written; nothing that was begun is left, because a full disk would be filled again by it.
    """
    written: list[LakeFile] = []
    try:
        for hour, part in _hours(_in_order(rows)):
            written.append(_write(lake_dir, table, hour, part))
    except OSError:
        for file in written:
            (lake_dir / file.path).unlink(missing_ok=True)
        raise
    return written


def read(lake_dir: Path, file: LakeFile) -> pa.Table:
    """All rows of a file in the present schema; columns that it lacks are NULL.

    Raises:
        FileNotFoundError: if it was deleted.
    """
    schema = arrow_schema(file.table)
    found = pq.ParquetFile(lake_dir / file.path).read()
    columns = [
        found[field.name].cast(field.type) if field.name in found.column_names else pa.nulls(len(found), field.type) for field in schema
    ]
    return pa.table(columns, schema=schema)


def hour_of(file: LakeFile) -> int:
    """Hour of a file, counted since the epoch."""
    return file.min_received_ns // HOUR_NS


def _in_order(rows: pa.Table) -> pa.Table:
    """Rows by time of receipt; Arrow's own sorting of a table with lists takes twice as long, also when there is nothing to do."""
    received_ns = rows["received_ns"].to_numpy()
    if (received_ns[1:] >= received_ns[:-1]).all():
        return rows
    return rows.combine_chunks().take(pa.array(np.argsort(received_ns, kind="stable")))


def _hours(rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    hours = pc.divide(rows["received_ns"], HOUR_NS).combine_chunks()
    runs = pc.run_end_encode(hours)
    start = 0
    for hour, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield hour, rows.slice(start, end - start)
        start = end


def _write(lake_dir: Path, table: str, hour: int, rows: pa.Table) -> LakeFile:
    file_id = new_id()
    at = utc(hour * HOUR_NS)
    day = f"{at:%Y-%m-%d}"
    relative = Path(table) / f"day={day}" / f"{at:%H}-{file_id}.parquet"
    path = lake_dir / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    encodings = {"VARCHAR": "PLAIN", "BIGINT": "DELTA_BINARY_PACKED", "INTEGER": "DELTA_BINARY_PACKED"} | dict.fromkeys(
        ("DOUBLE", "FLOAT"), "BYTE_STREAM_SPLIT"
    )
    kinds = COLUMNS[table]
    dictionary = [name for name, kind in kinds.items() if kind == "VARCHAR" and name not in _DISTINCT]
    try:
        with path.open("wb") as sink:
            pq.write_table(
                rows,
                sink,
                compression="zstd",
                row_group_size=ROW_GROUP,
                use_dictionary=dictionary,
                column_encoding={
                    name + (".list.element" if kind.endswith("[]") else ""): encodings[kind.removesuffix("[]")]
                    for name, kind in kinds.items()
                    if name not in dictionary and kind.removesuffix("[]") in encodings
                },
                sorting_columns=[pq.SortingColumn(rows.schema.get_field_index("received_ns"))],
            )
            sink.flush()
            os.fsync(sink.fileno())
            size = sink.tell()
    except OSError:
        path.unlink(missing_ok=True)
        raise
    for folder in (path.parent, path.parent.parent):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    received = rows["received_ns"]
    return LakeFile(file_id, table, str(relative), day, len(rows), size, received[0].as_py(), received[-1].as_py())
