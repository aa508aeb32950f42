"""Change what is live: each change is one transaction of state, audit entry and route epoch."""

from collections.abc import Callable
from typing import Any

from trajops.clock import SystemClock
from trajops.contracts.deployments import ChangeOut, DeploymentsOut, RouteHistoryOut
from trajops.deployments.lifecycle import State, check_transition
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict, InvalidInput, StaleVersion
from trajops.experiments.lifecycle import ExperimentState
from trajops.ports import Clock
from trajops.services import comparisons
from trajops.services.once import Asked, once
from trajops.services.step import Step, expected_deployment
from trajops.services.validations import check_validated
from trajops.stores import UnitOfWork, UnitOfWorkFactory


class Deployments:
    """The use cases of a release, for one registered model.

    Every change names its actor and reason. With an idempotency key, the same request of the same actor is answered
    as it was the first time; a different request under that key is a Conflict. A request that fails leaves no trace.

    Args:
        unit_of_work: opens transactions of the control state.
        model_name: the registered model.
        make_ready: called with a version before it may take traffic, outside of any transaction, because it may take seconds; what
            it raises refuses the change. None: every version is taken to be ready.
        needs_validation: refuse to stage a version whose newest battery has not passed.
        clock: stamps the changes.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        *,
        model_name: str = "trajectory",
        make_ready: Callable[[ModelRef], None] | None = None,
        needs_validation: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._model_name = model_name
        self._make_ready = make_ready
        self._needs_validation = needs_validation
        self._clock: Clock = clock or SystemClock()

    def deployments(self) -> DeploymentsOut:
        """All deployments, newest first."""
        with self._unit_of_work(read_only=True) as uow:
            return DeploymentsOut(deployments=uow.deployments.all())

    def routes(self, limit: int = 50) -> RouteHistoryOut:
        """The present route, and what was live when."""
        with self._unit_of_work(read_only=True) as uow:
            return RouteHistoryOut(current=uow.routes.current(), history=uow.routes.history(limit))

    def stage(self, model_version: int, *, actor: str, reason: str, idempotency_key: str | None = None) -> ChangeOut:
        """Make a registered version ready to take traffic; routes stay as they are.

        Raises:
            NotFound: if the version was never registered.
            Conflict: if it is being compared with the champion.
            IllegalTransition: if it is staged or live already.
            NotValidated, BatteryFailed: as its newest validation says, where one is needed.
        """

        def change(uow: UnitOfWork) -> ChangeOut:
            step = Step(uow, self._clock, "deployment.stage", actor, reason)
            ref = uow.model_versions.get(ModelRef(self._model_name, model_version)).ref
            found = uow.deployments.of_model(ref)
            if found is not None and any(ref in comparisons.treatments(one) for one in step.route.experiments):
                raise Conflict(f"{ref} is being compared with the champion; stop the canary or the experiment to stage it again")
            check_transition(State.REGISTERED if found is None else found.state, State.STAGED)
            if self._needs_validation:
                check_validated(uow, ref)
            staged = step.move(found or uow.deployments.add(ref, State.REGISTERED, step.at), State.STAGED)
            step.check_kept(ref)
            return step.finish(staged)

        return self._once(change, actor, idempotency_key, "stage", model_version=model_version, reason=reason)

    def start_canary(
        self, deployment_id: str, expected_version: int, coverage: float, *, actor: str, reason: str, idempotency_key: str | None = None
    ) -> ChangeOut:
        """Enrol a share `coverage` of the agents in a comparison with the champion; half of them get the challenger.

        Called again on the running challenger it changes the coverage, and on a paused one it goes on; nobody who stays enrolled,
        or is enrolled again, changes arms.

        Raises:
            InvalidInput: if coverage is not in (0, 1].
            NotFound, StaleVersion: as the deployment is gone or has changed.
            Conflict: if there is no champion, or another challenger.
            IllegalTransition: if the deployment is not staged.
            TrajOpsError: as `make_ready` raises, for a version that is not the challenger yet.
        """
        if not 0 < coverage <= 1:
            raise InvalidInput(f"coverage must be above 0 and at most 1, not {coverage}")

        def change(uow: UnitOfWork) -> ChangeOut:
            step = Step(uow, self._clock, "deployment.canary", actor, reason)
            deployment, ref = step.expect(deployment_id, expected_version)
            known = comparisons.of_treatment(step, ref)
            if known is not None:
                comparisons.cover(step, known, coverage)
                # Whoever has seen the deployment before this is told so, also where its state stays.
                present = uow.deployments.get(deployment_id)
                return step.finish(present if present.version > expected_version else step.move(present, present.state, is_repeat=True))
            if step.route.champion is None:
                raise Conflict("there is no champion to compare with; promote a version first")
            check_transition(deployment.state, State.CANARY)
            comparisons.begin(step, comparisons.drafted(step, comparisons.canary_plan(step.route.champion, ref, coverage)))
            return step.finish(uow.deployments.get(deployment_id))

        return self._once(
            change,
            actor,
            idempotency_key,
            "start_canary",
            prepare=lambda: self._prepare(deployment_id, expected_version, State.CANARY),
            deployment_id=deployment_id,
            expected_version=expected_version,
            coverage=coverage,
            reason=reason,
        )

    def pause_canary(
        self, deployment_id: str, expected_version: int, *, actor: str, reason: str, idempotency_key: str | None = None
    ) -> ChangeOut:
        """Take the traffic from the challenger and keep the comparison: it stays warm, and so does everybody's arm.

        Raises:
            NotFound, StaleVersion: as the deployment is gone or has changed.
            Conflict: if it is not the challenger.
            IllegalTransition: if it is paused already.
        """

        def change(uow: UnitOfWork) -> ChangeOut:
            step = Step(uow, self._clock, "deployment.canary_pause", actor, reason)
            deployment, ref = step.expect(deployment_id, expected_version)
            known = comparisons.of_treatment(step, ref)
            if known is None:
                raise Conflict(f"{ref} is not being compared with the champion, so there is nothing to pause")
            check_transition(deployment.state, State.PAUSED)
            comparisons.pause(step, known, f"Paused: {reason}")
            return step.finish(uow.deployments.get(deployment_id))

        return self._once(
            change,
            actor,
            idempotency_key,
            "pause_canary",
            deployment_id=deployment_id,
            expected_version=expected_version,
            reason=reason,
        )

    def stop_canary(
        self, deployment_id: str, expected_version: int, *, actor: str, reason: str, idempotency_key: str | None = None
    ) -> ChangeOut:
        """End the comparison: the champion answers everybody, the challenger is staged again.

        Raises:
            NotFound, StaleVersion: as the deployment is gone or has changed.
            Conflict: if it is not the challenger.
        """

        def change(uow: UnitOfWork) -> ChangeOut:
            step = Step(uow, self._clock, "deployment.canary_stop", actor, reason)
            _, ref = step.expect(deployment_id, expected_version)
            known = comparisons.of_treatment(step, ref)
            if known is None:
                raise Conflict(f"{ref} is not being compared with the champion, so there is nothing to stop")
            comparisons.end(step, known, ExperimentState.STOPPED, f"Stopped: {reason}")
            return step.finish(uow.deployments.get(deployment_id))

        return self._once(
            change,
            actor,
            idempotency_key,
            "stop_canary",
            deployment_id=deployment_id,
            expected_version=expected_version,
            reason=reason,
        )

    def promote(
        self, deployment_id: str, expected_version: int, *, actor: str, reason: str, idempotency_key: str | None = None
    ) -> ChangeOut:
        """Make a deployment the champion; the old one retires and is what a rollback returns to.

        A comparison ends with it: its challenger, unless it is the promoted one, is staged again.

        Raises:
            NotFound, StaleVersion: as the deployment is gone or has changed.
            IllegalTransition: if it is live already, or was never staged.
            InRollout: if its rollout is not over.
            TrajOpsError: as `make_ready` raises.
        """

        def change(uow: UnitOfWork) -> ChangeOut:
            step = Step(uow, self._clock, "deployment.promote", actor, reason)
            deployment, ref = step.expect(deployment_id, expected_version)
            comparisons.check_not_rolled_out(step, ref)
            check_transition(deployment.state, State.LIVE)
            return step.finish(comparisons.promote(step, deployment))

        return self._once(
            change,
            actor,
            idempotency_key,
            "promote",
            prepare=lambda: self._prepare(deployment_id, expected_version, State.LIVE),
            deployment_id=deployment_id,
            expected_version=expected_version,
            reason=reason,
        )

    def rollback(self, expected_epoch: int, *, actor: str, reason: str, idempotency_key: str | None = None) -> ChangeOut:
        """Put the previous champion back; the present one is rolled back, and a comparison ends.

        Raises:
            StaleVersion: if the routes have changed since that epoch.
            Conflict: if there is no previous champion.
        """

        def change(uow: UnitOfWork) -> ChangeOut:
            step = Step(uow, self._clock, "deployment.rollback", actor, reason)
            route = step.route
            if route.epoch != expected_epoch:
                raise StaleVersion(
                    f"the routes are in epoch {route.epoch}, not {expected_epoch}: somebody changed them; read them again and repeat",
                    present_epoch=route.epoch,
                )
            return step.finish(comparisons.roll_back(step))

        return self._once(change, actor, idempotency_key, "rollback", expected_epoch=expected_epoch, reason=reason)

    def _prepare(self, deployment_id: str, expected_version: int, state: State) -> None:
        """Make the version of a deployment ready for its next state, where it is not in that already.

        Raises:
            NotFound, StaleVersion, IllegalTransition: as the change itself would; nobody waits for a model only to be told so.
        """
        if self._make_ready is None:
            return
        with self._unit_of_work(read_only=True) as uow:
            deployment = expected_deployment(uow, deployment_id, expected_version)
        if deployment.state != state:
            check_transition(deployment.state, state)
            self._make_ready(ModelRef(deployment.model_name, deployment.model_version))

    def _once(
        self,
        change: Callable[[UnitOfWork], ChangeOut],
        actor: str,
        idempotency_key: str | None,
        action: str,
        *,
        prepare: Callable[[], None] | None = None,
        **payload: Any,
    ) -> ChangeOut:
        """Do a change, after `prepare`; or answer as before, where the same request was answered under its key."""
        asked = Asked(actor, action, payload, idempotency_key)
        return once(self._unit_of_work, self._clock, asked, ChangeOut, change, prepare=prepare)
