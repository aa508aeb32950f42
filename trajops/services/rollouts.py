"""Rollouts: started and steered by people, advanced by a job; each change is one transaction of state, routes and audit."""

import logging
from collections.abc import Callable

from trajops.alerts.lifecycle import ACTIVE as UNRESOLVED
from trajops.alerts.lifecycle import Alert, Severity
from trajops.clock import SystemClock, now
from trajops.contracts.experiments import ExperimentOut
from trajops.contracts.rollouts import GateOut, RolloutChangeOut, RolloutOut, RolloutPoliciesOut, RolloutsOut
from trajops.deployments.lifecycle import State, check_transition
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict, InvalidInput, NotFound, StaleVersion
from trajops.experiments.lifecycle import ExperimentState
from trajops.policy.decisions import VERSION_LABEL
from trajops.ports import Clock
from trajops.rollouts.gates import CriticalAlert, Look, Seen, look, place_words, waits_for_person
from trajops.rollouts.lifecycle import ACTIVE, RolloutState, Stage
from trajops.rollouts.rules import RolloutRules
from trajops.services import comparisons, rollout_steps
from trajops.services.once import Asked, once
from trajops.services.step import Step, expected_deployment, expected_rollout
from trajops.services.validations import check_validated
from trajops.stores import UnitOfWork, UnitOfWorkFactory

ACTOR = "worker:advance_rollouts"

logger = logging.getLogger(__name__)


class Rollouts:
    """The use cases of rollouts, for one registered model.

    Every change names its actor and reason. With an idempotency key, the same request of the same actor is answered as it was the first
    time.

    Args:
        unit_of_work: opens transactions of the control state.
        rules: the policies.
        model_name: the registered model.
        needs_validation: refuse to roll out a version whose newest battery has not passed.
        make_ready: called with a version before it may take traffic, outside of any transaction; what it raises refuses the change.
        clock: stamps the changes.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        rules: Callable[[], RolloutRules],
        *,
        model_name: str = "trajectory",
        needs_validation: bool = False,
        make_ready: Callable[[ModelRef], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._rules = rules
        self._model_name = model_name
        self._needs_validation = needs_validation
        self._make_ready = make_ready
        self._clock: Clock = clock or SystemClock()

    def policies(self) -> RolloutPoliciesOut:
        """What a rollout may follow."""
        rules = self._rules()
        return RolloutPoliciesOut(default=rules.default, policies=list(rules.policies))

    def newest(self, limit: int = 100) -> RolloutsOut:
        """Newest first."""
        with self._unit_of_work(read_only=True) as uow:
            return RolloutsOut(rollouts=uow.rollouts.newest(limit=limit))

    def get(self, rollout_id: str) -> RolloutOut:
        """One rollout.

        Raises:
            NotFound: if there is none with that id.
        """
        with self._unit_of_work(read_only=True) as uow:
            return uow.rollouts.get(rollout_id)

    def start(
        self,
        deployment_id: str,
        expected_version: int,
        policy: str | None = None,
        *,
        actor: str,
        reason: str,
        idempotency_key: str | None = None,
    ) -> RolloutChangeOut:
        """Begin the first stage of a staged version, which is made warm first.

        Raises:
            InvalidInput: if there is no such policy.
            NotFound, StaleVersion: as the deployment is gone or has changed.
            Conflict: if there is no champion, a rollout is active, or something else is compared on the same agents.
            IllegalTransition: if the version is not staged.
            NotValidated, BatteryFailed: as its newest validation says, where one is needed.
            TrajOpsError: as `make_ready` raises.
        """
        rules = self._rules()
        followed = rules.policy(policy)
        if followed is None:
            names = ", ".join(one.name for one in rules.policies)
            raise InvalidInput(f"there is no rollout policy {policy!r}; configs/rollouts.yaml has {names}")

        def prepare() -> None:
            with self._unit_of_work(read_only=True) as uow:
                deployment = expected_deployment(uow, deployment_id, expected_version)
            check_transition(deployment.state, State.CANARY if followed.shadow is None else State.SHADOW)
            if self._make_ready is not None:
                self._make_ready(ModelRef(deployment.model_name, deployment.model_version))

        def change(uow: UnitOfWork) -> RolloutChangeOut:
            step = Step(uow, self._clock, "rollout.start", actor, reason)
            deployment, _ = step.expect(deployment_id, expected_version)
            if self._needs_validation:
                check_validated(uow, ModelRef(deployment.model_name, deployment.model_version))
            if deployment.state != State.STAGED:
                raise Conflict(f"version {deployment.model_version} is {deployment.state}; stage it first")
            return step.finish_rollout(rollout_steps.begin(step, rollout_steps.drafted(step, deployment, followed)))

        payload = {"deployment_id": deployment_id, "expected_version": expected_version, "policy": policy, "reason": reason}
        asked = Asked(actor, "rollout.start", payload, idempotency_key)
        return once(self._unit_of_work, self._clock, asked, RolloutChangeOut, change, prepare=prepare)

    def approve(
        self, rollout_id: str, expected_version: int, *, actor: str, reason: str, idempotency_key: str | None = None
    ) -> RolloutChangeOut:
        """Let it go on, where only a person's word is missing.

        Raises:
            NotFound, StaleVersion: as the rollout is gone or has changed.
            Conflict: if nobody's word is asked for, or other gates are not passed.
        """

        def change(step: Step, rollout: RolloutOut) -> RolloutOut:
            if rollout.state != RolloutState.RUNNING or not waits_for_person(rollout.policy, rollout.stage, rollout.step):
                raise Conflict("nothing is to be approved in this step; the rollout goes on by itself, or is over")
            missing = [gate for gate in rollout.gates if gate.state != "passed" and gate.name != "approval"]
            if missing or not rollout.gates:
                said = "; ".join(gate.detail for gate in missing) or "nobody has looked at the figures yet"
                raise Conflict(f"it cannot be approved yet: {said}", gates=[gate.model_dump(mode="json") for gate in missing])
            return step.move_rollout(rollout.model_copy(update={"is_approved": True, "sentence": f"Approved: {reason}"}), rollout)

        return self._changed("approve", rollout_id, expected_version, change, actor, reason, idempotency_key)

    def pause(
        self, rollout_id: str, expected_version: int, *, actor: str, reason: str, idempotency_key: str | None = None
    ) -> RolloutChangeOut:
        """Take the traffic from the version, which stays warm; everybody's arm is kept.

        Raises:
            NotFound, StaleVersion, Conflict: as the rollout is gone, has changed, or is past the switch.
        """

        def change(step: Step, rollout: RolloutOut) -> RolloutOut:
            sentence = f"Paused: {reason}"
            comparisons.pause(step, self._compared(step, rollout), sentence)
            return step.move_rollout(rollout.model_copy(update={"state": RolloutState.PAUSED, "sentence": sentence}), rollout)

        return self._changed("pause", rollout_id, expected_version, change, actor, reason, idempotency_key)

    def resume(
        self, rollout_id: str, expected_version: int, *, actor: str, reason: str, idempotency_key: str | None = None
    ) -> RolloutChangeOut:
        """Go on after a pause: the step begins anew, and everybody comes back to the same arm.

        Raises:
            NotFound, StaleVersion, Conflict: as the rollout is gone, has changed, or is not paused.
        """

        def change(step: Step, rollout: RolloutOut) -> RolloutOut:
            if rollout.state != RolloutState.PAUSED:
                raise Conflict(f"the rollout is {rollout.state}, not paused")
            return rollout_steps.resume(step, rollout)

        return self._changed("resume", rollout_id, expected_version, change, actor, reason, idempotency_key)

    def stop(
        self, rollout_id: str, expected_version: int, *, actor: str, reason: str, idempotency_key: str | None = None
    ) -> RolloutChangeOut:
        """End it without a judgement: before the switch the version is staged again; after it, it stays champion and bakes no longer.

        Raises:
            NotFound, StaleVersion, Conflict: as the rollout is gone, has changed, or is over.
        """

        def change(step: Step, rollout: RolloutOut) -> RolloutOut:
            if rollout.stage == Stage.BAKING:
                return rollout_steps.settle(step, rollout, f"The bake was ended early: {reason}")
            sentence = f"Stopped: {reason}"
            comparisons.end(step, self._compared(step, rollout), ExperimentState.STOPPED, sentence)
            return rollout_steps.over(step, rollout, RolloutState.STOPPED, sentence)

        return self._changed("stop", rollout_id, expected_version, change, actor, reason, idempotency_key)

    def roll_back(
        self, rollout_id: str, expected_version: int, *, actor: str, reason: str, idempotency_key: str | None = None
    ) -> RolloutChangeOut:
        """Take it back at once: before the switch the champion answers everybody, after it the predecessor does.

        Raises:
            NotFound, StaleVersion, Conflict: as the rollout is gone, has changed, or is over.
        """

        def change(step: Step, rollout: RolloutOut) -> RolloutOut:
            return rollout_steps.take_back(step, rollout, f"Rolled back: {reason}")

        return self._changed("roll_back", rollout_id, expected_version, change, actor, reason, idempotency_key)

    def advance(self) -> list[tuple[RolloutOut, Look]]:
        """Look at the active rollout and do what follows. What changes meanwhile is left for the next look."""
        with self._unit_of_work(read_only=True) as uow:
            active = uow.rollouts.newest(states=ACTIVE)
            looks = [(rollout, look(rollout, self._seen(uow, rollout))) for rollout in active]
        for rollout, found in looks:
            try:
                self._follow(rollout, found)
            except StaleVersion as error:  # somebody was faster; the next look sees what they did
                logger.info("rollout %s has changed meanwhile: %s", rollout.rollout_id, error)
            except (Conflict, NotFound, InvalidInput) as error:
                self._hold(rollout, found, str(error))
        return looks

    def _hold(self, rollout: RolloutOut, found: Look, reason: str) -> None:
        """Say what keeps a step from being taken, where everybody can read it."""
        gate = GateOut(name="obstacle", state="failed", detail=reason)
        place = place_words(rollout.policy, rollout.stage, rollout.step)
        if gate not in rollout.gates:
            logger.warning("rollout %s cannot go on: %s", rollout.rollout_id, reason)
        with self._unit_of_work() as uow:
            uow.rollouts.note(rollout.rollout_id, rollout.version, [*found.gates, gate], f"{place} waits: {reason}.", now(self._clock))

    def _follow(self, rollout: RolloutOut, found: Look) -> None:
        with self._unit_of_work() as uow:
            if found.way == "wait":
                uow.rollouts.note(rollout.rollout_id, rollout.version, found.gates, found.sentence, now(self._clock))
                return
            step = Step(uow, self._clock, f"rollout.{found.way}", ACTOR, found.sentence[:500])
            present = expected_rollout(uow, rollout.rollout_id, rollout.version)
            again = look(present, self._seen(uow, present))
            if (again.way, again.state) != (found.way, found.state):
                return
            looked = present.model_copy(update={"gates": list(again.gates), "looked_at": step.at})
            experiment = self._experiment(uow, present)
            moved = self._moved(step, looked, again)
            verdict = None if experiment is None else experiment.verdict
            step.finish_rollout(
                moved,
                gates=[gate.model_dump(mode="json") for gate in again.gates],
                cause=None if verdict is None else verdict.model_dump(mode="json"),
            )
        logger.warning("rollout %s of v%s: %s: %s", moved.rollout_id, moved.model_version, found.way, moved.sentence)

    @staticmethod
    def _moved(step: Step, rollout: RolloutOut, found: Look) -> RolloutOut:
        if found.way == "next":
            return rollout_steps.advance(step, rollout)
        if found.way == "roll_back":
            return rollout_steps.take_back(step, rollout, f"Rolled back: {found.sentence}")
        if found.way == "end":
            return rollout_steps.give_up(step, rollout, found.sentence)
        if found.state not in ACTIVE:
            return rollout_steps.over(step, rollout, found.state, found.sentence)
        if found.state == RolloutState.RUNNING:
            return rollout_steps.resumed(step, rollout)
        return step.move_rollout(rollout.model_copy(update={"state": found.state, "sentence": found.sentence}), rollout)

    def _seen(self, uow: UnitOfWork, rollout: RolloutOut) -> Seen:
        critical = uow.alerts.find(states=tuple(UNRESOLVED), severity=Severity.CRITICAL)
        alerts = [one for alert in critical if (one := _as_seen(alert, rollout)) is not None]
        return Seen(
            now(self._clock),
            uow.deployments.get(rollout.deployment_id).state,
            self._experiment(uow, rollout),
            tuple(alerts),
            uow.routes.table().is_stopped,
        )

    @staticmethod
    def _experiment(uow: UnitOfWork, rollout: RolloutOut) -> ExperimentOut | None:
        return None if rollout.experiment_id is None else uow.experiments.get(rollout.experiment_id)

    def _compared(self, step: Step, rollout: RolloutOut) -> ExperimentOut:
        experiment = self._experiment(step.uow, rollout)
        if experiment is None or rollout.stage == Stage.BAKING:
            raise Conflict("the version is champion already; roll it back, or end the bake")
        return experiment

    def _changed(
        self,
        action: str,
        rollout_id: str,
        expected_version: int,
        change: Callable[[Step, RolloutOut], RolloutOut],
        actor: str,
        reason: str,
        idempotency_key: str | None,
    ) -> RolloutChangeOut:
        def changed(uow: UnitOfWork) -> RolloutChangeOut:
            step = Step(uow, self._clock, f"rollout.{action}", actor, reason)
            rollout = expected_rollout(uow, rollout_id, expected_version)
            if rollout.state not in ACTIVE:
                raise Conflict(f"the rollout is over: it is {rollout.state}")
            gates = [gate.model_dump(mode="json") for gate in rollout.gates]
            return step.finish_rollout(change(step, rollout), gates=gates)

        payload = {"rollout_id": rollout_id, "expected_version": expected_version, "reason": reason}
        asked = Asked(actor, f"rollout.{action}", payload, idempotency_key)
        return once(self._unit_of_work, self._clock, asked, RolloutChangeOut, changed)


def _as_seen(alert: Alert, rollout: RolloutOut) -> CriticalAlert | None:
    """A critical alert as the gates see it; None: it is not open yet, or is about another version."""
    about = alert.labels.get(VERSION_LABEL)
    is_about_it = about == str(rollout.model_version)
    if alert.opened_at is None or not (about is None or is_about_it):
        return None
    return CriticalAlert(alert.rule, is_about_it or alert.opened_at >= rollout.entered_at)
