"""Makes versions warm on threads of their own, and remembers for a while why one could not be.

A load may take as long as the registry's slowest answer. Nothing that answers or follows the routes waits for it.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock, Thread
from typing import NamedTuple, Protocol

from trajops.deployments.model_ref import ModelRef
from trajops.histogram import Histogram
from trajops.ports import Forecaster

# A failed load is tried again after 1, 2, 4 … seconds, at most this many.
LONGEST_PAUSE_S = 30.0
# Failures that are remembered; the oldest goes first.
MAX_FAILURES = 64
# Upper ends of the ranges that loads are counted in, seconds.
LOADS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

Work = Callable[[], None]
logger = logging.getLogger(__name__)


class Loader(Protocol):
    """What makes a version warm."""

    def load(self, ref: ModelRef) -> Forecaster:
        """Bring a version into memory, ready to answer."""
        ...

    def size_bytes(self, ref: ModelRef) -> int:
        """Bytes of the artefact of a version that was loaded."""
        ...


class _Failure(NamedTuple):
    error: Exception
    attempts: int
    retry_at_s: float


@dataclass(frozen=True, slots=True)
class LoadState:
    """Where the load of a version stands: in progress, or failed for now (its last error), or both."""

    is_loading: bool
    error: Exception | None


def on_a_thread(work: Work) -> None:
    """Run work beside everything else; the process does not wait for it to end."""
    Thread(target=work, name="model-load", daemon=True).start()


class ModelLoads:
    """The loads in progress. Safe to call from several threads.

    Args:
        loader: makes versions warm; called from several threads at once.
        on_done: called after each load, from its thread.
        run: how a load is run.

    Attributes:
        ended: loads by version and outcome, `warm` or `failed`.
        seconds: what the loads took whose version became warm.
    """

    def __init__(self, loader: Loader, on_done: Callable[[], None], *, run: Callable[[Work], None] = on_a_thread) -> None:
        self._loader, self._on_done, self._run = loader, on_done, run
        self._lock = Lock()
        self._loading: set[ModelRef] = set()
        self._done: dict[ModelRef, Forecaster] = {}
        self._failures: dict[ModelRef, _Failure] = {}
        self.ended: dict[tuple[ModelRef, str], int] = {}
        self.seconds = Histogram(LOADS_S)

    def want(self, ref: ModelRef) -> LoadState:
        """Begin to load a version, unless that is going on already or has just failed."""
        with self._lock:
            failure = self._failures.get(ref)
            is_due = ref not in self._loading and ref not in self._done and (failure is None or time.monotonic() >= failure.retry_at_s)
            if is_due:
                self._loading.add(ref)
        if is_due:
            self._run(lambda: self._load(ref))
        with self._lock:
            failure = self._failures.get(ref)
            return LoadState(ref in self._loading or ref in self._done, None if failure is None else failure.error)

    def is_loading(self, ref: ModelRef) -> bool:
        """Whether a version is being loaded now."""
        return ref in self._loading

    def take(self) -> dict[ModelRef, Forecaster]:
        """The models that became warm since the last call: they are the caller's now."""
        with self._lock:
            done, self._done = self._done, {}
        return done

    def _load(self, ref: ModelRef) -> None:
        started_s = time.monotonic()
        try:
            forecaster = self._loader.load(ref)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one model, the others go on
            self._fail(ref, error)
        else:
            with self._lock:
                self._loading.discard(ref)
                self._failures.pop(ref, None)
                self._done[ref] = forecaster
                self._count(ref, "warm")
            elapsed_s = time.monotonic() - started_s
            self.seconds.observe(elapsed_s)
            logger.info("version %s is warm after %.0f ms", ref, elapsed_s * 1e3)
        self._on_done()

    def _fail(self, ref: ModelRef, error: Exception) -> None:
        with self._lock:
            before = self._failures.pop(ref, None)
            attempts = 1 if before is None else before.attempts + 1
            pause_s = min(2.0 ** (attempts - 1), LONGEST_PAUSE_S)
            self._failures[ref] = _Failure(error, attempts, time.monotonic() + pause_s)
            while len(self._failures) > MAX_FAILURES:
                del self._failures[next(iter(self._failures))]
            self._loading.discard(ref)
            self._count(ref, "failed")
        logger.warning("version %s cannot be loaded (attempt %d, next in %g s): %s", ref, attempts, pause_s, error)

    def _count(self, ref: ModelRef, outcome: str) -> None:
        self.ended[ref, outcome] = self.ended.get((ref, outcome), 0) + 1
