"""Keeps the models of the newest route table warm, and swaps table and models as one pointer.

One background thread looks for a new epoch and publishes it as soon as every version that may answer in it is warm; loads run
beside it, so that a slow one delays no switch between warm versions. When something cannot be loaded, or the database is away,
the last good snapshot goes on answering and readiness says why. A process that has no good one yet, because it has just been
started, does not answer nobody for that: the champion if it is the challenger that cannot be loaded, the previous champion, or
the baseline stands in, under its own name and in no epoch, until the routes can answer.
"""

import logging
import time
from collections.abc import Callable, Mapping, Set
from concurrent.futures import Future
from dataclasses import dataclass, replace
from threading import Event, Lock, Thread

from api.model_loads import Loader, ModelLoads, Work, on_a_thread
from api.warm_bounds import WarmBounds
from trajops.contracts.status import Readiness
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.errors import TrajOpsError, Unavailable
from trajops.ports import CalibrationSource, Forecaster, RouteSource
from trajops.services.calibrating import Calibrating
from trajops.services.predict import BASELINE, PredictService
from trajops.services.snapshot import NOTHING_DEPLOYED, Snapshot

# Versions that clients have asked for and that wait to be loaded, and how many of them are loaded at once: each costs the
# processor that answers the others.
MAX_WAITING = 16
MAX_ASKED_AT_ONCE = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The newest table, whether it is already answering or not."""

    table: RouteTable
    trouble: str | None = None


class ModelHost:
    """Follows the routes and holds the warm models of one process.

    Args:
        source: where the newest table is read.
        loader: makes versions warm; called from several threads at once.
        service: gets each new snapshot.
        bounds: what is kept warm beside the routed versions.
        poll_s: pause between two looks at the epoch, seconds.
        run: how a load is run.
        calibrations: where the calibrations in force are read; None: versions are served as trained.

    Attributes:
        loads: the loads in progress, and counts of those that ended.
        evictions: versions unloaded because others needed their place, or nobody asked for them.
    """

    def __init__(
        self,
        source: RouteSource,
        loader: Loader,
        service: PredictService,
        *,
        bounds: WarmBounds,
        poll_s: float,
        run: Callable[[Work], None] = on_a_thread,
        calibrations: CalibrationSource | None = None,
    ) -> None:
        self._source = source
        self._service = service
        self._bounds = bounds
        self._loader = loader
        self._sizes: dict[ModelRef, int] = {}
        self._poll_s = poll_s
        self._calibrating = Calibrating(calibrations)
        self._wanted = _Wanted(RouteTable(0))
        self._asked: dict[ModelRef, Future[None]] = {}
        self._lock = Lock()
        self._round = Lock()
        self._wake = Event()
        self._settled = Event()
        self._is_stopping = False
        self.loads = ModelLoads(loader, self.wake, run=run)
        self.evictions = 0
        self._thread = Thread(target=self._run, name="model-host", daemon=True)

    def start(self) -> None:
        """Begin to follow the routes."""
        self._thread.start()

    def wait_until_settled(self, timeout_s: float) -> bool:
        """Wait until the newest table answers, or it is known why it cannot; a process asked before that has nothing to say."""
        return self._settled.wait(timeout_s)

    def stop(self) -> None:
        """End the thread; a load in progress is not waited for."""
        self._is_stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """Look now: the routes have just been changed in this process, or a version has become warm."""
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
    def warm_bytes(self) -> int:
        """Bytes of the artefacts of the models that can answer now."""
        return sum(self._sizes.values())

    @property
    def epoch(self) -> int:
        """The epoch that is answering; 0: none."""
        return self._service.snapshot.table.epoch

    @property
    def newest_epoch(self) -> int:
        """The newest epoch that is known, whether it is answering already or not."""
        return self._wanted.table.epoch

    def readiness(self) -> Readiness:
        """Ready when there is a champion and every version that may answer is warm, or somebody stands in."""
        snapshot, wanted = self._service.snapshot, self._wanted
        missing = [ref for ref in wanted.table.models() if ref not in snapshot.models]
        return Readiness(
            status="not_ready" if snapshot.leader is None else "ready",
            epoch=snapshot.table.epoch,
            warm=sorted(map(str, snapshot.models)),
            missing=sorted(map(str, missing)),
            stand_in=None if snapshot.stand_in is None else str(snapshot.stand_in),
            detail=_detail(snapshot, wanted),
        )

    def poll(self) -> None:
        """One round: look at the epoch, begin the loads it needs, publish what is warm. The thread calls this; tests may."""
        with self._round:
            table, away = self._newest()
            self._calibrating.look()
            states = {ref: self.loads.want(ref) for ref in table.models() if ref not in self.warm}
            self._load_asked()
            loaded = self.loads.take()
            models = {**self.warm, **loaded}
            failed = {ref: state.error for ref, state in states.items() if state.error is not None and ref not in models}
            self._publish(table, models, failed, away)
            self._answer_asked(loaded.keys() | self.warm.keys())
            self._wanted = _Wanted(table, self._trouble(table, failed, away))
            if self._wanted.trouble is not None or self.epoch == table.epoch:
                self._settled.set()

    def _run(self) -> None:
        while not self._is_stopping:
            self._wake.clear()
            try:
                self.poll()
            except Exception:
                logger.exception("the model host failed in one round and goes on")
            self._wake.wait(self._poll_s)

    def _newest(self) -> tuple[RouteTable, str | None]:
        """The newest table, or the last one known and why a newer one is not."""
        known = self._wanted.table
        try:
            epoch = self._source.epoch()
            return (known if epoch == known.epoch else self._source.table()), None
        except TrajOpsError as error:
            return known, error.message

    def _trouble(self, table: RouteTable, failed: Mapping[ModelRef, Exception], away: str | None) -> str | None:
        answers = _answers(self._service.snapshot)
        if away is not None:
            return f"{answers}; the newest epoch is not known: {away}"
        causes = "; ".join(f"{ref}: {error}" for ref, error in failed.items())
        if causes and self.epoch != table.epoch:
            return f"{answers}; epoch {table.epoch} must wait for {causes}"
        return causes or None

    def _load_asked(self) -> None:
        """Begin to load versions that clients have asked for, few at a time."""
        with self._lock:
            asked = [ref for ref in self._asked if ref not in self.warm]
        going_on = sum(map(self.loads.is_loading, asked))
        for ref in asked:
            if going_on >= MAX_ASKED_AT_ONCE:
                return
            if self.loads.is_loading(ref):
                continue
            state = self.loads.want(ref)
            if state.is_loading:
                going_on += 1
            elif state.error is not None:
                self._end(ref, state.error)

    def _answer_asked(self, warm: Set[ModelRef]) -> None:
        with self._lock:
            answered = [ref for ref in self._asked if ref in warm]
        for ref in answered:
            self._end(ref, None)

    def _end(self, ref: ModelRef, error: Exception | None) -> None:
        with self._lock:
            future = self._asked.pop(ref)
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def _publish(
        self, table: RouteTable, models: dict[ModelRef, Forecaster], failed: Mapping[ModelRef, Exception], away: str | None
    ) -> None:
        """Swap table and models as one pointer, the table when its versions are warm; give up the versions that nobody asks for."""
        before = self._service.snapshot
        answering = table if all(ref in models for ref in _answering(table)) else before.table
        now_ns = time.time_ns()
        for ref in models.keys() - before.models.keys():
            self._service.asked_ns.setdefault(ref, now_ns)
        kept = {*table.models(), *answering.models()}
        self._sizes = {ref: self._sizes.get(ref) or self._loader.size_bytes(ref) for ref in models}
        spare_ns = {ref: self._service.asked_ns.get(ref, 0) for ref in models.keys() - kept}
        for ref, why in self._bounds.let_go(self._sizes, spare_ns, now_ns).items():
            del models[ref], self._sizes[ref]
            self._service.asked_ns.pop(ref, None)
            self.evictions += 1
            logger.info("version %s is unloaded: %s", ref, why)
        models, numbers = self._calibrating.served(models)
        after = Snapshot(answering, models) if answering.champion is not None else _without_routes(answering, table, models, failed, away)
        after = replace(after, calibrations=numbers)
        if after == before:
            return
        self._service.snapshot = after
        if after.stand_in != before.stand_in and after.stand_in is not None:
            logger.error("%s stands in for epoch %d, a version of which cannot be loaded", after.stand_in, table.epoch)
        if answering.epoch != before.table.epoch:
            logger.info("epoch %d answers now", answering.epoch)


def _without_routes(
    answering: RouteTable, table: RouteTable, models: dict[ModelRef, Forecaster], failed: Mapping[ModelRef, Exception], away: str | None
) -> Snapshot:
    """The snapshot of a process in which no routes answer yet: with a stand-in as soon as waiting for them may be in vain."""
    if table.champion is None:
        return Snapshot(answering, models, absence=NOTHING_DEPLOYED if away is None else f"the routes are not known: {away}")
    if failed.keys().isdisjoint(_answering(table)):
        missing = ", ".join(str(ref) for ref in _answering(table) if ref not in models)
        absence = f"{table.champion} is champion and cannot answer yet: {missing} is being loaded; try again in a second"
        return Snapshot(answering, models, table, absence=absence)
    stand_in = next((ref for ref in (table.champion, table.previous) if ref is not None and ref in models), BASELINE)
    return Snapshot(answering, models, table, stand_in)


def _answers(snapshot: Snapshot) -> str:
    """Who answers, in words."""
    if snapshot.table.champion is not None:
        return f"epoch {snapshot.table.epoch} answers"
    return "nothing answers" if snapshot.stand_in is None else f"{snapshot.stand_in} stands in and answers everybody"


def _detail(snapshot: Snapshot, wanted: _Wanted) -> str:
    if wanted.trouble is not None:
        return wanted.trouble
    if wanted.table.champion is None:
        return NOTHING_DEPLOYED
    if wanted.table.epoch != snapshot.table.epoch:
        return f"epoch {wanted.table.epoch} is known and its models are being loaded; {_answers(snapshot)} meanwhile"
    return _answers(snapshot)


def _answering(table: RouteTable) -> tuple[ModelRef, ...]:
    """The versions that may be drawn; `previous` is kept warm beside them for a rollback."""
    return table.drawn()
