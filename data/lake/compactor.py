"""The compactor: closed segments become Parquet, small files become bigger ones, and what is no longer read is deleted.

It may be killed at any point, and two may run at once: rows enter the lake only with the transaction that also names their
segments, and each segment can be named once. Files that were written and never published are swept later.
"""

import fcntl
import logging
import os
from collections import defaultdict
from contextlib import suppress
from datetime import timedelta
from itertools import groupby
from pathlib import Path

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from data.lake import broken, duck, parquet, rollups, segments
from data.lake.manifest import LakeFile, Manifest
from data.lake.spool import CLOSED, NEW, OPEN, table_of
from trajops.clock import SystemClock, utc
from trajops.errors import Conflict, Unavailable
from trajops.ports import Clock
from trajops.telemetry import TABLES

BATCH_BYTES = 128 * 1024 * 1024
MERGE_ROWS = 500_000
MERGE_FILES = 12
_DAY_NS = 86_400 * 10**9
_SETTLED_NS = 120 * 10**9
_FORGOTTEN_AFTER = timedelta(days=1)
_UNPUBLISHED_AFTER = timedelta(minutes=15)

_log = logging.getLogger(__name__)


class Compactor:
    """Moves rows from the spool of this host to the Parquet lake, each exactly once.

    Args:
        lake_dir: folder of the Parquet files.
        spool_dir: folder of the segments.
        engine: database of the manifest.
        clock: tells when an hour is over and when a delete is due.
        delete_delay_s: how long a segment or file stays after it was replaced, for readers that began before; seconds.
        keep_days: rows that were received longer ago are deleted, by whole hours; their rollups stay. None: all are kept.
    """

    def __init__(
        self,
        lake_dir: Path,
        spool_dir: Path,
        engine: sa.Engine,
        *,
        clock: Clock | None = None,
        delete_delay_s: float = 60.0,
        keep_days: float | None = None,
    ) -> None:
        self._lake_dir = lake_dir
        self._spool_dir = spool_dir
        self._manifest = Manifest(engine)
        self._clock: Clock = clock or SystemClock()
        self._delete_delay = timedelta(seconds=delete_delay_s)
        self._unreadable: list[str] = []
        self._keep_ns = None if keep_days is None else round(keep_days * _DAY_NS)

    def run(self) -> dict[str, int]:
        """Delete, adopt, compact, put back what was mended, retire, merge.

        Returns:
            Counts of `adopted` segments of dead writers, compacted `segments`, `rows`, new `files`, `torn` tails,
            `quarantined` lines, `mended` files, `retired` files, `merged` files, and deleted segments and files (`deleted`).

        Raises:
            Unavailable: if lake, spool or manifest cannot be read or written; what was published stays.
        """
        report: dict[str, int] = dict.fromkeys(
            ("adopted", "segments", "rows", "files", "torn", "quarantined", "mended", "retired", "merged", "deleted"), 0
        )
        try:
            self._unreadable.clear()
            self._lake_dir.mkdir(parents=True, exist_ok=True)
            self._spool_dir.mkdir(parents=True, exist_ok=True)
            # First, because nothing else may succeed on a full disk.
            report["deleted"] = self._delete()
            report["adopted"] = self._adopt()
            self._compact(report)
            report["mended"] = len(broken.put_back(self._lake_dir, self._manifest))
            report["retired"] = self._retire()
            report["merged"] = self._merge()
        except OSError as error:
            raise Unavailable(
                f"the lake cannot be compacted ({error}); free space, or give this user the right to write to {self._lake_dir} "
                f"and {self._spool_dir}; nothing is lost, the segments stay in the spool"
            ) from error
        if self._unreadable:
            raise Unavailable(
                f"segments in {self._spool_dir} cannot be read ({'; '.join(self._unreadable)}); they stay there, and all others are in the "
                "lake; check the disk and the rights to them"
            )
        return report

    def _adopt(self) -> int:
        """Close the segments of writers that are gone: a writer that lives holds their locks."""
        adopted = 0
        for path in sorted([*self._spool_dir.glob(f"*{OPEN}"), *self._spool_dir.glob(f"*{NEW}")]):
            with suppress(FileNotFoundError):  # its writer has closed it meanwhile
                adopted += self._adopt_one(path)
        return adopted

    def _adopt_one(self, path: Path) -> bool:
        if path.name.endswith(NEW):
            # Its writer takes the lock in a moment, or was killed before; a lock taken here could get in its way.
            if self._clock.now_ns() - path.stat().st_mtime_ns > _SETTLED_NS:
                path.unlink()
            return False
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_size == 0:
                path.unlink()
                return False
            os.fsync(fd)
            path.rename(path.with_suffix(""))
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        _log.warning("segment %s was left by a writer that is gone; it is taken over", path.name)
        return True

    def _compact(self, report: dict[str, int]) -> None:
        listed = sorted(self._spool_dir.glob(f"*{CLOSED}"))
        known = self._manifest.known_segments()
        waiting = [path for path in listed if path.name not in known and table_of(path.name) in TABLES]
        if not waiting:
            return
        with duck.connect(scratch=self._lake_dir / ".scratch") as connection:
            for table, paths in groupby(waiting, key=lambda path: table_of(path.name)):
                for batch in _batches(list(paths)):
                    self._compact_batch(connection, table, batch, report)

    def _compact_batch(self, connection: duckdb.DuckDBPyConnection, table: str, batch: list[Path], report: dict[str, int]) -> None:
        try:
            parsed = segments.parse(connection, table, batch)
        except OSError as error:
            if len(batch) > 1:
                for path in batch:
                    self._compact_batch(connection, table, [path], report)
                return
            self._unreadable.append(f"{batch[0].name}: {error.strerror or error}")
            return
        files = parquet.write_hours(self._lake_dir, table, parsed.rows)
        try:
            self._manifest.publish(table, files, parsed.counts, utc(self._clock.now_ns()))
        except Conflict as error:
            _log.info("%s", error)
            self._discard(files)
            return
        report["segments"] += len(batch)
        report["rows"] += len(parsed.rows)
        report["files"] += len(files)
        report["torn"] += parsed.torn
        report["quarantined"] += parsed.quarantined

    def _retire(self) -> int:
        """Take what is too old out of the lake, by whole hours, but for what is not summed up yet."""
        if self._keep_ns is None:
            return 0
        now_ns = self._clock.now_ns()
        before_ns = min(now_ns - self._keep_ns, rollups.first_stale_ns(self._manifest.contents(rollups.TABLES)))
        # An hour that has lost a part of its files would be summed up anew, from what is left of it.
        return self._manifest.retire(before_ns // parquet.HOUR_NS * parquet.HOUR_NS, utc(now_ns))

    def _merge(self) -> int:
        """Merge small files: all of an hour that is over, and of the present one when there are many."""
        by_hour: dict[tuple[str, int], list[LakeFile]] = defaultdict(list)
        for file in self._manifest.contents(TABLES).files:
            if file.rows < MERGE_ROWS // 2:
                by_hour[file.table, parquet.hour_of(file)].append(file)
        merged = 0
        for (_, hour), files in by_hour.items():
            is_over = self._clock.now_ns() >= (hour + 1) * parquet.HOUR_NS + _SETTLED_NS
            if len(files) < (2 if is_over else MERGE_FILES):
                continue
            for group in _groups(sorted(files, key=lambda file: file.min_received_ns)):
                merged += self._merge_group(group)
        return merged

    def _merge_group(self, group: list[LakeFile]) -> int:
        try:
            rows = pa.concat_tables([parquet.read(self._lake_dir, file) for file in group])
        except FileNotFoundError:
            return 0  # merged and deleted by another compactor
        except broken.FAULTS:
            if not broken.set_aside(self._lake_dir, self._manifest, [file.path for file in group]):
                raise
            return 0
        (file,) = parquet.write_hours(self._lake_dir, group[0].table, rows)
        try:
            self._manifest.replace(file, group, utc(self._clock.now_ns()))
        except Conflict as error:
            _log.info("%s", error)
            self._discard([file])
            return 0
        return len(group)

    def _delete(self) -> int:
        """Delete what no reader can have begun to read, and files that were never published."""
        now = utc(self._clock.now_ns())
        gone_segments, gone_files = self._manifest.deletable(now - self._delete_delay)
        for name in gone_segments:
            (self._spool_dir / name).unlink(missing_ok=True)
        for _, relative in gone_files:
            (self._lake_dir / relative).unlink(missing_ok=True)
        if gone_segments:
            # A segment that came back after a power loss, forgotten by the manifest, would be counted again.
            _sync(self._spool_dir)
        self._manifest.forget(gone_segments, [file_id for file_id, _ in gone_files], now - _FORGOTTEN_AFTER)
        written = [*self._lake_dir.glob("*/day=*/*.parquet"), *self._lake_dir.glob(f"{rollups.FOLDER}/*.parquet")]
        published = self._manifest.paths()
        published |= {rollups.hours_path(path) for path in published}
        for path in written:
            with suppress(FileNotFoundError):
                is_old = now - utc(path.stat().st_mtime_ns) > _UNPUBLISHED_AFTER
                if is_old and str(path.relative_to(self._lake_dir)) not in published:
                    path.unlink()
        return len(gone_segments) + len(gone_files)

    def _discard(self, files: list[LakeFile]) -> None:
        for file in files:
            (self._lake_dir / file.path).unlink(missing_ok=True)


def _batches(paths: list[Path]) -> list[list[Path]]:
    """Segments in groups of bounded size, so that memory is bounded too."""
    batches: list[list[Path]] = []
    size = 0
    for path in paths:
        length = path.stat().st_size
        if not batches or size + length > BATCH_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(path)
        size += length
    return batches


def _groups(files: list[LakeFile]) -> list[list[LakeFile]]:
    """Files in groups of at least two with bounded rows."""
    groups: list[list[LakeFile]] = []
    rows = MERGE_ROWS + 1
    for file in files:
        if rows + file.rows > MERGE_ROWS:
            groups.append([])
            rows = 0
        groups[-1].append(file)
        rows += file.rows
    return [group for group in groups if len(group) > 1]


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
