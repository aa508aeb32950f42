"""Looks at every routed experiment: its figures, the verdict on them, and what follows."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from trajops.clock import now
from trajops.contracts.experiments import ExperimentOut, VerdictOut
from trajops.errors import Conflict, NotFound, TrajOpsError, Unavailable
from trajops.experiments.decisions import HARM, Decision, decision
from trajops.experiments.lifecycle import ROUTED, ExperimentState
from trajops.experiments.verdict import judge
from trajops.ports import Clock, ExperimentSource
from trajops.rollouts.lifecycle import ACTIVE
from trajops.services.experiments import Experiments
from trajops.stores import UnitOfWorkFactory

ACTOR = "worker:judge_experiments"
# A verdict is kept for the chart this often, or, of an experiment that has run for long, after a hundredth of its age.
KEPT_EVERY = timedelta(seconds=10)
KEPT_SHARE = 0.01

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Judged:
    """One look at one experiment.

    Attributes:
        experiment: before it.
        verdict: on it.
        decided: what followed, if anything did.
    """

    experiment: ExperimentOut
    verdict: VerdictOut
    decided: str | None


class Judge:
    """Judges experiments.

    Args:
        source: where figures are read.
        unit_of_work: opens transactions.
        experiments: does what follows.
        clock: what time it is.
        every_s: how often it looks.
    """

    def __init__(
        self, source: ExperimentSource, unit_of_work: UnitOfWorkFactory, experiments: Experiments, clock: Clock, every_s: float = 60.0
    ) -> None:
        self._source = source
        self._unit_of_work = unit_of_work
        self._experiments = experiments
        self._clock = clock
        self._every_s = every_s
        self._failed: Mapping[str, str] = {}
        self._enrolled: tuple[int, dict[str, datetime | None]] = (0, {})

    def run(self) -> list[Judged]:
        """Look at each once. One that changes meanwhile is left for the next look, and one that cannot be judged stops no other.

        Raises:
            Unavailable: if lake or database do not answer.
            TrajOpsError: after the last one, if any could not be judged.
        """
        with self._unit_of_work(read_only=True) as uow:
            route = uow.routes.table()
            if route.is_stopped:  # by hand: nothing comes in, and that is nobody's fault
                return []
            routed = uow.experiments.newest(states=ROUTED)
            steps = {one.experiment_id: one.entered_at for one in uow.rollouts.newest(states=ACTIVE)}
            if self._enrolled[0] != route.epoch:
                self._enrolled = route.epoch, {one.experiment_id: uow.routes.enrolled_since(one.experiment_id) for one in routed}
        enrolled = self._enrolled[1]
        judged, failed = [], dict[str, Exception]()
        for one in routed:
            try:
                judged.append(self._judged(one, steps.get(one.experiment_id), enrolled.get(one.experiment_id)))
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are judged all the same
                failed[one.experiment_id] = error
        self._tell(failed, len(judged))
        return judged

    def _tell(self, failed: Mapping[str, Exception], judged: int) -> None:
        """Raise what kept experiments from being judged; what repeats itself every few seconds is logged once."""
        reasons = {experiment_id: f"{type(error).__name__}: {error}" for experiment_id, error in failed.items()}
        for experiment_id, error in failed.items():
            if reasons[experiment_id] != self._failed.get(experiment_id):
                logger.error("experiment %s could not be judged", experiment_id, exc_info=error)
        self._failed = reasons
        away = next((error for error in failed.values() if isinstance(error, Unavailable)), None)
        if away is not None and not judged:
            raise away
        if failed:
            said = "; ".join(f"experiment {experiment_id}: {reason}" for experiment_id, reason in reasons.items())
            raise TrajOpsError(f"{len(failed)} could not be judged, {judged} were. {said}")

    def _judged(self, experiment: ExperimentOut, step_began_at: datetime | None, enrolled_since: datetime | None) -> Judged:
        at = now(self._clock)
        plan = experiment.plan
        since = experiment.started_at or experiment.created_at
        slow_ms = next((one.slow_ms for one in plan.guardrails if one.kind == "slow_answers"), float("inf"))
        figures = self._source.figures(experiment.experiment_id, plan, since, at, slow_ms, step_began_at, enrolled_since)
        is_paused = experiment.state == ExperimentState.PAUSED
        verdict = judge(
            plan,
            figures,
            since,
            experiment.closed_arms,
            experiment.verdict,
            is_paused=is_paused,
            has_won=experiment.winner is not None,
            every_s=self._every_s,
        )
        found = decision(plan, verdict)
        with self._unit_of_work() as uow:
            last = uow.experiments.last_kept_at(experiment.experiment_id)
            keep = found is not None or last is None or at - last >= max(KEPT_EVERY, KEPT_SHARE * (at - since))
            uow.experiments.note(experiment.experiment_id, verdict, keep=keep)
        if found is None or not _acts(experiment.state, found):
            return Judged(experiment, verdict, None)
        try:
            self._experiments.decide(experiment.experiment_id, experiment.version, found, verdict, actor=ACTOR)
        except (Conflict, NotFound) as error:
            logger.warning("experiment %s was changed while it was judged: %s", experiment.experiment_id, error)
            return Judged(experiment, verdict, None)
        logger.warning(
            "experiment %s (%s): %s %s: %s", experiment.experiment_id, plan.name, found.kind, found.variant or "", verdict.sentence
        )
        return Judged(experiment, verdict, found.kind)


def _acts(state: ExperimentState, found: Decision) -> bool:
    """A decision latches: what is paused is only taken back for harm, or ends at its horizon; what is recommended may also be paused.

    A rollout has a horizon of its own, which ends also what it compares and has recommended.
    """
    allowed = {ExperimentState.PAUSED: HARM | {"inconclusive"}, ExperimentState.RECOMMENDED: HARM | {"invalid"}}
    return state not in allowed or found.kind in allowed[state]
