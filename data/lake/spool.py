"""The spool: events as JSON lines in append-only segments of this process, on disk before an answer leaves.

One `os.write` per call survives kill -9; `fdatasync` once per `sync_s` bounds what a power loss can take. A segment is
`<table>.<writer_id>.<seq>.ndjson.open` while its writer lives and holds a lock on it, and `.ndjson` once it is closed. A
segment that is `.open` but not locked belongs to a writer that was killed; the compactor closes it. Locks are local: each
host has its own spool folder.
"""

import asyncio
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
from trajops.ports import Clock
from trajops.telemetry import TABLES, Event

CLOSED, OPEN, NEW = ".ndjson", ".ndjson.open", ".ndjson.new"
ROTATE_BYTES = 64 * 1024 * 1024

_log = logging.getLogger(__name__)
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC


@dataclass(slots=True)
class _Segment:
    """One open segment; `size` counts the bytes of whole, successful writes."""

    fd: int
    path: Path
    opened_ns: int
    size: int = 0
    synced_size: int = 0
    is_broken: bool = False


@dataclass(slots=True)
class _Pending:
    """What one turn of the event loop is about to write to one table, and who waits for it."""

    lines: list[bytes] = field(default_factory=list)
    waiters: list[asyncio.Future[None]] = field(default_factory=list)


class Spool:
    """The segments of one process; a `TelemetrySink`. Safe to call from several threads, and after a fork.

    Args:
        folder: where segments are made; created when missing.
        rotate_s: age at which a segment is closed for compaction, seconds.
        sync_s: interval of fdatasync, seconds.
        clock: tells a segment's age.
        writer_id: unique name of this writer. Default: host, process id and start time.
    """

    def __init__(
        self, folder: Path, *, rotate_s: float = 10.0, sync_s: float = 1.0, clock: Clock | None = None, writer_id: str | None = None
    ) -> None:
        self.folder = folder
        self.writer_id = _checked_writer(writer_id) if writer_id else _new_writer_id()
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
            try:
                written = os.write(segment.fd, lines)
                while written < len(lines):  # a full disk or a signal may cut a write short
                    written += os.write(segment.fd, memoryview(lines)[written:])
            except OSError as error:
                self._take_back(segment)
                raise self._unavailable(error) from error
            segment.size += len(lines)

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
            # The duplicate stays valid even if the segment is closed meanwhile.
            unsynced = [segment for segment in self._segments.values() if segment.size > segment.synced_size]
            live = [(segment, os.dup(segment.fd), segment.size) for segment in unsynced]
        for segment, fd, size in live:
            try:
                os.fdatasync(fd)
                if not segment.synced_size:
                    _sync_folder(self.folder)  # a new file's name is not covered by its own sync
                segment.synced_size = size
                if os.fstat(fd).st_nlink == 0:
                    _log.error("segment %s was deleted while it was being written; its rows are lost, a new one is begun", segment.path)
                    segment.is_broken = True
            except OSError:
                _log.exception("segment %s could not be forced to the device; a new one is begun", segment.path)
                segment.is_broken = True
            finally:
                os.close(fd)
        for segment in retired:
            self._seal(segment)

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
            self._seal(segment)

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
                break
        except OSError as error:
            raise self._unavailable(error) from error
        segment = self._segments[table] = _Segment(fd, path, self._clock.now_ns())
        if self._thread is None:
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._keep_synced, args=(self._stop,), name="spool-sync", daemon=True)
            self._thread.start()
        return segment

    def _take_back(self, segment: _Segment) -> None:
        try:
            os.ftruncate(segment.fd, segment.size)
        except OSError:
            segment.is_broken = True  # what is torn at its end is dropped by the readers

    def _seal(self, segment: _Segment) -> None:
        try:
            os.fdatasync(segment.fd)
        except OSError:
            _log.exception("segment %s could not be forced to the device before it was closed", segment.path)
        try:
            if segment.size:
                segment.path.rename(segment.path.with_suffix(""))
            else:
                segment.path.unlink()
            _sync_folder(self.folder)
        except OSError as error:
            _log.warning("segment %s could not be closed under its final name: %s", segment.path, error)
        os.close(segment.fd)  # gives the lock back, so it comes last

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


class GroupCommit:
    """Share one write per table between all events of one turn of the event loop.

    Each caller has its own future, so that a caller that is cancelled takes nobody with it. Use from one event loop.

    Args:
        spool: where the lines go.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._pending: dict[str, _Pending] = {}

    async def commit(self, table: str, events: Iterable[Event]) -> None:
        """Return once the events are written.

        Raises:
            InvalidInput: if there is no such table.
            Unavailable: if the spool cannot be written.
        """
        lines = lines_of(events)
        if lines:
            await self.commit_line(table, lines)

    def commit_line(self, table: str, line: bytes) -> asyncio.Future[None]:
        """The same for bytes that are one or several whole JSON lines, each ended by a newline; await the result.

        Raises:
            InvalidInput: if the last line is not ended.
        """
        if not line.endswith(b"\n"):
            raise InvalidInput("a line for the spool must end with a newline; serialise with orjson.OPT_APPEND_NEWLINE")
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        if not self._pending:
            loop.call_soon(self._flush)
        pending = self._pending.get(table)
        if pending is None:
            pending = self._pending[table] = _Pending()
        pending.lines.append(line)
        pending.waiters.append(waiter)
        return waiter

    def _flush(self) -> None:
        batch, self._pending = self._pending, {}
        for table, pending in batch.items():
            try:
                self._spool.write_lines(table, b"".join(pending.lines))
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
                for waiter in pending.waiters:
                    if not waiter.done():
                        waiter.set_exception(error)
            else:
                for waiter in pending.waiters:
                    if not waiter.done():
                        waiter.set_result(None)


def lines_of(events: Iterable[Event]) -> bytes:
    """Events as JSON lines; a NaN becomes null."""
    dumps, option = orjson.dumps, orjson.OPT_APPEND_NEWLINE
    return b"".join([dumps(event, option=option) for event in events])


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
