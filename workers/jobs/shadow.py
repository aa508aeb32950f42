"""Job `shadow`: treatments predict beside the answers of their control, off the path of the answers (docs/decisions/0030).

Each run takes the answers that were received since the last one, and writes what the treatments would have said. Where it got to is on
record with the run, treatment by treatment, so that whichever worker comes next goes on there. A run that was killed before it was on
record is repeated, and finds what it had written in the lake.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from trajops.clock import MOST_APART, to_ns, utc
from trajops.contracts.jobs import JobRunOut
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.errors import NotFound
from trajops.ports import Clock
from trajops.services.shadows import Beside, Shadows, Treatment, Wanted
from trajops.stores import UnitOfWork, UnitOfWorkFactory
from trajops.telemetry import PredictionEvent

JOB = "shadow"
# In the result of a run: from when on each treatment has to be looked after next, server's clock.
NEXT = "next_ns"
# What became too old while no worker ran is counted, but for so long only, a piece at a time: counting a week would take minutes.
MOST_COUNTED_NS, PIECE_NS = 3_600 * 10**9, 300 * 10**9


class Waiting(Protocol):
    """The part of `data.lake.shadow_source.Waiting` that the job needs."""

    @property
    def newest(self) -> list[Beside]:
        """To be predicted, newest answer first."""
        ...

    @property
    def total(self) -> int:
        """How many there are in all."""
        ...


class ShadowSource(Protocol):
    """The part of `data.lake.shadow_source` that the job needs."""

    def waiting(self, table: RouteTable, wanted: Sequence[Wanted], most: int, *, until_ns: int | None = None) -> Waiting:
        """What treatments have not predicted yet."""
        ...


class Warm(Protocol):
    """The part of `workers.warm` that the job needs."""

    def ready(self, refs: Sequence[ModelRef]) -> Mapping[ModelRef, Treatment]:
        """Those that can predict."""
        ...

    @property
    def missing(self) -> Mapping[ModelRef, str]:
        """Those that cannot, and why."""
        ...


class Bounds(NamedTuple):
    """What one run may do.

    Attributes:
        most: predictions.
        look_back_ns: older answers are passed over: what is predicted beside them would be scored no more.
        slack_ns: an answer may appear in the lake so long after its receipt, and is looked for so long.
    """

    most: int
    look_back_ns: int
    slack_ns: int


class Shadow:
    """Runs the job.

    Args:
        unit_of_work: opens transactions.
        source: finds the answers.
        warm: holds the treatments.
        shadows: predicts.
        write: appends predictions to the lake in one write, or raises and keeps none.
        bounds: of one run.
        clock: server's.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        source: ShadowSource,
        warm: Warm,
        shadows: Shadows,
        write: Callable[[list[PredictionEvent]], None],
        bounds: Bounds,
        clock: Clock,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._source = source
        self._warm = warm
        self._shadows = shadows
        self._write = write
        self._bounds = bounds
        self._clock = clock
        self._table = RouteTable(0)

    def run(self) -> dict[str, Any]:
        """Predict once. Where no shadow is routed, this is one look at the epoch.

        Raises:
            Unavailable: if database or lake cannot be read, or the predictions cannot be written; the next run begins where this one did.
        """
        now_ns = self._clock.now_ns()
        with self._unit_of_work(read_only=True) as work:
            if work.routes.epoch() != self._table.epoch:
                self._table = work.routes.table()
            wanted = self._wanted(work, now_ns) if self._table.shadowing() else []
        treatments = self._warm.ready([one.arm.model for one in wanted])
        if not wanted:
            return {}
        floor_ns = now_ns - self._bounds.look_back_ns
        dropped = self._too_old(wanted, floor_ns)
        wanted = [one._replace(since_ns=max(one.since_ns, floor_ns)) for one in wanted]
        is_ready = [one for one in wanted if one.arm.model in treatments]
        waiting = self._source.waiting(self._table, is_ready, self._bounds.most)
        made = self._shadows.predict(waiting.newest, treatments, self._table.epoch)
        if made.events:
            self._write(made.events)
        passed_over = waiting.total - made.taken
        next_ns = now_ns - self._bounds.slack_ns
        if passed_over:
            # They are counted now, and must not come up again while late ones are looked for.
            next_ns = max(next_ns, made.events[0].received_ns + 1)
        waits = [one for one in wanted if one.arm.model not in treatments]
        return {
            "predicted": made.taken - made.failed,
            "failed": made.failed,
            "dropped": dropped + passed_over,
            NEXT: {one.key: max(one.since_ns, next_ns) for one in is_ready} | {one.key: one.since_ns for one in waits},
            **({"missing": {str(ref): why for ref, why in self._warm.missing.items()}} if waits else {}),
        }

    def _wanted(self, work: UnitOfWork, now_ns: int) -> list[Wanted]:
        last = work.jobs.last_success(JOB, until=utc(now_ns) + MOST_APART)
        found = []
        for experiment, arm in self._table.shadowing():
            one = Wanted(experiment, arm, 0)
            known_ns = None if last is None else last.result.get(NEXT, {}).get(one.key)
            since_ns = self._begun_ns(work, experiment.experiment_id, last, now_ns) if known_ns is None else int(known_ns)
            found.append(one._replace(since_ns=min(since_ns, now_ns)))
        return found

    def _begun_ns(self, work: UnitOfWork, experiment_id: str, last: JobRunOut | None, now_ns: int) -> int:
        """From when on a treatment is wanted that the last run did not look after: it was launched since, or goes on again."""
        try:
            started_at = work.experiments.get(experiment_id).started_at
        except NotFound:
            started_at = None
        # The last run found it not routed.
        routed_ns = now_ns - self._bounds.slack_ns if last is None else to_ns(last.started_at)
        if started_at is None:
            return routed_ns
        return to_ns(started_at) if last is None else max(to_ns(started_at), routed_ns)

    def _too_old(self, wanted: Sequence[Wanted], floor_ns: int) -> int:
        """How many answers have become too old while nobody predicted beside them."""
        late = [one for one in wanted if one.since_ns < floor_ns]
        count = 0
        if late:
            begin_ns = max(min(one.since_ns for one in late), floor_ns - MOST_COUNTED_NS)
            for piece_ns in range(begin_ns, floor_ns, PIECE_NS):
                end_ns = min(piece_ns + PIECE_NS, floor_ns)
                within = [one._replace(since_ns=max(one.since_ns, piece_ns)) for one in late if one.since_ns < end_ns]
                count += self._source.waiting(self._table, within, 0, until_ns=end_ns).total
        return count
