"""Parquet files of a lake as the compactor leaves them, made by DuckDB instead of from a spool."""

from pathlib import Path

import duckdb

from data.lake import duck
from data.lake.manifest import LakeFile, Manifest
from data.lake.schema import COLUMNS
from data.sql.tables import new_id
from trajops.clock import utc


def write_hour(
    connection: duckdb.DuckDBPyConnection, lake_dir: Path, manifest: Manifest, table: str, hour_ns: int, select: str
) -> LakeFile:
    """Write and publish one file.

    Args:
        connection: on which `select` can be asked.
        lake_dir: folder of the lake.
        manifest: gets the file.
        table: of the lake.
        hour_ns: begin of the hour in which all rows were received.
        select: query for the rows, with the columns of the table in any order.
    """
    at, file_id = utc(hour_ns), new_id()
    relative = Path(table) / f"day={at:%Y-%m-%d}" / f"{at:%H}-{file_id}.parquet"
    path = lake_dir / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = f"SELECT {', '.join(COLUMNS[table])} FROM ({select}) ORDER BY received_ns"
    [(count,)] = connection.execute(f"COPY ({rows}) TO {duck.literal(str(path))} (FORMAT parquet, COMPRESSION zstd)").fetchall()
    [(first_ns, last_ns)] = connection.execute(f"SELECT min(received_ns), max(received_ns) FROM {duck.read_parquet([path])}").fetchall()
    file = LakeFile(file_id, table, str(relative), f"{at:%Y-%m-%d}", count, path.stat().st_size, first_ns, last_ns)
    manifest.publish(table, [file], {f"{table}-{file_id}": count}, at)
    return file
