"""Reading closed segments for good: every whole line becomes a row or is put into quarantine, a torn tail is dropped."""

import io
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from data.lake import duck
from data.lake.backlog import QUARANTINE
from data.lake.schema import arrow_schema, required

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parsed:
    """Rows of some segments.

    Attributes:
        rows: in the table's schema, unsorted.
        counts: rows by segment, also where there are none.
        torn: segments with an unfinished last line, which nobody was told of.
        quarantined: whole lines that are no row of the table.
    """

    rows: pa.Table
    counts: dict[str, int]
    torn: int = 0
    quarantined: int = 0


def parse(connection: duckdb.DuckDBPyConnection, table: str, paths: Sequence[Path]) -> Parsed:
    """All rows of closed segments.

    The fast way reads all of them at once and takes no fault; if there is one, each segment is read line by line.

    Raises:
        OSError: if a segment cannot be read, or the quarantine not written.
    """
    filled = [path for path in paths if path.stat().st_size]
    if filled and all(_is_ended(path) for path in filled):
        try:
            found = connection.sql(f"SELECT * FROM {duck.read_json(table, filled, is_strict=True, with_name=True)}").to_arrow_table()  # noqa: S608
        except duckdb.Error:
            found = None  # a line that is no row
        if found is not None and not any(found[name].null_count for name in required(table)):
            names = pc.value_counts(found["filename"]).to_pylist()
            counts = {path.name: 0 for path in paths} | {Path(entry["values"]).name: entry["counts"] for entry in names}
            return Parsed(found.drop_columns("filename").cast(arrow_schema(table)), counts)
    return _parse_carefully(table, paths)


def _parse_carefully(table: str, paths: Sequence[Path]) -> Parsed:
    tables, counts, torn, quarantined = [arrow_schema(table).empty_table()], {}, 0, 0
    for path in paths:
        *lines, tail = path.read_bytes().split(b"\n")
        rows, bad = _rows_of(table, [line for line in lines if line.strip()])
        if tail:
            # Readers have shown a last line that lacks nothing but its end, so it stays.
            last, unfinished = _rows_of(table, [tail])
            rows = pa.concat_tables([rows, last])
            torn += len(unfinished)
        if bad:
            quarantined += len(bad)
            _quarantine(path, bad)
        tables.append(rows)
        counts[path.name] = len(rows)
    return Parsed(pa.concat_tables(tables), counts, torn, quarantined)


def _rows_of(table: str, lines: list[bytes]) -> tuple[pa.Table, list[bytes]]:
    """Rows of the lines, and those that are none, found by halving."""
    schema = arrow_schema(table)
    if not lines:
        return schema.empty_table(), []
    rows = None
    # Arrow does not survive lines that all say `null`.
    if all(line.lstrip().startswith(b"{") for line in lines):
        data = b"\n".join(lines) + b"\n"
        with suppress(pa.ArrowInvalid):
            found = pj.read_json(
                io.BytesIO(data),
                read_options=pj.ReadOptions(block_size=len(data) + 1, use_threads=False),
                parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
            ).select(schema.names)
            found.validate(full=True)
            rows = found
    if rows is not None and len(rows) == len(lines) and not any(rows[name].null_count for name in required(table)):
        return rows.cast(schema), []
    if len(lines) == 1:
        return schema.empty_table(), lines
    middle = len(lines) // 2
    first, first_bad = _rows_of(table, lines[:middle])
    second, second_bad = _rows_of(table, lines[middle:])
    return pa.concat_tables([first, second]), first_bad + second_bad


def _quarantine(path: Path, lines: list[bytes]) -> None:
    folder = path.parent / QUARANTINE
    folder.mkdir(exist_ok=True)
    target = folder / path.name
    draft = target.with_suffix(".draft")
    draft.write_bytes(b"\n".join(lines) + b"\n")
    draft.replace(target)  # the same content when it is repeated after a crash
    _log.warning("%d lines of segment %s are no rows of its table; they are kept in %s", len(lines), path.name, target)


def _is_ended(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
