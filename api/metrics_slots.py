"""Where the processes of one machine leave what they counted, so that any of them can tell what all of them did.

Each process holds a numbered slot of one folder, by a lock that the system frees when the process ends, however it ends. It
writes a snapshot to its slot once a second, before it tells anybody its numbers, and when it leaves. A process that takes a slot
goes on from the counts that it finds there. So a count is in one slot only, and what is told is in the files before it is told:
whoever asks next, of whichever process, is not told less.
"""

import fcntl
import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, count
from pathlib import Path

import msgspec

from api.metrics_merge import Counts, Snapshot, added

EVERY_S = 1.0
# Rows of numbers that a start with nobody else about goes on from. Versions that have long been retired leave theirs behind, and
# a counter that begins anew is what every reader of counters understands.
MAX_ROWS = 2_000
LOCK, STORED = ".lock", ".json"

logger = logging.getLogger(__name__)

_File = dict[str, list[tuple[tuple[str, ...], list[int | float]]]]


class _Stored(msgspec.Struct):
    """A snapshot as it is written, and by whom."""

    writer: str
    counts: _File
    gauges: _File


_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(_Stored).decode


class MetricsSlot:
    """The slot of one process. Safe to use from several threads.

    A folder that cannot be used costs the sum over processes, never an answer: the process then tells its own numbers.

    Args:
        folder: the slots; created when missing. Locks are local: one folder for each machine.
        read: what this process counted since it began.
        every_s: seconds between two snapshots.
        max_rows: see `MAX_ROWS`.

    Attributes:
        failures: snapshots that could not be written.
    """

    def __init__(self, folder: Path, read: Callable[[], Snapshot], *, every_s: float = EVERY_S, max_rows: int = MAX_ROWS) -> None:
        self.failures = 0
        self._folder = folder
        self._read = read
        self._every_s = every_s
        self._max_rows = max_rows
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics-slot", daemon=True)
        self._writer = secrets.token_hex(8)
        self._fd: int | None = None
        self._name = ""
        self._before: Counts = {}
        self._is_failing = False

    def open(self) -> None:
        """Take the lowest free slot, and begin to write snapshots."""
        self.save()
        self._thread.start()

    def close(self) -> None:
        """Write the last snapshot, without gauges, and give the slot back."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            self._save(is_last=True)
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def save(self) -> None:
        """Write a snapshot: the whole of this slot, with what earlier processes counted in it."""
        with self._lock:
            self._save()

    def everybody(self) -> list[Snapshot]:
        """This process's numbers as of now, and those of all other slots as of at most a second ago."""
        with self._lock:
            own, mine = self._save(), self._name
        others = [path for path in self._slots() if path.stem != mine]
        return [own, *(_stored(path) if _is_held(path) else Snapshot(_stored(path).counts, {}) for path in others)]

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self.save()
            except Exception:
                logger.exception("a snapshot of the metrics failed, and the next one is tried")

    def _save(self, *, is_last: bool = False) -> Snapshot:
        try:
            if not self._is_mine():
                self._take()
            own = self._own()
            self._write(Snapshot(own.counts, {}) if is_last else own)
        except OSError as error:
            self.failures += 1
            if not self._is_failing:
                logger.warning("the metrics in %s cannot be written (%s); each process tells its newest alone", self._folder, error)
            self._is_failing = True
            return self._own()
        self._is_failing = False
        return own

    def _own(self) -> Snapshot:
        now = self._read()
        return Snapshot(added([self._before, now.counts]), now.gauges)

    def _slots(self) -> Iterator[Path]:
        """The locks of all slots there are."""
        with suppress(OSError):
            yield from sorted(self._folder.glob(f"*{LOCK}"))

    def _is_mine(self) -> bool:
        """Whether this process still holds the slot: its folder may have been deleted."""
        if self._fd is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._fd), self._path.stat())
        except FileNotFoundError:
            return False

    def _take(self) -> None:
        """Take the lowest free slot, and go on from what it counted.

        Raises:
            OSError: if the folder cannot be used.
        """
        if self._fd is not None:
            logger.warning("the metrics in %s were deleted; this process goes on from its own", self._folder)
            os.close(self._fd)
            self._fd = None
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in chain([self._name] if self._name else [], map(str, count())):
            fd = _locked(self._folder / (name + LOCK))
            if fd is not None:
                self._fd, self._name = fd, name
                break
        self._begin_anew_if_large()
        found = _read(self._path)
        if found is not None and found.writer != self._writer:
            self._before = added([self._before, _as_counts(found.counts)])

    @property
    def _path(self) -> Path:
        """The lock of the own slot."""
        return self._folder / (self._name + LOCK)

    def _begin_anew_if_large(self) -> None:
        """Forget all counts if there are too many of them and nobody else is about; where somebody is, sums would fall in part only."""
        others = [path for path in self._slots() if path.stem != self._name]
        rows = sum(len(family) for path in (self._path, *others) for family in _stored(path).counts.values())
        if rows <= self._max_rows:
            return
        held = [fd for path in others if (fd := _locked(path)) is not None]
        try:
            if len(held) == len(others):
                logger.info("the metrics begin anew: %d rows were kept from before", rows)
                for path in (self._path, *others):
                    path.with_suffix(STORED).unlink(missing_ok=True)
        finally:
            for fd in held:
                os.close(fd)

    def _write(self, snapshot: Snapshot) -> None:
        path = self._path.with_suffix(STORED)
        new = path.with_suffix(".new")
        new.write_bytes(_encode(_Stored(self._writer, _as_file(snapshot.counts), _as_file(snapshot.gauges))))
        new.replace(path)


def stored(folder: Path) -> Counts:
    """What all slots of a folder have counted, as of their last snapshots."""
    return added(_stored(path).counts for path in sorted(folder.glob(f"*{LOCK}")))


def _as_file(counts: Counts) -> _File:
    return {family: list(rows.items()) for family, rows in counts.items()}


def _as_counts(file: _File) -> Counts:
    return {family: {tuple(labels): list(numbers) for labels, numbers in rows} for family, rows in file.items()}


def _stored(lock: Path) -> Snapshot:
    """The last snapshot of a slot; an empty one if there is none."""
    found = _read(lock)
    return Snapshot({}, {}) if found is None else Snapshot(_as_counts(found.counts), _as_counts(found.gauges))


def _read(lock: Path) -> _Stored | None:
    """What is written in a slot; None if nothing is, or it cannot be read."""
    path = lock.with_suffix(STORED)
    try:
        return _decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        logger.warning("%s cannot be read, and counts as nothing: %s", path, error)
        return None


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock of a slot; None: somebody else does, or it was deleted this moment.

    Raises:
        OSError: if it cannot be made.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), path.stat()):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _is_held(path: Path) -> bool:
    """Whether a process lives in the slot. A process that starts at this very moment takes the next one instead."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
