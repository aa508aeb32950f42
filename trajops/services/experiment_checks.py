"""Whether a planned experiment can be launched now, and how long it will take."""

from collections.abc import Callable, Collection
from datetime import timedelta

from trajops.clock import now
from trajops.contracts.experiments import ChecklistOut, ExperimentPlan
from trajops.deployments.model_ref import ModelRef
from trajops.experiments.checklist import MOST_S, MOST_UNITS, checks, expected_s, expected_units
from trajops.ports import Clock, ExperimentSource
from trajops.services.comparisons import obstacle_of, routed_as
from trajops.stores import UnitOfWorkFactory

# So much of the recent traffic is looked at: a day has all hours in it.
LOOK_BACK = timedelta(days=1)


class ExperimentChecks:
    """Holds plans against the recent traffic and the present routes.

    Args:
        source: where traffic is read.
        unit_of_work: opens transactions.
        warm: the versions that are warm here.
        model_name: the registered model.
        clock: what time it is.
    """

    def __init__(
        self,
        source: ExperimentSource,
        unit_of_work: UnitOfWorkFactory,
        warm: Callable[[], Collection[ModelRef]],
        *,
        model_name: str,
        clock: Clock,
    ) -> None:
        self._source = source
        self._unit_of_work = unit_of_work
        self._warm = warm
        self._model_name = model_name
        self._clock = clock

    def of(self, plan: ExperimentPlan) -> ChecklistOut:
        """The checklist of a plan.

        Raises:
            Unavailable: if lake or database do not answer.
        """
        at = now(self._clock)
        versions = {arm.model_version: ModelRef(self._model_name, arm.model_version) for arm in plan.arms}
        with self._unit_of_work(read_only=True) as uow:
            route = uow.routes.table()
            deployed = {version: uow.deployments.of_model(ref) for version, ref in versions.items()}
        traffic = self._source.traffic(at - LOOK_BACK, at, plan.unit, plan.metric)
        states = {version: None if found is None else found.state for version, found in deployed.items()}
        warm = {version: ref in self._warm() for version, ref in versions.items()}
        obstacle = obstacle_of(route, routed_as("check", "", plan, self._model_name))
        held_out = 0.0 if route.holdout is None else route.holdout.share
        lines = list(checks(plan, traffic, states, warm, obstacle, held_out))
        units, seconds = expected_units(plan, traffic), expected_s(plan, traffic, held_out)
        return ChecklistOut(
            can_launch=all(line.state != "blocked" for line in lines),
            checks=lines,
            units_per_day=traffic.units_per_day,
            expected_units=None if units is None or units > MOST_UNITS else round(units),
            expected_s=None if seconds is None or seconds > MOST_S else round(seconds),
        )
