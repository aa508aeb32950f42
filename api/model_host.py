"""Keeps the models of the newest route table warm, and swaps table and models as one pointer.

One background thread does all that blocks: it looks for a new epoch, loads what is missing and only then publishes. When
something cannot be loaded, or the database is away, the last good snapshot goes on answering and readiness says why.
"""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import NamedTuple, Protocol

from trajops.contracts.status import Readiness
from trajops.deployments.routing import ModelRef, RouteTable
from trajops.errors import TrajOpsError, Unavailable
from trajops.ports import Forecaster, RouteSource
from trajops.services.predict import PredictService, Snapshot

# A failed load is tried again after 1, 2, 4 … seconds, at most this many.
LONGEST_PAUSE_S = 30.0
# Versions that clients have asked for and that wait to be loaded.
MAX_WAITING = 16

logger = logging.getLogger(__name__)


class Loader(Protocol):
    """What makes a version warm."""

    def load(self, ref: ModelRef) -> Forecaster:
        """Bring a version into memory, ready to answer."""
        ...


class _Failure(NamedTuple):
    error: Exception
    attempts: int
    retry_at_s: float


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The newest table, whether it is already answering or not."""

    table: RouteTable
    trouble: str | None = None


class ModelHost:
    """Follows the routes and holds the warm models of one process.

    Args:
        source: where the newest table is read.
        loader: makes versions warm.
        service: gets each new snapshot.
        slots: most versions kept warm; routed ones always stay, of the others the least recently asked for goes first.
        poll_s: pause between two looks at the epoch, seconds.
    """

    def __init__(self, source: RouteSource, loader: Loader, service: PredictService, *, slots: int, poll_s: float) -> None:
        self._source = source
        self._loader = loader
        self._service = service
        self._slots = slots
        self._poll_s = poll_s
        self._wanted = _Wanted(RouteTable(0))
        self._failures: dict[ModelRef, _Failure] = {}
        self._asked: dict[ModelRef, Future[None]] = {}
        self._lock = Lock()
        self._wake = Event()
        self._is_stopping = False
        self._thread = Thread(target=self._run, name="model-host", daemon=True)

    def start(self) -> None:
        """Begin to follow the routes."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a load in progress is waited for."""
        self._is_stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """Look now: somebody in this process has just changed the routes."""
        self._wake.set()

    def ask(self, ref: ModelRef) -> "Future[None]":
        """Ask for a version that is not routed; the future ends when it is warm, or with the reason why it is not.

        Raises:
            Unavailable: if too many versions are waiting already.
        """
        with self._lock:
            future = self._asked.get(ref)
            if future is None:
                if len(self._asked) >= MAX_WAITING:
                    raise Unavailable(f"{len(self._asked)} versions are waiting to be loaded; try again in a few seconds", retry_after_s=5)
                future = self._asked[ref] = Future()
        self._wake.set()
        return future

    @property
    def warm(self) -> Mapping[ModelRef, Forecaster]:
        """The models that can answer now."""
        return self._service.snapshot.models

    @property
    def epoch(self) -> int:
        """The epoch that is answering."""
        return self._service.snapshot.table.epoch

    def readiness(self) -> Readiness:
        """Ready when there is a champion and every version that may answer is warm, in the newest known epoch."""
        snapshot, wanted = self._service.snapshot, self._wanted
        missing = [ref for ref in wanted.table.models() if ref not in snapshot.models]
        is_ready = snapshot.table.champion is not None and all(ref in snapshot.models for ref in _answering(snapshot.table))
        return Readiness(
            status="ready" if is_ready else "not_ready",
            epoch=snapshot.table.epoch,
            warm=sorted(map(str, snapshot.models)),
            missing=sorted(map(str, missing)),
            detail=self._detail(snapshot.table, wanted),
        )

    def poll(self) -> None:
        """One round: look at the epoch, load, publish. The thread calls this; tests may."""
        self._follow()
        self._serve_asked()

    def _detail(self, table: RouteTable, wanted: _Wanted) -> str:
        if wanted.trouble is not None:
            return wanted.trouble
        if wanted.table.champion is None:
            return "no model has been deployed yet; stage a registered version and promote it"
        if wanted.table.epoch != table.epoch:
            return f"epoch {wanted.table.epoch} is known and its models are being loaded; epoch {table.epoch} answers meanwhile"
        return f"epoch {table.epoch} answers"

    def _run(self) -> None:
        while not self._is_stopping:
            self._wake.clear()
            try:
                self.poll()
            except Exception:
                logger.exception("the model host failed in one round and goes on")
            self._wake.wait(self._poll_s)

    def _follow(self) -> None:
        current = self._service.snapshot.table
        try:
            epoch = self._source.epoch()
            wanted = self._wanted.table if epoch == self._wanted.table.epoch else self._source.table()
        except TrajOpsError as error:
            self._wanted = _Wanted(self._wanted.table, f"epoch {current.epoch} answers; the newest one is not known: {error.message}")
            return
        self._wanted = _Wanted(wanted, self._wanted.trouble if wanted == self._wanted.table else None)
        models = dict(self.warm)
        causes = {ref: self._load(ref, models) for ref in wanted.models()}
        troubles = [f"{ref}: {cause}" for ref, cause in causes.items() if cause is not None]
        trouble = "; ".join(troubles) or None
        if all(ref in models for ref in _answering(wanted)):
            if wanted != current or models.keys() != self.warm.keys():
                self._publish(wanted, models)
        elif trouble is not None:
            trouble = f"epoch {current.epoch} answers; epoch {wanted.epoch} must wait for {trouble}"
        self._wanted = _Wanted(wanted, trouble)

    def _serve_asked(self) -> None:
        with self._lock:
            asked = list(self._asked.items())
        for ref, future in asked:
            models = dict(self.warm)
            error = self._load(ref, models)
            if error is None:
                self._service.asked_ns[ref] = time.time_ns()
                self._publish(self._service.snapshot.table, models)
            with self._lock:
                del self._asked[ref]
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def _load(self, ref: ModelRef, models: dict[ModelRef, Forecaster]) -> Exception | None:
        """Make sure that `models` holds a version; the reason, where it cannot."""
        if ref in models:
            return None
        failure = self._failures.get(ref)
        if failure is not None and time.monotonic() < failure.retry_at_s:
            return failure.error
        started_s = time.monotonic()
        try:
            models[ref] = self._loader.load(ref)
        except Exception as error:  # noqa: BLE001 - a model that cannot be loaded must not end the thread that serves the others
            attempts = failure.attempts + 1 if failure is not None else 1
            pause_s = min(2.0 ** (attempts - 1), LONGEST_PAUSE_S)
            self._remember_failure(ref, _Failure(error, attempts, time.monotonic() + pause_s))
            logger.warning("version %s cannot be loaded (attempt %d, next in %g s): %s", ref, attempts, pause_s, error)
            return error
        self._failures.pop(ref, None)
        logger.info("version %s is warm after %.0f ms", ref, (time.monotonic() - started_s) * 1e3)
        return None

    def _remember_failure(self, ref: ModelRef, failure: _Failure) -> None:
        self._failures.pop(ref, None)
        self._failures[ref] = failure
        while len(self._failures) > 4 * MAX_WAITING:
            del self._failures[next(iter(self._failures))]

    def _publish(self, table: RouteTable, models: dict[ModelRef, Forecaster]) -> None:
        """Swap table and models as one pointer; give up the versions that nobody asks for."""
        routed = set(table.models())
        spare = sorted(models.keys() - routed, key=lambda ref: self._service.asked_ns.get(ref, 0))
        for ref in spare[: max(0, len(models) - self._slots)]:
            del models[ref]
            self._service.asked_ns.pop(ref, None)
            logger.info("version %s is let go: %d versions are kept warm", ref, self._slots)
        before = self._service.snapshot.table.epoch
        self._service.snapshot = Snapshot(table, models)
        if table.epoch != before:
            logger.info("epoch %d answers now", table.epoch)


def _answering(table: RouteTable) -> tuple[ModelRef, ...]:
    """The versions that may be drawn; `previous` is kept warm beside them for a rollback."""
    return tuple(ref for ref in (table.champion, table.challenger) if ref is not None)
