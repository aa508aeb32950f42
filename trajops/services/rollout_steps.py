"""What a step of a rollout does to routes, deployments and experiments: parts of one transaction."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from trajops.contracts.deployments import DeploymentOut
from trajops.contracts.experiments import ArmIn, ExperimentOut, ExperimentPlan, Mode, StopRules
from trajops.contracts.rollouts import RolloutOut
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict
from trajops.experiments.lifecycle import OVER, ExperimentState
from trajops.experiments.routed import CONTROL, TREATMENT
from trajops.rollouts.gates import coverage_of, following, place_words, wait_of
from trajops.rollouts.lifecycle import RolloutState, Stage
from trajops.rollouts.rules import RolloutPolicy
from trajops.services import comparisons
from trajops.services.step import Step


def drafted(step: Step, deployment: DeploymentOut, policy: RolloutPolicy) -> RolloutOut:
    """A new rollout, before its first stage.

    Raises:
        Conflict: if there is no champion to compare with, or it is this version.
    """
    champion, ref = step.route.champion, ModelRef(deployment.model_name, deployment.model_version)
    if champion is None:
        raise Conflict("there is no champion to compare with; promote a version first")
    if champion == ref:
        raise Conflict(f"{ref} is champion already")
    return RolloutOut(
        rollout_id=uuid4().hex,
        model_name=ref.name,
        model_version=ref.version,
        deployment_id=deployment.deployment_id,
        champion_version=champion.version,
        policy=policy,
        stage=Stage.CANARY if policy.shadow is None else Stage.SHADOW,
        step=0,
        state=RolloutState.RUNNING,
        version=1,
        experiment_id=None,
        entered_at=step.at,
        is_approved=False,
        gates=[],
        looked_at=None,
        sentence="It has just begun.",
        created_at=step.at,
        created_by=step.actor,
        updated_at=step.at,
        ended_at=None,
    )


def begin(step: Step, rollout: RolloutOut) -> RolloutOut:
    """Enter the first stage of a new rollout, and write it."""
    champion = step.route.champion
    assert champion is not None
    arms = (champion, ModelRef(champion.name, rollout.model_version))
    entered = _entered(step, rollout, rollout.stage, 0, experiment=_compare(step, rollout, rollout.stage, *arms))
    step.add_rollout(entered)
    return entered


def advance(step: Step, rollout: RolloutOut) -> RolloutOut:
    """Take the next step: whatever its gates say.

    Raises:
        Conflict, StaleVersion, IllegalTransition: as something else has changed what is routed meanwhile.
    """
    after = following(rollout.policy, rollout.stage, rollout.step)
    if after is None:
        return settle(step, rollout, "All gates are passed: it stays.")
    stage, number = after
    experiment = _experiment(step, rollout)
    if stage == Stage.CANARY and rollout.stage == Stage.SHADOW:
        experiment = _into_canary(step, rollout, _needed(experiment))
    elif stage == Stage.CANARY:
        experiment = comparisons.cover(step, _needed(experiment), rollout.policy.canary[number].coverage)
    elif stage == Stage.PROMOTING:
        step.move(step.uow.deployments.get(rollout.deployment_id), State.PROMOTING)
    else:
        experiment = _switch(step, rollout)
    return step.move_rollout(_entered(step, rollout, stage, number, experiment=experiment), rollout)


def settle(step: Step, rollout: RolloutOut, sentence: str) -> RolloutOut:
    """End the bake: the version stays, and its predecessor is retired."""
    experiment = _experiment(step, rollout)
    if experiment is not None and experiment.state not in OVER:
        watching = {ModelRef(rollout.model_name, arm.model_version) for arm in experiment.plan.arms[1:]}
        comparisons.end(step, experiment, ExperimentState.STOPPED, "The bake is over.", kept=watching)
        for ref in watching:
            step.move_model(ref, State.RETIRED)
    step.move(step.uow.deployments.get(rollout.deployment_id), State.LIVE)
    return over(step, rollout, RolloutState.LIVE, sentence)


def take_back(step: Step, rollout: RolloutOut, sentence: str) -> RolloutOut:
    """Roll it back: before the switch the champion answers everybody, after it the predecessor does."""
    if rollout.stage == Stage.BAKING:
        comparisons.roll_back(step)
    else:
        comparisons.end(step, _needed(_experiment(step, rollout)), ExperimentState.ROLLED_BACK, sentence)
    return over(step, rollout, RolloutState.ROLLED_BACK, sentence)


def give_up(step: Step, rollout: RolloutOut, sentence: str) -> RolloutOut:
    """End what is not through at its horizon: the champion answers everybody."""
    comparisons.give_up(step, _needed(_experiment(step, rollout)), sentence)
    return over(step, rollout, RolloutState.INCONCLUSIVE, sentence)


def over(step: Step, rollout: RolloutOut, state: RolloutState, sentence: str, **changes: Any) -> RolloutOut:
    """Write how it ended."""
    return step.move_rollout(rollout.model_copy(update={"state": state, "sentence": sentence, "ended_at": step.at, **changes}), rollout)


def resume(step: Step, rollout: RolloutOut) -> RolloutOut:
    """Go on after a pause, in the same step, whose time begins anew; everybody comes back to the same arm."""
    stage, number = _place_after_pause(rollout)
    comparisons.cover(step, _needed(_experiment(step, rollout)), coverage_of(rollout.policy, stage, number))
    return resumed(step, rollout)


def resumed(step: Step, rollout: RolloutOut) -> RolloutOut:
    """Write that what is compared goes on: the step begins anew."""
    experiment = _experiment(step, rollout)
    stage, number = _place_after_pause(rollout)
    entered = _entered(step, rollout, stage, number, experiment=experiment)
    return step.move_rollout(entered.model_copy(update={"state": RolloutState.RUNNING}), rollout)


def _place_after_pause(rollout: RolloutOut) -> tuple[Stage, int]:
    """Whoever was about to be promoted takes the last step of the canary again, and is approved again."""
    if rollout.stage == Stage.PROMOTING:
        return Stage.CANARY, len(rollout.policy.canary) - 1
    return rollout.stage, rollout.step


def _into_canary(step: Step, rollout: RolloutOut, shadow: ExperimentOut) -> ExperimentOut:
    control, treatment = (ModelRef(rollout.model_name, arm.model_version) for arm in shadow.plan.arms)
    sentence = f"v{treatment.version} went on to the canary. {shadow.sentence}"
    comparisons.end(step, shadow, ExperimentState.STOPPED, sentence, winner=TREATMENT, kept={treatment})
    return _compare(step, rollout, Stage.CANARY, control, treatment)


def _switch(step: Step, rollout: RolloutOut) -> ExperimentOut | None:
    """Write the pointer; then the predecessor watches, where the policy says so."""
    predecessor = step.route.champion
    deployment = comparisons.promote(step, step.uow.deployments.get(rollout.deployment_id), State.BAKING)
    if predecessor is None or not rollout.policy.bake.watched:
        return None
    return _compare(step, rollout, Stage.BAKING, ModelRef(deployment.model_name, deployment.model_version), predecessor)


def _compare(step: Step, rollout: RolloutOut, stage: Stage, control: ModelRef, treatment: ModelRef) -> ExperimentOut:
    draft = comparisons.drafted(step, stage_plan(rollout.policy, stage, control.version, treatment.version))
    return comparisons.begin(step, draft)


def stage_plan(policy: RolloutPolicy, stage: Stage, control: int, treatment: int) -> ExperimentPlan:
    """The plan of what compares two versions in a stage: version of the control, and of the treatment."""
    modes: Mapping[Stage, Mode] = {Stage.SHADOW: "shadow", Stage.CANARY: "live", Stage.BAKING: "watch"}
    names = {
        Stage.SHADOW: f"shadow of v{treatment}",
        Stage.CANARY: f"canary of v{treatment}",
        Stage.BAKING: f"v{treatment} watches v{control}",
    }
    hypotheses = {
        Stage.SHADOW: f"Version {treatment} predicts no worse than version {control} on the same requests.",
        Stage.CANARY: f"Version {treatment} is no worse than version {control} for those whom it answers.",
        Stage.BAKING: f"Version {control} predicts no worse than version {treatment}, its predecessor, did.",
    }
    wait = wait_of(policy, stage, 0)
    least = 50 if wait is None else min(50, wait.min_units)
    return ExperimentPlan(
        name=names[stage],
        hypothesis=hypotheses[stage],
        mode=modes[stage],
        arms=(
            ArmIn(variant=CONTROL, model_version=control, weight=0.5),
            ArmIn(variant=TREATMENT, model_version=treatment, weight=0.5),
        ),
        coverage=coverage_of(policy, stage, 0),
        metric=policy.metric,
        margin=policy.margin,
        alpha=policy.alpha,
        # The predecessor answers nobody any more: that it would be slow, or fail, speaks for its successor.
        **({"guardrails": ()} if stage == Stage.BAKING else {}),
        # Each step has its own time; what the whole takes is up to the horizon.
        stop=StopRules(min_units=least, min_harmed_units=min(25, least), min_s=0.0, horizon_s=policy.horizon_s, aim=policy.aim),
    )


def _entered(step: Step, rollout: RolloutOut, stage: Stage, number: int, *, experiment: ExperimentOut | None) -> RolloutOut:
    policy = rollout.policy
    return rollout.model_copy(
        update={
            "stage": stage,
            "step": number,
            "experiment_id": None if experiment is None else experiment.experiment_id,
            "entered_at": step.at,
            "is_approved": False,
            "gates": [],
            "looked_at": None,
            "sentence": f"{place_words(policy, stage, number)} has begun.",
        }
    )


def _experiment(step: Step, rollout: RolloutOut) -> ExperimentOut | None:
    return None if rollout.experiment_id is None else step.uow.experiments.get(rollout.experiment_id)


def _needed(experiment: ExperimentOut | None) -> ExperimentOut:
    if experiment is None:
        raise Conflict("nothing is being compared in this rollout any more; read it again")
    return experiment
