"""Takes experiments apart, where that may be done."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from trajops.clock import now
from trajops.contracts.experiments import ExperimentErrorsOut, ExperimentPlan, ExperimentSliceBy, ExperimentSlicesOut
from trajops.experiments.slices import (
    ERRORS_LABEL,
    LABEL,
    SHARES,
    ErrorSpread,
    Slices,
    comparable,
    confidence,
    explore,
    hidden_because,
    spread,
)
from trajops.performance.rules import SpeedBand
from trajops.ports import Clock, ExperimentSliceSource
from trajops.stores import UnitOfWorkFactory

Remember = Callable[[Callable[[], Slices]], Slices]
RememberErrors = Callable[[Callable[[], ErrorSpread]], ErrorSpread]


class ExperimentSlices:
    """Exploratory views of experiments.

    Args:
        source: where sums are read.
        unit_of_work: opens transactions.
        bands: of speed.
        clock: what time it is.
    """

    def __init__(self, source: ExperimentSliceSource, unit_of_work: UnitOfWorkFactory, bands: Sequence[SpeedBand], clock: Clock) -> None:
        self._source = source
        self._unit_of_work = unit_of_work
        self._bands = bands
        self._clock = clock

    def of(self, experiment_id: str, by: ExperimentSliceBy, remember: Remember = lambda read: read()) -> ExperimentSlicesOut:
        """One experiment taken apart; without figures, and with the reason, while its data are invalid or nobody knows.

        Args:
            experiment_id: which.
            by: what it is taken apart by.
            remember: may give the sums of a moment ago instead of reading them; whether they may be shown is asked each time.

        Raises:
            NotFound: if there is none with that id.
            Unavailable: if lake or database do not answer.
        """
        asked = self._asked(experiment_id)
        plan = asked.plan
        shown = ExperimentSlicesOut(
            experiment_id=experiment_id,
            by=by,
            label=LABEL,
            hidden_because=asked.hidden_because,
            since=None,
            until=None,
            confidence=confidence(plan),
            slices=[],
            left_out=0,
        )
        if asked.span is None:
            return shown
        since, until = asked.span
        found = remember(lambda: self._source.slices(experiment_id, plan, since, until, by, self._bands))
        rows = explore(plan, found.found, asked.comparable)
        return shown.model_copy(update={"since": found.since, "until": until, "slices": rows, "left_out": found.left_out})

    def errors(self, experiment_id: str, remember: RememberErrors = lambda read: read()) -> ExperimentErrorsOut:
        """How the errors of units are spread in each arm; without figures, and with the reason, as `of`.

        Args:
            experiment_id: which.
            remember: may give the quantiles of a moment ago instead of reading them; whether they may be shown is asked each time.

        Raises:
            NotFound: if there is none with that id.
            Unavailable: if lake or database do not answer.
        """
        asked = self._asked(experiment_id)
        plan = asked.plan
        shown = ExperimentErrorsOut(
            experiment_id=experiment_id,
            metric=plan.metric,
            label=ERRORS_LABEL,
            hidden_because=asked.hidden_because,
            since=None,
            until=None,
            shares=list(SHARES),
            arms=[],
        )
        if asked.span is None:
            return shown
        since, until = asked.span
        found = remember(lambda: self._source.errors(experiment_id, plan, since, until))
        return shown.model_copy(update={"since": found.since, "until": until, "arms": spread(plan, found.arms, asked.comparable)})

    def _asked(self, experiment_id: str) -> "_Asked":
        at = now(self._clock)
        with self._unit_of_work(read_only=True) as uow:
            experiment = uow.experiments.get(experiment_id)
        hidden, began_at = hidden_because(experiment, at), experiment.started_at
        span = None if hidden is not None or began_at is None else (began_at, experiment.ended_at or at)
        return _Asked(experiment.plan, span, hidden, comparable(experiment))


class _Asked(NamedTuple):
    """What may be shown of an experiment: of which time, None for nothing, and why not; and which treatments are compared."""

    plan: ExperimentPlan
    span: tuple[datetime, datetime] | None
    hidden_because: str | None
    comparable: Collection[str]
