"""What an experiment does to routes and deployments: parts of one transaction, for releases and experiments alike.

An experiment that is routed compares the champion with staged versions, each of which takes part in one experiment at a time. Whatever
makes another version the champion ends them all: what they compare with is gone.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace
from uuid import uuid4

from trajops.contracts.deployments import DeploymentOut
from trajops.contracts.experiments import ArmIn, ExperimentOut, ExperimentPlan
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.errors import Conflict, InRollout, InvalidInput, NotFound
from trajops.experiments.assignment import Range
from trajops.experiments.lifecycle import ROUTED, ExperimentState
from trajops.experiments.routed import CONTROL, TREATMENT, Arm, Namespace, RoutedExperiment
from trajops.rollouts.lifecycle import ACTIVE, Stage
from trajops.services.step import Step

# What becomes of the versions of an experiment that ends, where they are not promoted.
_AFTERWARDS: dict[ExperimentState, State] = {
    ExperimentState.STOPPED: State.STAGED,
    ExperimentState.PROMOTED: State.STAGED,
    ExperimentState.ROLLED_BACK: State.ROLLED_BACK,
    ExperimentState.INCONCLUSIVE: State.INCONCLUSIVE,
}


def drafted(step: Step, plan: ExperimentPlan) -> ExperimentOut:
    """Write a new experiment, which changes nothing else."""
    draft = _draft(step, plan)
    step.uow.experiments.add(draft)
    return draft


def canary_plan(champion: ModelRef, challenger: ModelRef, coverage: float) -> ExperimentPlan:
    """The plan of a canary: half of the enrolled agents get the challenger."""
    arms = [(CONTROL, champion), (TREATMENT, challenger)]
    return ExperimentPlan(
        name=f"canary of v{challenger.version}",
        hypothesis=f"Version {challenger.version} is nearer to the truth than version {champion.version}.",
        arms=tuple(ArmIn(variant=name, model_version=ref.version, weight=0.5) for name, ref in arms),
        coverage=coverage,
    )


def begin(step: Step, experiment: ExperimentOut) -> ExperimentOut:
    """Route the units of a draft.

    Raises:
        NotFound: if a version of its was deleted.
        Conflict: if its control is not the champion, or another experiment enrols the same units or versions.
        IllegalTransition: if the experiment is no draft, or a version of its is not staged.
    """
    champion = step.route.champion
    routed = routed_as(experiment.experiment_id, experiment.seed, experiment.plan, "" if champion is None else champion.name)
    others = step.route.experiments
    if (obstacle := obstacle_of(step.route, routed)) is not None:
        raise Conflict(obstacle)
    step.reroute(experiments=(*others, routed))
    for ref in treatments(routed):
        step.uow.model_versions.get(ref)
        _move(step, ref, State.SHADOW if routed.is_shadow else State.CANARY)
        step.check_kept(ref)
    sentence = f"Launched on {100 * experiment.coverage:g} % of the {experiment.plan.unit}s."
    return step.move_experiment(experiment, ExperimentState.RUNNING, started_at=step.at, sentence=sentence)


def obstacle_of(route: RouteTable, routed: RoutedExperiment) -> str | None:
    """Why an experiment cannot be routed beside what is; None: it can."""
    control = routed.arms[0].model
    if route.champion is None:
        return "there is no champion to compare with; promote a version first"
    if control != route.champion:
        return f"the control is {control}, but {route.champion} is champion, and is what a treatment must be compared with"
    for other in route.experiments:
        if shared := set(treatments(other)) & set(treatments(routed)):
            return f"{next(iter(shared))} is being compared already, in experiment {other.experiment_id}; stop that first"
        if not routed.is_shadow and not other.is_shadow and not _are_apart(routed, other):
            compared = ", ".join(map(str, treatments(other))) or f"{control} itself"  # an A/A
            return (
                f"{compared} is compared with the champion on the same units, in experiment {other.experiment_id}; stop that first, or "
                "give both disjoint parts of one namespace"
            )
    return None


def cover(step: Step, experiment: ExperimentOut, coverage: float) -> ExperimentOut:
    """Enrol another share of the units of an experiment that goes on, or go on with one that is paused; nobody changes arms."""
    routed = _routed(step, experiment)
    step.reroute(experiments=_with(step.route, routed.with_coverage(coverage)))
    was_paused = experiment.state == ExperimentState.PAUSED
    if was_paused:
        for ref in treatments(routed):
            _move(step, ref, State.SHADOW if routed.is_shadow else State.CANARY)
    going_on = ExperimentState.RUNNING if experiment.winner is None else ExperimentState.RECOMMENDED
    state = going_on if was_paused else experiment.state
    # What was decided stays what is said.
    enrolled = f"{100 * coverage:g} % of the {experiment.plan.unit}s are enrolled."
    sentence = enrolled if experiment.winner is None or was_paused else experiment.sentence
    return step.move_experiment(experiment, state, coverage=coverage, sentence=sentence)


def pause(step: Step, experiment: ExperimentOut, sentence: str) -> ExperimentOut:
    """Take the traffic from the treatments, which stay warm; everybody's arm is kept."""
    routed = _routed(step, experiment)
    step.reroute(experiments=_with(step.route, routed.with_coverage(0.0)))
    for ref in treatments(routed):
        _move(step, ref, State.PAUSED)
    return step.move_experiment(experiment, ExperimentState.PAUSED, sentence=sentence)


def close_arm(step: Step, experiment: ExperimentOut, variant: str, sentence: str) -> ExperimentOut:
    """Roll one arm back: the control's version answers its units. With the last treatment the experiment is over.

    Where it had been recommended, the others are compared as if nothing had been.
    """
    routed = _routed(step, experiment)
    arm = routed.arm(variant)
    if arm is None or variant == routed.arms[0].variant or variant in experiment.closed_arms:
        raise Conflict(f"{variant!r} is no treatment of this experiment that is still being compared")
    closed = [*experiment.closed_arms, variant]
    if len(closed) == len(routed.arms) - 1:
        return end(step, experiment, ExperimentState.ROLLED_BACK, sentence, closed_arms=closed)
    step.reroute(experiments=_with(step.route, routed.without_arm(variant)))
    _move(step, arm.model, State.ROLLED_BACK)
    has_lost = variant == experiment.winner
    state = ExperimentState.RUNNING if has_lost and experiment.state == ExperimentState.RECOMMENDED else experiment.state
    winner = None if has_lost else experiment.winner
    return step.move_experiment(experiment, state, closed_arms=closed, winner=winner, sentence=sentence)


def override(step: Step, experiment: ExperimentOut, unit_id: str, variant: str | None) -> ExperimentOut:
    """Put a unit into an arm by hand, or take that back."""
    routed = _routed(step, experiment)
    if variant is not None and routed.arm(variant) is None:
        raise InvalidInput(f"there is no arm {variant!r}; there are {', '.join(arm.variant for arm in routed.arms)}")
    overrides = {unit: arm for unit, arm in routed.overrides.items() if unit != unit_id} | ({unit_id: variant} if variant else {})
    step.reroute(experiments=_with(step.route, replace(routed, overrides=overrides)))
    return step.move_experiment(experiment, experiment.state)


def end(
    step: Step,
    experiment: ExperimentOut,
    state: ExperimentState,
    sentence: str,
    *,
    winner: str | None = None,
    kept: Iterable[ModelRef] = (),
    closed_arms: list[str] | None = None,
) -> ExperimentOut:
    """End an experiment: the champion answers everybody. Deployments of `kept` are moved by the caller."""
    routed = _routed(step, experiment)
    step.reroute(experiments=tuple(one for one in step.route.experiments if one.experiment_id != routed.experiment_id))
    return _over(step, experiment, routed, state, sentence, winner=winner, kept=kept, closed_arms=closed_arms)


def check_not_rolled_out(step: Step, ref: ModelRef, experiment_id: str | None = None) -> None:
    """Refuse to promote past the gates, the approval and the bake of a rollout.

    Args:
        step: the change.
        ref: the version that would be promoted.
        experiment_id: whose winner it would be.

    Raises:
        InRollout: if a rollout that is not over is about the version, or compares in that experiment.
    """
    for rollout in step.uow.rollouts.newest(states=ACTIVE):
        is_its_own = experiment_id is not None and experiment_id == rollout.experiment_id
        if not is_its_own and ref != ModelRef(rollout.model_name, rollout.model_version):
            continue
        if rollout.stage == Stage.BAKING:
            what = "roll it back under Models, which is the way to its predecessor, or end the bake there"
        else:
            what = "it is promoted there once its gates are passed; approve it under Models, or stop the rollout to promote it without"
        said = f"version {rollout.model_version} is being rolled out, and the rollout decides what follows: {what}"
        raise InRollout(said, rollout_id=rollout.rollout_id)


def give_up(step: Step, experiment: ExperimentOut, sentence: str) -> ExperimentOut:
    """End an experiment at its horizon: the champion answers everybody. What had been decided before stays on record."""
    state = ExperimentState.INCONCLUSIVE if experiment.winner is None else ExperimentState.STOPPED
    return end(step, experiment, state, sentence, winner=experiment.winner)


def promote(step: Step, deployment: DeploymentOut, state: State = State.LIVE) -> DeploymentOut:
    """Make a version the champion; the old one retires and is what a rollback returns to. Every experiment is over.

    Args:
        step: the change.
        deployment: of the version.
        state: what it is then; baking, where it may still be taken back without a hand.

    Raises:
        NotFound: if the version was deleted.
    """
    ref, champion, routed = ModelRef(deployment.model_name, deployment.model_version), step.route.champion, step.route.experiments
    step.uow.model_versions.get(ref)
    step.reroute(champion=ref, previous=champion, experiments=())
    _end_all(step, routed, f"v{ref.version} was promoted.", promoted=ref)
    if champion is not None:
        step.move_model(champion, State.RETIRED)
    moved = step.move(step.uow.deployments.get(deployment.deployment_id), state)
    step.check_kept(ref)
    return moved


def roll_back(step: Step) -> DeploymentOut:
    """Put the previous champion back; the present one is rolled back, and every experiment is over.

    Raises:
        Conflict: if there is no previous champion.
    """
    champion, previous, routed = step.route.champion, step.route.previous, step.route.experiments
    if previous is None or champion is None:
        raise Conflict("there is no previous champion to return to; promote the version that shall be live instead")
    step.reroute(champion=previous, previous=None, experiments=())
    _end_all(step, routed, f"v{champion.version} was rolled back to v{previous.version}.", spared={previous})
    step.move_model(champion, State.ROLLED_BACK)
    return step.move_model(previous, State.LIVE)


def _end_all(
    step: Step,
    experiments: Iterable[RoutedExperiment],
    sentence: str,
    *,
    promoted: ModelRef | None = None,
    spared: Collection[ModelRef] = (),
) -> None:
    """Write what the end of all experiments means, after the routes were written without them.

    Args:
        step: the change.
        experiments: as they were routed before.
        sentence: why.
        promoted: the version that won, if one did; its deployment is moved by the caller.
        spared: versions whose deployments the caller moves too.
    """
    for routed in experiments:
        kept = {*spared} if promoted is None else {promoted, *spared}
        won = next((arm.variant for arm in routed.arms[1:] if arm.model == promoted), None)
        state = ExperimentState.STOPPED if won is None else ExperimentState.PROMOTED
        _over(step, _known(step, routed), routed, state, sentence, winner=won, kept=kept)


def treatments(routed: RoutedExperiment) -> tuple[ModelRef, ...]:
    """The versions that are compared with the control's."""
    return tuple(dict.fromkeys(arm.model for arm in routed.arms[1:] if arm.model != routed.arms[0].model))


def of_treatment(step: Step, ref: ModelRef) -> ExperimentOut | None:
    """The routed experiment that a version is a treatment of."""
    found = next((one for one in step.route.experiments if ref in treatments(one)), None)
    return None if found is None else _known(step, found)


def routed_as(experiment_id: str, seed: str, plan: ExperimentPlan, model_name: str) -> RoutedExperiment:
    """A plan as the routes carry it."""
    space, weights = plan.namespace, plan.weights
    return RoutedExperiment(
        experiment_id,
        tuple(Arm(arm.variant, ModelRef(model_name, arm.model_version), weight) for arm, weight in zip(plan.arms, weights, strict=True)),
        plan.coverage,
        seed,
        plan.unit,
        None if space is None else Namespace(space.name, Range(space.begin, space.end)),
        is_shadow=plan.is_beside,
    )


def _over(
    step: Step,
    experiment: ExperimentOut,
    routed: RoutedExperiment,
    state: ExperimentState,
    sentence: str,
    *,
    winner: str | None = None,
    kept: Iterable[ModelRef] = (),
    closed_arms: list[str] | None = None,
) -> ExperimentOut:
    for ref in treatments(routed):
        if ref not in set(kept):
            _move(step, ref, _AFTERWARDS[state])
    closed = experiment.closed_arms if closed_arms is None else closed_arms
    return step.move_experiment(experiment, state, ended_at=step.at, sentence=sentence, winner=winner, closed_arms=closed)


def _move(step: Step, ref: ModelRef, state: State) -> None:
    deployment = step.uow.deployments.of_model(ref)
    if deployment is None:
        raise Conflict(f"{ref} is not deployed; stage it first")
    step.move(deployment, state)


def _routed(step: Step, experiment: ExperimentOut) -> RoutedExperiment:
    routed = step.route.experiment(experiment.experiment_id)
    if routed is None or experiment.state not in ROUTED:
        raise Conflict(f"the experiment is {experiment.state}, so that its units are not routed")
    return routed


def _known(step: Step, routed: RoutedExperiment) -> ExperimentOut:
    """The record of an experiment; one that the release before has begun, a canary, has none and gets it here."""
    try:
        return step.uow.experiments.get(routed.experiment_id)
    except NotFound:
        control, treatment = (arm.model for arm in routed.arms)
    draft = _draft(step, canary_plan(control, treatment, routed.coverage or 1.0))
    state = ExperimentState.RUNNING if routed.coverage else ExperimentState.PAUSED
    begun = {"experiment_id": routed.experiment_id, "seed": routed.seed, "state": state, "started_at": step.at}
    found = draft.model_copy(update=begun)
    step.uow.experiments.add(found)
    return found


def _with(route: RouteTable, changed: RoutedExperiment) -> tuple[RoutedExperiment, ...]:
    return tuple(changed if one.experiment_id == changed.experiment_id else one for one in route.experiments)


def _are_apart(one: RoutedExperiment, other: RoutedExperiment) -> bool:
    """Whether no unit can be enrolled in both."""
    a, b = one.namespace, other.namespace
    if a is None or b is None or a.name != b.name or one.unit != other.unit:
        return False
    return a.part.end <= b.part.begin or b.part.end <= a.part.begin


def _draft(step: Step, plan: ExperimentPlan) -> ExperimentOut:
    return ExperimentOut(
        experiment_id=uuid4().hex,
        plan=plan,
        state=ExperimentState.DRAFT,
        version=1,
        coverage=plan.coverage,
        closed_arms=[],
        seed=uuid4().hex,
        created_at=step.at,
        created_by=step.actor,
        updated_at=step.at,
        started_at=None,
        ended_at=None,
        winner=None,
        sentence="Not launched yet.",
        verdict=None,
    )
