"""Experiments: drafted, checked, launched, watched and ended; each change is one transaction of state, routes and audit."""

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import uuid4

from pydantic import BaseModel

from trajops.clock import SystemClock
from trajops.contracts.experiments import (
    ArmIn,
    ChecklistOut,
    ExperimentChangeOut,
    ExperimentOut,
    ExperimentPlan,
    ExperimentsOut,
    HoldoutOut,
    KillSwitchOut,
    VerdictOut,
    VerdictsOut,
)
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict, IllegalTransition, InvalidInput, StaleVersion
from trajops.experiments.decisions import HARM, Decision
from trajops.experiments.lifecycle import ROUTED, ExperimentState
from trajops.experiments.routed import Holdout
from trajops.ports import Clock
from trajops.services import comparisons
from trajops.services.once import Asked, once
from trajops.services.step import Step, expected_experiment
from trajops.stores import UnitOfWork, UnitOfWorkFactory

Answer = TypeVar("Answer", bound=BaseModel)
MOST_HELD_OUT = 0.5


class Experiments:
    """The use cases of experiments, for one registered model.

    Every change names its actor and reason. With an idempotency key, the same request of the same actor is answered as it was the first
    time.

    Args:
        unit_of_work: opens transactions of the control state.
        model_name: the registered model.
        make_ready: called with a version before it may take traffic, outside of any transaction; what it raises refuses the change.
        check: the checklist before a launch; None: nothing but the state of routes and deployments can block it.
        clock: stamps the changes.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        *,
        model_name: str = "trajectory",
        make_ready: Callable[[ModelRef], None] | None = None,
        check: Callable[[ExperimentPlan], ChecklistOut] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._model_name = model_name
        self._make_ready = make_ready
        self._check = check
        self._clock: Clock = clock or SystemClock()

    def newest(self, limit: int = 100) -> ExperimentsOut:
        """Newest first."""
        with self._unit_of_work(read_only=True) as uow:
            return ExperimentsOut(experiments=uow.experiments.newest(limit=limit))

    def get(self, experiment_id: str) -> ExperimentOut:
        """One experiment.

        Raises:
            NotFound: if there is none with that id.
        """
        with self._unit_of_work(read_only=True) as uow:
            return uow.experiments.get(experiment_id)

    def verdicts(self, experiment_id: str) -> VerdictsOut:
        """How its verdict went over time.

        Raises:
            NotFound: if there is none with that id.
        """
        with self._unit_of_work(read_only=True) as uow:
            uow.experiments.get(experiment_id)
            return VerdictsOut(verdicts=uow.experiments.verdicts(experiment_id))

    def create(
        self, plan: ExperimentPlan, *, actor: str, reason: str, is_launched: bool = False, idempotency_key: str | None = None
    ) -> ExperimentChangeOut:
        """Write a draft, which changes no traffic; or, in the same transaction, launch it.

        Raises:
            NotFound: if a version of its arms was never registered.
            TrajOpsError: as `launch` raises; nothing is written then.
        """

        def prepare() -> None:
            if is_launched:
                self._may_launch(plan)

        def change(uow: UnitOfWork) -> ExperimentChangeOut:
            if plan.mode == "watch":
                raise InvalidInput(
                    "only the bake of a rollout lets a predecessor watch; plan a shadow to compare versions on the same requests"
                )
            step = Step(uow, self._clock, "experiment.launch" if is_launched else "experiment.create", actor, reason)
            for arm in plan.arms:
                uow.model_versions.get(ModelRef(self._model_name, arm.model_version))
            draft = comparisons.drafted(step, plan)
            return step.finish_experiment(comparisons.begin(step, draft) if is_launched else draft)

        payload = {"plan": plan.model_dump(mode="json"), "reason": reason, "is_launched": is_launched}
        return self._once(change, ExperimentChangeOut, actor, "experiment.create", payload, idempotency_key, prepare=prepare)

    def launch(
        self, experiment_id: str, expected_version: int, *, actor: str, reason: str, idempotency_key: str | None = None
    ) -> ExperimentChangeOut:
        """Route the units of a draft; its versions, which must be staged, are made warm first.

        Raises:
            NotFound, StaleVersion: as the experiment is gone or has changed.
            Conflict: if its control is not the champion, another experiment enrols the same units or versions, or the checklist blocks it.
            IllegalTransition: if it is no draft, or a version is not staged.
            TrajOpsError: as `make_ready` raises.
        """

        def prepare() -> None:
            with self._unit_of_work(read_only=True) as uow:
                experiment = expected_experiment(uow, experiment_id, expected_version)
            # Also what is paused, and a winner that is taken back, runs again; but neither is launched.
            if experiment.state != ExperimentState.DRAFT:
                raise IllegalTransition(f"only a draft is launched, and this experiment is {experiment.state}")
            self._may_launch(experiment.plan)

        change = comparisons.begin
        return self._changed("launch", experiment_id, expected_version, change, actor, reason, idempotency_key, prepare=prepare)

    def cover(
        self,
        experiment_id: str,
        expected_version: int,
        coverage: float,
        *,
        actor: str,
        reason: str,
        idempotency_key: str | None = None,
    ) -> ExperimentChangeOut:
        """Enrol another share of the units, or go on after a pause; nobody changes arms.

        Raises:
            InvalidInput: if coverage is not in (0, 1].
            NotFound, StaleVersion, Conflict: as the experiment is gone, has changed, or is not routed.
        """
        if not 0 < coverage <= 1:
            raise InvalidInput(f"coverage must be above 0 and at most 1, not {coverage}")

        def change(step: Step, experiment: ExperimentOut) -> ExperimentOut:
            return comparisons.cover(step, experiment, coverage)

        return self._changed("cover", experiment_id, expected_version, change, actor, reason, idempotency_key, coverage=coverage)

    def pause(
        self, experiment_id: str, expected_version: int, *, actor: str, reason: str, idempotency_key: str | None = None
    ) -> ExperimentChangeOut:
        """Take the traffic from the treatments; everybody's arm is kept.

        Raises:
            NotFound, StaleVersion, Conflict, IllegalTransition: as the experiment is gone, has changed, or cannot be paused.
        """

        def change(step: Step, experiment: ExperimentOut) -> ExperimentOut:
            return comparisons.pause(step, experiment, f"Paused: {reason}")

        return self._changed("pause", experiment_id, expected_version, change, actor, reason, idempotency_key)

    def stop(
        self,
        experiment_id: str,
        expected_version: int,
        winner: str | None = None,
        *,
        actor: str,
        reason: str,
        idempotency_key: str | None = None,
    ) -> ExperimentChangeOut:
        """End it: without a winner, or with the control, the champion stays; a treatment that wins is promoted. A draft is discarded.

        Raises:
            NotFound, StaleVersion, Conflict, IllegalTransition: as the experiment is gone, has changed, or is over.
            InRollout: if a treatment wins whose rollout is not over.
        """

        def change(step: Step, experiment: ExperimentOut) -> ExperimentOut:
            if experiment.state == ExperimentState.DRAFT:
                return step.move_experiment(experiment, ExperimentState.DISCARDED, ended_at=step.at, sentence=f"Discarded: {reason}")
            control = experiment.plan.arms[0].variant
            if winner in {None, control}:
                return comparisons.end(step, experiment, ExperimentState.STOPPED, f"Stopped: {reason}", winner=winner)
            return self._promoted(step, experiment, str(winner))

        return self._changed("stop", experiment_id, expected_version, change, actor, reason, idempotency_key, winner=winner)

    def override(
        self,
        experiment_id: str,
        expected_version: int,
        unit_id: str,
        variant: str | None,
        *,
        actor: str,
        reason: str,
        idempotency_key: str | None = None,
    ) -> ExperimentChangeOut:
        """Put a unit into an arm by hand; what it is answered so is in no figure; without a variant, back to where it belongs.

        Raises:
            InvalidInput: if there is no such arm.
            NotFound, StaleVersion, Conflict: as the experiment is gone, has changed, or is not routed.
        """

        def change(step: Step, experiment: ExperimentOut) -> ExperimentOut:
            return comparisons.override(step, experiment, unit_id, variant)

        return self._changed(
            "override", experiment_id, expected_version, change, actor, reason, idempotency_key, unit_id=unit_id, variant=variant
        )

    def switch(
        self, expected_epoch: int, *, is_stopped: bool, actor: str, reason: str, idempotency_key: str | None = None
    ) -> KillSwitchOut:
        """The kill switch: the champion answers everybody, whatever is being compared; or that is over.

        Raises:
            StaleVersion: if the routes have changed since that epoch.
            Conflict: if it is so already.
        """

        def change(uow: UnitOfWork) -> KillSwitchOut:
            step = Step(uow, self._clock, "experiments.stop_all" if is_stopped else "experiments.go_on", actor, reason)
            _expect_epoch(step, expected_epoch)
            if step.route.is_stopped == is_stopped:
                raise Conflict("experiments are stopped already" if is_stopped else "experiments are not stopped")
            step.reroute(is_stopped=is_stopped)
            audit_id, epoch = step.finish_switch()
            return KillSwitchOut(is_stopped=is_stopped, epoch=epoch, audit_id=audit_id)

        payload = {"expected_epoch": expected_epoch, "is_stopped": is_stopped, "reason": reason}
        return self._once(change, KillSwitchOut, actor, "experiments.switch", payload, idempotency_key)

    def hold_out(self, expected_epoch: int, share: float, *, actor: str, reason: str, idempotency_key: str | None = None) -> HoldoutOut:
        """Keep a share of all units out of every experiment, those that run as well; the champion answers them.

        The seed is its own, and is kept: with another share the first ones of the same order are held out.

        Raises:
            InvalidInput: if share is not in [0, 0.5].
            StaleVersion: if the routes have changed since that epoch.
            Conflict: if so many are held out already.
        """
        if not 0 <= share <= MOST_HELD_OUT:
            raise InvalidInput(f"at most half of the units can be held out, not {share:g}")

        def change(uow: UnitOfWork) -> HoldoutOut:
            step = Step(uow, self._clock, "experiments.hold_out", actor, reason)
            _expect_epoch(step, expected_epoch)
            present = step.route.holdout or Holdout(0.0, uuid4().hex)
            if present.share == share:
                raise Conflict(f"{100 * share:g} % of the units are held out already")
            step.reroute(holdout=present._replace(share=share))
            audit_id, epoch = step.finish_switch()
            return HoldoutOut(share=share, epoch=epoch, audit_id=audit_id)

        payload = {"expected_epoch": expected_epoch, "share": share, "reason": reason}
        return self._once(change, HoldoutOut, actor, "experiments.hold_out", payload, idempotency_key)

    def decide(
        self, experiment_id: str, expected_version: int, decision: Decision, verdict: VerdictOut, *, actor: str
    ) -> ExperimentChangeOut:
        """Do what follows from a verdict, which is kept with it. What was decided before stays decided.

        Raises:
            NotFound, StaleVersion, Conflict, IllegalTransition: as the experiment is gone, has changed, or is not routed.
        """

        def change(step: Step, experiment: ExperimentOut) -> ExperimentOut:
            said = experiment.model_copy(update={"verdict": verdict})
            if experiment.state == ExperimentState.PAUSED and decision.kind not in HARM | {"inconclusive"}:
                raise Conflict("the experiment is paused, so that nothing but harm and its horizon ends it")
            if decision.kind in HARM:
                return comparisons.close_arm(step, said, str(decision.variant), verdict.sentence)
            if decision.kind == "invalid":
                return comparisons.pause(step, said, verdict.sentence)
            if decision.kind == "inconclusive":
                return comparisons.give_up(step, said, verdict.sentence)
            if experiment.winner is not None:
                raise Conflict(f"{experiment.winner!r} has won, and is only ever taken back for harm")
            if experiment.plan.stop.on_win == "promote":
                return self._promoted(step, said, str(decision.variant))
            _check_may_win(said, str(decision.variant))
            return step.move_experiment(said, ExperimentState.RECOMMENDED, winner=decision.variant, sentence=verdict.sentence)

        action = f"decide_{decision.kind}"
        return self._changed(action, experiment_id, expected_version, change, actor, verdict.sentence[:500], None, cause=verdict)

    def _may_launch(self, plan: ExperimentPlan) -> None:
        """Make the versions of a plan ready, and refuse what the checklist blocks."""
        if self._make_ready is not None:
            for arm in plan.arms:
                self._make_ready(ModelRef(self._model_name, arm.model_version))
        if self._check is not None:
            blocked = [one for one in self._check(plan).checks if one.state == "blocked"]
            if blocked:
                raise Conflict("; ".join(f"{one.name}: {one.detail}" for one in blocked), checks=[one.model_dump() for one in blocked])

    def _promoted(self, step: Step, experiment: ExperimentOut, winner: str) -> ExperimentOut:
        arm = _check_may_win(experiment, winner)
        if experiment.state not in ROUTED:
            raise Conflict(f"the experiment is {experiment.state}; promote the version under Models instead")
        ref = ModelRef(self._model_name, arm.model_version)
        comparisons.check_not_rolled_out(step, ref, experiment.experiment_id)
        deployment = step.uow.deployments.of_model(ref)
        if deployment is None or ref == step.route.champion:
            raise Conflict(f"{ref} is champion already; stop the experiment without a winner")
        if experiment.verdict is not None:
            step.uow.experiments.note(experiment.experiment_id, experiment.verdict, keep=False)
        comparisons.promote(step, deployment)
        return step.uow.experiments.get(experiment.experiment_id)

    def _changed(
        self,
        action: str,
        experiment_id: str,
        expected_version: int,
        change: Callable[[Step, ExperimentOut], ExperimentOut],
        actor: str,
        reason: str,
        idempotency_key: str | None,
        *,
        prepare: Callable[[], None] | None = None,
        cause: VerdictOut | None = None,
        **payload: Any,
    ) -> ExperimentChangeOut:
        def changed(uow: UnitOfWork) -> ExperimentChangeOut:
            step = Step(uow, self._clock, f"experiment.{action}", actor, reason)
            return step.finish_experiment(change(step, expected_experiment(uow, experiment_id, expected_version)), cause)

        asked = {"experiment_id": experiment_id, "expected_version": expected_version, "reason": reason, **payload}
        return self._once(changed, ExperimentChangeOut, actor, f"experiment.{action}", asked, idempotency_key, prepare=prepare)

    def _once(
        self,
        change: Callable[[UnitOfWork], Answer],
        gives: type[Answer],
        actor: str,
        action: str,
        payload: dict[str, Any],
        idempotency_key: str | None,
        *,
        prepare: Callable[[], None] | None = None,
    ) -> Answer:
        return once(self._unit_of_work, self._clock, Asked(actor, action, payload, idempotency_key), gives, change, prepare=prepare)


def _check_may_win(experiment: ExperimentOut, winner: str) -> ArmIn:
    """The arm of a treatment that is still being compared; raise Conflict where there is none of that name."""
    compared = {arm.variant: arm for arm in experiment.plan.arms if arm.variant not in experiment.closed_arms}
    if winner not in compared or winner == experiment.plan.arms[0].variant:
        raise Conflict(f"{winner!r} cannot win; what is being compared is {', '.join(compared)}")
    return compared[winner]


def _expect_epoch(step: Step, epoch: int) -> None:
    """Raise StaleVersion unless the routes are those that the caller has seen."""
    if step.route.epoch != epoch:
        raise StaleVersion(
            f"the routes are in epoch {step.route.epoch}, not {epoch}: somebody changed them; read them again and repeat",
            present_epoch=step.route.epoch,
        )
