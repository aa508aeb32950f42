"""Experiments and their verdicts."""

from math import isnan

from trajops.client.call import Call, at, described, get, post
from trajops.client.retries import Retry
from trajops.contracts.experiments import (
    LEAST_WEIGHT,
    ArmIn,
    ChecklistOut,
    CoverageIn,
    ExperimentChangeIn,
    ExperimentChangeOut,
    ExperimentErrorsOut,
    ExperimentIn,
    ExperimentOut,
    ExperimentPlan,
    ExperimentSliceBy,
    ExperimentSlicesOut,
    ExperimentsOut,
    HoldoutIn,
    HoldoutOut,
    KillSwitchIn,
    KillSwitchOut,
    OverrideIn,
    StopIn,
    VerdictsOut,
)
from trajops.errors import InvalidInput


class ExperimentRoutes:
    """Experiments and their verdicts."""

    @described
    def experiments(self, limit: int = 100) -> Call[ExperimentsOut]:
        """All experiments with their newest verdicts, newest first."""
        return get("/v1/experiments", ExperimentsOut, limit=limit)

    @described
    def experiment(self, experiment_id: str) -> Call[ExperimentOut]:
        """One experiment with its newest verdict."""
        return get(at("/v1/experiments/{}", experiment_id), ExperimentOut)

    @described
    def verdicts(self, experiment_id: str) -> Call[VerdictsOut]:
        """How the verdict on one experiment went, oldest first."""
        return get(at("/v1/experiments/{}/verdicts", experiment_id), VerdictsOut)

    @described
    def experiment_slices(self, experiment_id: str, by: ExperimentSliceBy = "scene") -> Call[ExperimentSlicesOut]:
        """Exploratory: the effect by scene, speed band, step or client. Not corrected for looking at many; decides nothing."""
        return get(at("/v1/experiments/{}/slices", experiment_id), ExperimentSlicesOut, by=by)

    @described
    def experiment_errors(self, experiment_id: str) -> Call[ExperimentErrorsOut]:
        """Exploratory: which share of the units of each arm has an error of at most so much. Decides nothing."""
        return get(at("/v1/experiments/{}/errors", experiment_id), ExperimentErrorsOut)

    @described
    def check_experiment(self, plan: ExperimentPlan) -> Call[ChecklistOut]:
        """Whether a plan can be launched, and how long it will take; nothing is changed."""
        return post("/v1/experiments/check", ChecklistOut, plan, Retry.READ)

    @described
    def create_experiment(
        self,
        model_a: int,
        model_b: int,
        traffic_split: float = 0.5,
        *,
        coverage: float = 1.0,
        reason: str = "launched through the client",
        idempotency_key: str | None = None,
    ) -> Call[ExperimentChangeOut]:
        """Compare version `model_b` with the champion `model_a`: an experiment with the usual plan, launched at once.

        Args:
            model_a: version of the control, which must be the champion.
            model_b: version of the treatment, which must be staged.
            traffic_split: share of the enrolled agents that get `model_b`, from 0.0001 to 0.9999.
            coverage: share of all agents that are enrolled.
            reason: for the audit.
            idempotency_key: of the caller; where there is none, one is made.

        Raises:
            InvalidInput: if one of them cannot be, for example a split of 0 or 1, which leaves an arm without agents; nothing is sent.
        """
        for name, version in (("model_a", model_a), ("model_b", model_b)):
            if isinstance(version, bool):
                raise InvalidInput(f"{name} is the number of a version, such as 3, not {version!r}; nothing was sent")
        if isinstance(traffic_split, bool) or not isinstance(traffic_split, int | float) or isnan(traffic_split):
            raise InvalidInput(f"traffic_split is a number, such as 0.5, not {traffic_split!r}; nothing was sent")
        if not LEAST_WEIGHT <= traffic_split <= 1 - LEAST_WEIGHT:
            raise InvalidInput(
                f"traffic_split is the share of the enrolled agents that get version {model_b}: from {LEAST_WEIGHT} to {1 - LEAST_WEIGHT}, "
                f"not {traffic_split!r}, or one of the two answers nobody. To let fewer agents take part, lower coverage; nothing was sent"
            )
        arms = (
            # Of 1 - 0.9999 floating point makes less than the smallest weight.
            ArmIn(variant="control", model_version=model_a, weight=round(1 - traffic_split, 12)),
            ArmIn(variant="treatment", model_version=model_b, weight=traffic_split),
        )
        plan = ExperimentPlan(
            name=f"v{model_b} against v{model_a}",
            hypothesis=f"Version {model_b} is nearer to the truth than version {model_a}.",
            arms=arms,
            coverage=coverage,
        )
        body = ExperimentIn(plan=plan, reason=reason, is_launched=True)
        return post("/v1/experiments", ExperimentChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def plan_experiment(
        self, plan: ExperimentPlan, reason: str, *, is_launched: bool = False, idempotency_key: str | None = None
    ) -> Call[ExperimentChangeOut]:
        """An experiment with a plan of one's own: a draft, or launched at once."""
        body = ExperimentIn(plan=plan, reason=reason, is_launched=is_launched)
        return post("/v1/experiments", ExperimentChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def launch_experiment(
        self, experiment_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None
    ) -> Call[ExperimentChangeOut]:
        """Launch a draft."""
        body = ExperimentChangeIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/experiments/{}/launch", experiment_id), ExperimentChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def cover_experiment(
        self, experiment_id: str, expected_version: int, coverage: float, reason: str, *, idempotency_key: str | None = None
    ) -> Call[ExperimentChangeOut]:
        """Enrol another share of the units, or go on after a pause."""
        body = CoverageIn(expected_version=expected_version, coverage=coverage, reason=reason)
        return post(at("/v1/experiments/{}/cover", experiment_id), ExperimentChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def pause_experiment(
        self, experiment_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None
    ) -> Call[ExperimentChangeOut]:
        """Take the traffic from the treatments."""
        body = ExperimentChangeIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/experiments/{}/pause", experiment_id), ExperimentChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def stop_experiment(
        self, experiment_id: str, expected_version: int, reason: str, *, winner: str | None = None, idempotency_key: str | None = None
    ) -> Call[ExperimentChangeOut]:
        """End it; a treatment that wins is promoted. A draft is discarded."""
        body = StopIn(expected_version=expected_version, reason=reason, winner=winner)
        return post(at("/v1/experiments/{}/stop", experiment_id), ExperimentChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def override_unit(
        self,
        experiment_id: str,
        expected_version: int,
        unit_id: str,
        variant: str | None,
        reason: str,
        *,
        idempotency_key: str | None = None,
    ) -> Call[ExperimentChangeOut]:
        """Put a unit into an arm by hand; None: back to where it belongs."""
        body = OverrideIn(expected_version=expected_version, unit_id=unit_id, variant=variant, reason=reason)
        return post(at("/v1/experiments/{}/override", experiment_id), ExperimentChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def switch_experiments(
        self, expected_epoch: int, is_stopped: bool, reason: str, *, idempotency_key: str | None = None
    ) -> Call[KillSwitchOut]:
        """The kill switch: the champion answers everybody, or that is over."""
        body = KillSwitchIn(expected_epoch=expected_epoch, is_stopped=is_stopped, reason=reason)
        return post("/v1/experiments/switch", KillSwitchOut, body, Retry.KEYED, idempotency_key)

    @described
    def hold_out(self, expected_epoch: int, share: float, reason: str, *, idempotency_key: str | None = None) -> Call[HoldoutOut]:
        """Keep a share of all units, up to a half, out of every experiment; 0: nobody."""
        body = HoldoutIn(expected_epoch=expected_epoch, share=share, reason=reason)
        return post("/v1/experiments/holdout", HoldoutOut, body, Retry.KEYED, idempotency_key)
