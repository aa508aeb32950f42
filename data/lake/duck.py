"""DuckDB as the lake uses it: in memory, offline, bounded; and the text of its table functions."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb

from data.lake.schema import COLUMNS


def connect(*, threads: int = 2, memory: str = "1GB", scratch: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A fresh database in memory.

    Args:
        threads: most threads of all its cursors together.
        memory: most memory of its buffers.
        scratch: folder for what does not fit; None: a query that does not fit fails.
    """
    connection = duckdb.connect(":memory:")
    for statement in (
        "SET autoinstall_known_extensions = false",
        "SET autoload_known_extensions = false",
        f"SET threads = {int(threads)}",
        f"SET memory_limit = {literal(memory)}",
        f"SET temp_directory = {literal(str(scratch) if scratch else '')}",
        "SET preserve_insertion_order = false",
        "SET enable_progress_bar = false",
        "SET TimeZone = 'UTC'",
    ):
        connection.execute(statement)
    return connection


def literal(text: str) -> str:
    """Text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def file_list(paths: Iterable[Path]) -> str:
    """Paths as an SQL list, with the characters that would be a pattern taken as they are."""
    return "[" + ", ".join(literal("".join(f"[{c}]" if c in "*?[" else c for c in str(path))) for path in paths) + "]"


def read_json(table: str, paths: Iterable[Path], *, is_strict: bool, with_name: bool = False) -> str:
    """Call that reads JSON lines with the table's columns.

    Args:
        table: which columns are expected; others are ignored, missing ones are NULL.
        paths: at least one file.
        is_strict: raise on a line that cannot be read; otherwise its columns are NULL.
        with_name: add a column `filename`.
    """
    columns = ", ".join(f"{name}: '{sql_type}'" for name, sql_type in COLUMNS[table].items())
    return (
        f"read_json({file_list(paths)}, format = 'newline_delimited', columns = {{{columns}}}, compression = 'uncompressed', "
        f"hive_partitioning = false, ignore_errors = {not is_strict}, filename = {with_name})"
    )


def read_parquet(paths: Iterable[Path]) -> str:
    """Call that reads Parquet files of one table, of any schema version."""
    return f"read_parquet({file_list(paths)}, union_by_name = true, hive_partitioning = false)"


def relation(
    table: str,
    parquet: Sequence[Path],
    segments: Sequence[Path],
    since_ns: int | None,
    until_ns: int | None,
    without: Iterable[tuple[int, int]] = (),
) -> str:
    """Query that gives a table's rows of a time range, by the server's clock, from Parquet and live segments together.

    Args:
        table: its name.
        parquet: files of it.
        segments: of it.
        since_ns: begin of the range; None: open.
        until_ns: end of the range; None: open.
        without: ranges inside it whose rows are not wanted.
    """
    empty = ", ".join(f"NULL::{sql_type} AS {name}" for name, sql_type in COLUMNS[table].items())
    # The empty part gives old files the columns that they lack, and an empty lake its types.
    parts = [f"SELECT {empty} WHERE false"]
    if parquet:
        parts.append(f"SELECT * FROM {read_parquet(parquet)}")  # noqa: S608 - names and types come from the schema
    if segments:
        parts.append(f"SELECT * FROM {read_json(table, segments, is_strict=False)}")  # noqa: S608
    bounds = ["received_ns IS NOT NULL"]
    if since_ns is not None:
        bounds.append(f"received_ns >= {int(since_ns)}")
    if until_ns is not None:
        bounds.append(f"received_ns < {int(until_ns)}")
    bounds += [f"(received_ns < {int(begin)} OR received_ns >= {int(end)})" for begin, end in without]
    # Each part has its own bounds, where they prune row groups before the parts are put together.
    where = " AND ".join(bounds)
    bounded = [parts[0], *(f"{part} WHERE {where}" for part in parts[1:])]
    return f"SELECT {', '.join(COLUMNS[table])} FROM ({' UNION ALL BY NAME '.join(bounded)})"  # noqa: S608
