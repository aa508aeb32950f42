"""The spool: events as JSON lines in append-only segments of this process, on disk before an answer leaves.

One `os.write` per call survives kill -9; `fdatasync` once per `sync_s` bounds what a power loss can take. A segment is
`<table>.<writer_id>.<seq>.ndjson.open` while its writer lives and holds a lock on it, and `.ndjson` once it is closed. A
segment that is `.open` but not locked belongs to a writer that was killed; the compactor closes it. Locks are local: each
host has its own spool folder.

A segment that is deleted under its writer is written again from the descriptor that still holds its rows: at the next write,
before that is acknowledged, and after `sync_s` at the latest. Only a writer that is killed in between takes them with it.
Closed segments have no writer that could do so.
"""

import errno
import fcntl
import logging
import os
import re
import socket
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import orjson

from trajops.clock import SystemClock
from trajops.errors import InvalidInput, Unavailable
from trajops.histogram import Histogram
from trajops.ports import Clock
from trajops.telemetry import TABLES, Event

CLOSED, OPEN, NEW = ".ndjson", ".ndjson.open", ".ndjson.new"
ROTATE_BYTES = 64 * 1024 * 1024
_COPY_BYTES = 1024 * 1024
_FOLDER_ATTEMPTS = 5

_log = logging.getLogger(__name__)
# Readable, because a deleted segment can only be read through the descriptor it was written with.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC


@dataclass(slots=True)
class _Segment:
    """One open segment; `size` counts the bytes of whole, successful writes, `name` is its path as the system calls take it."""

    fd: int
    path: Path
    name: bytes
    opened_ns: int
    size: int = 0
    synced_size: int = 0
    is_broken: bool = False


@dataclass(slots=True)
class WriteMeter:
    """What was written to one table, how long each write took, and how many failed."""

    written_bytes: int = 0
    failures: int = 0
    seconds: Histogram = field(default_factory=Histogram)


class Spool:
    """The segments of one process; a `TelemetrySink`. Safe to call from several threads, and after a fork.

    Args:
        folder: where segments are made; created when missing.
        rotate_s: age at which a segment is closed for compaction, seconds.
        sync_s: interval of fdatasync, seconds.
        clock: tells a segment's age.
        writer_id: unique name of this writer. Default: host, process id and start time.

    Attributes:
        meters: what was written, by table.
        sync_seconds: how long it took to force a segment to the device.
        sync_failures: segments that could not be.
    """

    def __init__(
        self, folder: Path, *, rotate_s: float = 10.0, sync_s: float = 1.0, clock: Clock | None = None, writer_id: str | None = None
    ) -> None:
        self.folder = folder
        self.writer_id = _checked_writer(writer_id) if writer_id else _new_writer_id()
        self.meters = {table: WriteMeter() for table in TABLES}
        self.sync_seconds, self.sync_failures = Histogram(), 0
        self._is_named = writer_id is not None
        self._rotate_ns = int(rotate_s * 1e9)
        self._sync_s = sync_s
        self._clock: Clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._segments: dict[str, _Segment] = {}
        self._retired: list[_Segment] = []
        self._sequence = 0
        _spools.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, table: str, events: Sequence[Event]) -> None:
        """Append the events in one write.

        Raises:
            InvalidInput: if there is no such table.
            Unavailable: if the spool cannot be written; none of the events is kept.
        """
        self.write_lines(table, lines_of(events))

    def write_lines(self, table: str, lines: bytes) -> None:
        """Append whole JSON lines, each ended by a newline, in one write.

        Raises:
            InvalidInput: if there is no such table, or the last line is not ended.
            Unavailable: if the spool cannot be written; none of the lines is kept.
        """
        if not lines:
            return
        if lines[-1] != 10:
            raise InvalidInput("lines for the spool must each end with a newline; serialise with orjson.OPT_APPEND_NEWLINE")
        with self._lock:
            segment = self._segments.get(table)
            if segment is None or segment.is_broken:
                segment = self._open(table)
            size, meter, started_s = segment.size, self.meters[table], time.perf_counter()
            try:
                _write_all(segment.fd, lines)
                segment.size += len(lines)
                # Asking for the name first costs half of what asking for the links costs, at every write.
                while not os.access(segment.name, os.F_OK) and _is_deleted(segment):
                    segment = self._segments[table] = self._written_again(segment)
            except OSError as error:
                segment.size = size
                meter.failures += 1
                self._take_back(segment)
                raise self._unavailable(error) from error
            meter.seconds.observe(time.perf_counter() - started_s)
            meter.written_bytes += len(lines)

    def sync(self) -> None:
        """Force what was written to the device, and close segments that are old or big enough.

        The background thread calls this every `sync_s` seconds; the write path never waits for it.
        """
        now_ns = self._clock.now_ns()
        with self._lock:
            due = [
                table
                for table, segment in self._segments.items()
                if segment.is_broken or segment.size >= ROTATE_BYTES or now_ns - segment.opened_ns >= self._rotate_ns
            ]
            retired = [*self._retired, *(self._segments.pop(table) for table in due)]
            self._retired.clear()
            for table, segment in self._segments.items():
                if _is_deleted(segment):
                    try:
                        self._segments[table] = self._written_again(segment)
                    except OSError:
                        _log.exception("segment %s was deleted, and its rows cannot be written again yet", segment.path)
            unsynced = [segment for segment in self._segments.values() if segment.size > segment.synced_size]
            live = [(segment, fd, segment.size) for segment in unsynced if (fd := _duplicate(segment)) is not None]
        for segment, fd, size in live:
            started_s = time.perf_counter()
            try:
                os.fdatasync(fd)
                if not segment.synced_size:
                    _sync_folder(self.folder)  # a new file's name is not covered by its own sync
                segment.synced_size = size
                self.sync_seconds.observe(time.perf_counter() - started_s)
            except FileNotFoundError:
                pass  # the folder was deleted this moment: the next write or round finds that out and writes the rows again
            except OSError:
                _log.exception("segment %s could not be forced to the device; a new one is begun", segment.path)
                segment.is_broken = True
                self.sync_failures += 1
            finally:
                os.close(fd)
        waiting = [segment for segment in retired if not self._seal(segment)]
        if waiting:
            with self._lock:
                self._retired += waiting

    def close(self) -> None:
        """Stop the background thread and close all segments. A later write begins anew."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stop.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        with self._lock:
            retired = [*self._retired, *self._segments.values()]
            self._retired.clear()
            self._segments.clear()
        for segment in retired:
            if not self._seal(segment):
                _log.error("the rows of segment %s are lost: it was deleted, and they cannot be written again", segment.path)
                os.close(segment.fd)

    def _after_fork_in_child(self) -> None:
        # The child's copies share the parent's locks; closing them leaves the parent's in place.
        inherited = [*self._retired, *self._segments.values()]
        self._lock, self._stop, self._thread = threading.Lock(), threading.Event(), None
        self._segments, self._retired = {}, []
        self.writer_id = f"{self.writer_id}-{os.getpid()}" if self._is_named else _new_writer_id()
        for segment in inherited:
            with suppress(OSError):
                os.close(segment.fd)

    def _open(self, table: str) -> _Segment:
        if table not in TABLES:
            raise InvalidInput(f"the lake has no table {table!r}; it has {', '.join(TABLES)}")
        broken = self._segments.pop(table, None)
        if broken is not None:
            self._retired.append(broken)
        try:
            segment = self._segments[table] = self._create(table)
        except OSError as error:
            self.meters[table].failures += 1
            raise self._unavailable(error) from error
        if self._thread is None:
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._keep_synced, args=(self._stop,), name="spool-sync", daemon=True)
            self._thread.start()
        return segment

    def _create(self, table: str) -> _Segment:
        """A new, locked segment.

        Raises:
            OSError: if it cannot be made; a folder that vanishes between two steps is made again.
        """
        for _ in range(_FOLDER_ATTEMPTS - 1):
            with suppress(FileNotFoundError):
                return self._create_once(table)
        return self._create_once(table)

    def _create_once(self, table: str) -> _Segment:
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            stem = f"{table}.{self.writer_id}.{self._sequence:06d}"
            self._sequence += 1
            path = self.folder / (stem + OPEN)
            if path.exists() or path.with_name(stem + CLOSED).exists():
                continue  # a named writer that was started again
            # Locked before it has its name: a compactor must never see an open segment without its writer's lock.
            new = path.with_name(stem + NEW)
            new.unlink(missing_ok=True)
            fd = os.open(new, _FLAGS, 0o640)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                new.rename(path)
            except BaseException:
                os.close(fd)
                raise
            return _Segment(fd, path, os.fsencode(path), self._clock.now_ns())

    def _written_again(self, segment: _Segment) -> _Segment:
        """A new segment with the rows of a deleted one, whose descriptor is closed. Call it with the lock held.

        Raises:
            OSError: if they cannot be written again; the deleted segment is as before.
        """
        copy = self._create(table_of(segment.path.name))
        try:
            while chunk := os.pread(segment.fd, min(_COPY_BYTES, segment.size - copy.size), copy.size):
                _write_all(copy.fd, chunk)
                copy.size += len(chunk)
        except BaseException:
            copy.path.unlink(missing_ok=True)
            os.close(copy.fd)
            raise
        _log.error("segment %s was deleted while it was being written; its rows are written again to %s", segment.path, copy.path)
        os.close(segment.fd)
        return copy

    def _take_back(self, segment: _Segment) -> None:
        try:
            os.ftruncate(segment.fd, segment.size)
        except OSError:
            segment.is_broken = True  # what is torn at its end is dropped by the readers

    def _seal(self, segment: _Segment) -> bool:
        """Close a segment under its final name; false where it was deleted and its rows cannot be written again."""
        try:
            os.fdatasync(segment.fd)
        except OSError:
            _log.exception("segment %s could not be forced to the device before it was closed", segment.path)
        try:
            if segment.size:
                segment.path.rename(segment.path.with_suffix(""))
            else:
                segment.path.unlink(missing_ok=True)
            _sync_folder(self.folder)
        except OSError as error:
            if segment.size and _is_deleted(segment):
                return self._seal_again(segment)
            _log.warning("segment %s could not be closed under its final name: %s", segment.path, error)
        os.close(segment.fd)  # gives the lock back, so it comes last
        return True

    def _seal_again(self, segment: _Segment) -> bool:
        try:
            with self._lock:
                copy = self._written_again(segment)
        except OSError:
            _log.exception("segment %s was deleted, and its rows cannot be written again", segment.path)
            return False
        return self._seal(copy)

    def _keep_synced(self, stop: threading.Event) -> None:
        while not stop.wait(self._sync_s):
            try:
                self.sync()
            except Exception:  # noqa: BLE001 - the thread must outlive any fault: without it segments are never closed
                _log.exception("the spool in %s could not be synced", self.folder)

    def _unavailable(self, error: OSError) -> Unavailable:
        cure = "free space on it" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "give this user the right to write there"
        return Unavailable(
            f"the spool {self.folder} cannot be written ({error.strerror}), so nothing was recorded and nothing may be answered; "
            f"{cure}, or set TRAJOPS_VAR_DIR to another disk",
            errno=error.errno,
        )


def lines_of(events: Iterable[Event]) -> bytes:
    """Events as JSON lines; a NaN becomes null."""
    dumps, option = orjson.dumps, orjson.OPT_APPEND_NEWLINE
    return b"".join([dumps(event, option=option) for event in events])


def _write_all(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):  # a full disk or a signal may cut a write short
        written += os.write(fd, memoryview(data)[written:])


def _duplicate(segment: _Segment) -> int | None:
    """A descriptor that stays valid even if the segment is closed meanwhile; None where the process has none left: the next round."""
    try:
        return os.dup(segment.fd)
    except OSError:
        _log.exception("segment %s cannot be forced to the device now", segment.path)
        return None


def _is_deleted(segment: _Segment) -> bool:
    return os.fstat(segment.fd).st_nlink == 0


def base_name(name: str) -> str:
    """Name of a segment without its state: the same while it is open and when it is closed."""
    return name.removesuffix(".open")


def table_of(name: str) -> str:
    """Table of a segment, by its file name."""
    return name.partition(".")[0]


def _checked_writer(writer_id: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,96}", writer_id):
        raise InvalidInput(f"a writer id is 1 to 96 letters, digits, _ and -, not {writer_id!r}")
    return writer_id


def _new_writer_id() -> str:
    host = re.sub(r"[^A-Za-z0-9_-]", "_", socket.gethostname())[:48] or "host"
    return f"{host}-{os.getpid()}-{time.time_ns():x}"


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _forked() -> None:
    for spool in list(_spools):
        spool._after_fork_in_child()  # noqa: SLF001 - same module


_spools: "weakref.WeakSet[Spool]" = weakref.WeakSet()
os.register_at_fork(after_in_child=_forked)
