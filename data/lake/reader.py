"""Reading the lake: a consistent snapshot of Parquet and live spool, on a bounded number of DuckDB cursors."""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, TypeVar

import duckdb
import sqlalchemy as sa

from data.lake import broken, duck, rollups, sums
from data.lake.manifest import Contents, LakeFile, Manifest, Rollup
from data.lake.rollups import Covered
from data.lake.spool import CLOSED, OPEN, base_name, table_of
from trajops.errors import Unavailable

T = TypeVar("T")
WAIT_S = 30.0
# So long a query is repeated while files move under it.
PATIENCE_S = 20.0
# A segment last written this long before a range cannot hold rows of it: rows are stamped before they are written.
_WRITE_SLACK_NS = 60 * 10**9

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What there is to read: files of the manifest, segments that are not in them, and sums of hours of them."""

    files: tuple[LakeFile, ...]
    segments: tuple[Path, ...]
    rollups: tuple[Rollup, ...] = ()

    def without(self, segments: frozenset[Path]) -> Self:
        """The same, but for some segments."""
        return replace(self, segments=tuple(path for path in self.segments if path not in segments)) if segments else self


class LakeReader:
    """Runs queries over consistent snapshots. Safe to call from any number of threads; at most `cursors` run at once.

    Args:
        lake_dir: folder of the Parquet files.
        spool_dir: folder of the segments.
        engine: database of the manifest.
        cursors: most queries at a time; further ones wait.
        threads: most DuckDB threads of all queries together.
        memory: most memory of all queries together.
    """

    def __init__(
        self, lake_dir: Path, spool_dir: Path, engine: sa.Engine, *, cursors: int = 4, threads: int = 2, memory: str = "2GB"
    ) -> None:
        self.lake_dir = lake_dir
        self.spool_dir = spool_dir
        self._manifest = Manifest(engine)
        self._cursors = cursors
        self._threads = threads
        self._memory = memory
        self._pool: queue.LifoQueue[duckdb.DuckDBPyConnection] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all cursors; a later query opens them again. Call it when no query runs."""
        with self._lock:
            pool, self._pool = self._pool, None
        while pool is not None and not pool.empty():
            pool.get_nowait().close()

    def snapshot(self, tables: Iterable[str], since_ns: int | None = None) -> Snapshot:
        """What holds the rows of some tables, as of now.

        The folder is listed before the manifest is read: a segment that is compacted in between is then in the manifest, and
        one that is compacted later still lies in the folder, because deletes are delayed.

        Raises:
            Unavailable: if folder or manifest cannot be read.
        """
        names = frozenset(tables)
        try:
            # Two listings: a file renamed while one runs may be missing from that one, and is surely in the other.
            listed = {**self._listed(names, since_ns), **self._listed(names, since_ns)}
        except FileNotFoundError:
            listed = {}  # nothing has been written yet
        except OSError as error:
            raise Unavailable(f"the spool {self.spool_dir} cannot be read ({error.strerror}); give this user the right to") from error
        contents = self._manifest.contents(names)
        return Snapshot(contents.files, tuple(listed[name] for name in sorted(listed.keys() - contents.segments)), contents.rollups)

    def read(
        self,
        tables: Iterable[str],
        work: Callable[[duckdb.DuckDBPyConnection, str], T],
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        rolled_until_ns: int | None = None,
        by_hours: bool = False,
    ) -> T:
        """Run `work(cursor, prefix)`, where `prefix` is a WITH clause that defines the tables, cut to a time range.

        It also defines `rolled`, with the columns of `data.lake.sums.TYPES`: what rollups can answer of the range up to
        `rolled_until_ns`, whole hours in one row if `by_hours`. The tables lack what is in there.

        A file that vanishes meanwhile (a segment was closed, an old file deleted) repeats it with a fresh snapshot, so
        `work` must not keep anything of a run that fails.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        names = list(tables)
        needed = names if rolled_until_ns is None else [*names, *rollups.TABLES]

        def on(cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> T:
            return work(cursor, self.prefix(snapshot, names, since_ns, until_ns, rolled_until_ns, by_hours=by_hours))

        return self._on_snapshot(needed, since_ns, on)

    def broken_files(self) -> list[str]:
        """Files that were found to be broken and are left out, relative to the lake's folder.

        Raises:
            Unavailable: if the manifest cannot be read.
        """
        return list(self._manifest.broken())

    def count(self, table: str) -> int:
        """Rows of one table, compacted or not.

        Raises:
            Unavailable: if the lake cannot be read.
        """

        def on(cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> int:
            live = duck.relation(table, [], snapshot.segments, None, None)
            [(rows,)] = cursor.execute(f"SELECT count(*) FROM ({live})").fetchall()  # noqa: S608 - of the schema
            return int(rows) + sum(file.rows for file in snapshot.files)

        return self._on_snapshot((table,), None, on)

    def _on_snapshot(self, tables: Iterable[str], since_ns: int | None, work: Callable[[duckdb.DuckDBPyConnection, Snapshot], T]) -> T:
        """Run `work` over a snapshot, and again over a fresh one if files of it have vanished meanwhile."""
        names, deadline = list(tables), time.monotonic() + PATIENCE_S
        passed_over: frozenset[Path] = frozenset()
        snapshot = self.snapshot(names, since_ns)
        while True:
            with self.cursor() as cursor:
                try:
                    return work(cursor, snapshot.without(passed_over))
                except duckdb.OutOfMemoryException as error:
                    raise Unavailable(
                        "the question needs more memory than the lake's readers have; ask for a shorter time range"
                    ) from error
                except broken.QUESTIONS:
                    raise
                except broken.FAULTS as error:
                    fault = error
            before, snapshot = snapshot, self.snapshot(names, since_ns)
            has_vanished = isinstance(fault, duckdb.IOException)
            if has_vanished and snapshot != before and time.monotonic() <= deadline:
                continue
            garbled = frozenset() if has_vanished else self._garbled(before.segments) - passed_over
            if garbled:
                passed_over |= garbled
            elif broken.set_aside(self.lake_dir, self._manifest, _paths(before)):
                snapshot = self.snapshot(names, since_ns)
            elif has_vanished:
                raise Unavailable(f"the lake in {self.lake_dir} cannot be read ({fault}); check the folder and its rights") from fault
            else:
                raise fault

    def _garbled(self, paths: Iterable[Path]) -> frozenset[Path]:
        """Segments in which no lines can be told apart: the compactor takes from them what it can, and until then they are left out."""
        found = set()
        with self.cursor() as cursor:
            for path in paths:
                try:
                    cursor.execute(f"SELECT count(*) FROM {duck.read_json(table_of(path.name), [path], is_strict=False)}").fetchall()  # noqa: S608
                except duckdb.IOException:
                    continue  # it has vanished, which is found out by reading again
                except duckdb.Error as error:
                    _log.error("segment %s is broken, and is left out until it is compacted: %s", path.name, error)
                    found.add(path)
        return frozenset(found)

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One of the cursors, for as long as the block runs.

        Raises:
            Unavailable: if all of them have been busy for too long.
        """
        with self._lock:
            if self._pool is None or self._owner != os.getpid():
                root = duck.connect(threads=self._threads, memory=self._memory, scratch=self.lake_dir / ".scratch")
                self._pool, self._owner = queue.LifoQueue(), os.getpid()
                for cursor in (root, *(root.cursor() for _ in range(self._cursors - 1))):
                    self._pool.put(cursor)
            pool = self._pool
        try:
            cursor = pool.get(timeout=WAIT_S)
        except queue.Empty as error:
            raise Unavailable(f"{self._cursors} questions to the lake have been running for {WAIT_S:.0f} s; try again later") from error
        try:
            yield cursor
        finally:
            pool.put(cursor)

    def prefix(
        self,
        snapshot: Snapshot,
        tables: Iterable[str],
        since_ns: int | None,
        until_ns: int | None,
        rolled_until_ns: int | None = None,
        *,
        by_hours: bool = False,
    ) -> str:
        """WITH clause that defines each table from a snapshot; see `read`."""
        covered: Covered = Covered()
        parts = []
        if since_ns is not None and rolled_until_ns is not None:
            contents = Contents(snapshot.files, frozenset(), snapshot.rollups)
            covered = rollups.covered(contents, since_ns, rolled_until_ns, by_hours=by_hours)
        parts.append(f"rolled AS NOT MATERIALIZED ({self._rolled(covered)})")
        for table in tables:
            files = [
                self.lake_dir / file.path
                for file in snapshot.files
                if file.table == table
                and (since_ns is None or file.max_received_ns >= since_ns)
                and (until_ns is None or file.min_received_ns < until_ns)
                and not any(begin <= file.min_received_ns and file.max_received_ns < end for begin, end in covered.ranges)
            ]
            segments = [path for path in snapshot.segments if table_of(path.name) == table]
            parts.append(f"{table} AS NOT MATERIALIZED ({duck.relation(table, files, segments, since_ns, until_ns, covered.ranges)})")
        return f"WITH {', '.join(parts)} "

    def _rolled(self, covered: Covered) -> str:
        parts = [f"SELECT {', '.join(f'NULL::{kind} AS {name}' for name, kind in sums.TYPES.items())} WHERE false"]
        for ranges, paths in ((covered.hours, map(rollups.hours_path, covered.paths)), (covered.buckets, covered.paths)):
            if ranges:
                source = duck.read_parquet([self.lake_dir / path for path in paths])
                where = " OR ".join(f"(at_ns >= {begin} AND at_ns < {end})" for begin, end in ranges)
                parts.append(f"SELECT * FROM {source} WHERE {where}")  # noqa: S608 - names and numbers of our own
        return " UNION ALL BY NAME ".join(parts)

    def _listed(self, tables: frozenset[str], since_ns: int | None) -> dict[str, Path]:
        found: dict[str, Path] = {}
        with os.scandir(self.spool_dir) as entries:
            for entry in entries:
                name = entry.name
                if not name.endswith((CLOSED, OPEN)) or table_of(name) not in tables:
                    continue
                try:
                    stat = entry.stat()
                except FileNotFoundError:
                    continue  # renamed or deleted since it was listed; the other listing has it
                if stat.st_size and (since_ns is None or stat.st_mtime_ns >= since_ns - _WRITE_SLACK_NS):
                    found[base_name(name)] = Path(entry.path)
        return found


def _paths(snapshot: Snapshot) -> list[str]:
    """Parquet files of a snapshot, also of rollups."""
    rolled = {rollup.path for rollup in snapshot.rollups}
    return [*(file.path for file in snapshot.files), *rolled, *map(rollups.hours_path, rolled)]
