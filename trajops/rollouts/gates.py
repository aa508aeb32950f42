"""What the next step of a rollout waits for, and whether it may be taken: pure, so that the same figures always say the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from trajops.contracts.experiments import ExperimentOut, VerdictOut
from trajops.contracts.figures import signed
from trajops.contracts.rollouts import GateName, GateOut, GateState, RolloutOut
from trajops.deployments.lifecycle import State
from trajops.experiments.lifecycle import OVER, ROUTED, ExperimentState
from trajops.rollouts.lifecycle import BAKED, DEPLOYED, ENDED_BY, RolloutState, Stage
from trajops.rollouts.rules import RolloutPolicy, Wait
from trajops.rollouts.waiting import duration_words

# A look at the figures that is older than this says nothing about now; they are looked at every few seconds.
FRESH_S = 60.0
Way = Literal["wait", "next", "roll_back", "follow", "end"]


class CriticalAlert(NamedTuple):
    """A critical alert that is open, and is not about another version.

    Attributes:
        rule: its name.
        is_against: whether it speaks against the version: it names it, or was opened since the present step began. Another one holds what
            is to come, and takes nothing back: whatever is wrong was so before.
    """

    rule: str
    is_against: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look sees beside the rollout itself.

    Attributes:
        at: when.
        deployment: state of the version's deployment.
        experiment: what compares the versions in this stage; None: nothing does.
        alerts: the critical ones that are open, whenever they were opened.
        is_stopped: the kill switch.
    """

    at: datetime
    deployment: State
    experiment: ExperimentOut | None
    alerts: tuple[CriticalAlert, ...] = ()
    is_stopped: bool = False


class Look(NamedTuple):
    """What is to be done.

    Attributes:
        way: wait, take the next step, roll back; `end`: its horizon is reached; or `follow`: something else has changed what is routed, and
            the rollout says so.
        state: of the rollout from now on.
        gates: as they stand.
        sentence: why.
    """

    way: Way
    state: RolloutState
    gates: tuple[GateOut, ...]
    sentence: str


def look(rollout: RolloutOut, seen: Seen) -> Look:
    """What follows from what is seen; a rollout that is over is not looked at."""
    ended = _ended(rollout, seen)
    if ended is not None:
        return Look("follow", *ended)
    state = RolloutState.PAUSED if seen.deployment == State.PAUSED else RolloutState.RUNNING
    if rollout.stage == Stage.PROMOTING and seen.deployment == State.CANARY:
        return Look("follow", state, tuple(rollout.gates), "It was paused and goes on, so the last step of the canary is taken again.")
    gates = tuple(_gates(rollout, seen))
    first = next((gate for gate in gates if gate.state != "passed"), None)
    if first is not None and first.name == "horizon":
        return Look("end", RolloutState.INCONCLUSIVE, gates, _overdue(rollout, state, gates))
    if state != rollout.state:
        sentence = _said(seen, "It was paused.") if state == RolloutState.PAUSED else "It goes on."
        return Look("follow", state, gates, sentence)
    if state == RolloutState.PAUSED:
        return Look("wait", state, gates, rollout.sentence)
    back = next((gate for gate in gates if _brings_back(rollout, gate, seen)), None)
    if back is not None:
        return Look("roll_back", RolloutState.ROLLED_BACK, gates, back.detail)
    if first is None:
        return Look("next", state, gates, "All gates are passed.")
    return Look("wait", state, gates, f"{place_words(rollout.policy, rollout.stage, rollout.step)} waits: {first.detail}.")


def following(policy: RolloutPolicy, stage: Stage, step: int) -> tuple[Stage, int] | None:
    """What comes after a step; None: the version stays."""
    if stage == Stage.SHADOW:
        return Stage.CANARY, 0
    if stage == Stage.CANARY:
        return (Stage.CANARY, step + 1) if step + 1 < len(policy.canary) else (Stage.PROMOTING, 0)
    return (Stage.BAKING, 0) if stage == Stage.PROMOTING else None


def waits_for_person(policy: RolloutPolicy, stage: Stage, step: int) -> bool:
    """Whether what comes after a step is approved by a person."""
    after = following(policy, stage, step)
    return after is not None and after[0] != stage and after[0].value in policy.approval


def place_words(policy: RolloutPolicy, stage: Stage, step: int) -> str:
    """A step in words."""
    if stage == Stage.CANARY:
        return f"The canary at {100 * policy.canary[step].coverage:g} %"
    return {Stage.SHADOW: "The shadow", Stage.PROMOTING: "The promotion", Stage.BAKING: "Baking"}[stage]


def wait_of(policy: RolloutPolicy, stage: Stage, step: int) -> Wait | None:
    """Units and time that a step waits for; None: no more than a look."""
    if stage == Stage.CANARY:
        return policy.canary[step]
    return {Stage.SHADOW: policy.shadow, Stage.BAKING: policy.bake}.get(stage)


def coverage_of(policy: RolloutPolicy, stage: Stage, step: int) -> float:
    """Share of the agents that a step enrols; a predecessor watches all."""
    if stage in {Stage.CANARY, Stage.PROMOTING}:
        return policy.canary[step if stage == Stage.CANARY else -1].coverage
    return policy.shadow.coverage if stage == Stage.SHADOW and policy.shadow is not None else 1.0


def _ended(rollout: RolloutOut, seen: Seen) -> tuple[RolloutState, tuple[GateOut, ...], str] | None:
    """How something else has ended it: a verdict, or a person."""
    gates = tuple(rollout.gates)
    if rollout.stage == Stage.BAKING:
        if seen.deployment == DEPLOYED[rollout.stage]:
            return None
        state = BAKED.get(seen.deployment, RolloutState.STOPPED)
        return state, gates, _said(seen, f"The version is {_words(seen.deployment)} by another change.", only_over=True)
    experiment = seen.experiment
    if experiment is None or experiment.state in OVER:
        state = RolloutState.STOPPED if experiment is None else ENDED_BY.get(experiment.state, RolloutState.STOPPED)
        return state, gates, _said(seen, "What was being compared is gone.")
    return None


def _gates(rollout: RolloutOut, seen: Seen) -> Iterator[GateOut]:
    policy, stage, step = rollout.policy, rollout.stage, rollout.step
    wait = wait_of(policy, stage, step)
    is_bake = stage == Stage.BAKING
    is_before_switch = stage == Stage.PROMOTING or (stage == Stage.CANARY and step == len(policy.canary) - 1)
    if not is_bake and seen.experiment is not None:
        yield _horizon(policy, seen.experiment, seen.at)
    if seen.is_stopped:
        yield _gate("switch", "failed", "all experiments are stopped by hand")
    if wait is not None:
        yield _time(rollout, seen.at, wait)
    # Whoever ends the comparison with the predecessor does without it.
    experiment = None if is_bake and seen.experiment is not None and seen.experiment.state in OVER else seen.experiment
    if experiment is not None:
        verdict = experiment.verdict
        is_fresh = verdict is not None and verdict.at >= rollout.entered_at and (seen.at - verdict.at).total_seconds() <= FRESH_S
        yield _gate("freshness", *_either(is_fresh, "the figures were looked at just now", "nobody has looked at the figures just now"))
        if verdict is not None:
            if wait is not None:
                yield _units(rollout, verdict, wait)
            yield from _watch(policy, verdict) if is_bake else _evidence(verdict)
            to_be_shown = "shadow" if stage == Stage.SHADOW else "canary" if is_before_switch else None
            if to_be_shown in policy.shown_in:
                yield _accuracy(policy, experiment, verdict)
    wanted = coverage_of(policy, stage, step)
    if not is_bake and experiment is not None and experiment.state in ROUTED and experiment.coverage != wanted:
        said = f"{100 * experiment.coverage:.3g} % are enrolled by hand; the step is one of {100 * wanted:.3g} %"
        yield _gate("coverage", "failed", said)
    if is_bake or is_before_switch:
        yield _alerts(policy, seen.alerts)
    if waits_for_person(policy, stage, step):
        yield _gate("approval", *_either(rollout.is_approved, "a person has approved it", "a person approves what comes next"))


def _gate(name: GateName, state: GateState, detail: str) -> GateOut:
    return GateOut(name=name, state=state, detail=detail)


def _either(is_passed: bool, passed: str, waiting: str) -> tuple[GateState, str]:
    return ("passed", passed) if is_passed else ("waiting", waiting)


def _time(rollout: RolloutOut, at: datetime, wait: Wait) -> GateOut:
    passed_s = (at - rollout.entered_at).total_seconds()
    detail = f"{passed_s:.0f} of {wait.min_s:.0f} s"
    return _gate("time", "passed" if passed_s >= wait.min_s else "waiting", detail)


def _units(rollout: RolloutOut, verdict: VerdictOut, wait: Wait) -> GateOut:
    """How many agents the version was tried on in this step: answered since it began, with the truth of that.

    Who was answered in a step before counts again: a step asks whether the version has been exercised at this share of the traffic, and a
    fleet that returns exercises it as much as a new one. Nothing is inferred from this number. What is inferred, harm and accuracy, is
    by units of the whole comparison, each of which has one value however often it comes back, and is valid however often it is looked at.
    """
    is_of_step = verdict.counted_since == rollout.entered_at
    least = min((arm.units_since for arm in verdict.arms), default=0) if is_of_step else 0
    where = "predicted by both" if rollout.stage != Stage.CANARY else "with truth in each arm"
    return _gate("units", "passed" if least >= wait.min_units else "waiting", f"{least} of {wait.min_units} agents {where} in this step")


def _evidence(verdict: VerdictOut) -> Iterator[GateOut]:
    """Health, guardrails and harm. That harm is found ends the experiment; here it only never passes."""
    bad = [one.detail for one in verdict.health if not one.is_ok]
    yield _gate("health", "failed" if bad else "passed", "; ".join(bad) or "split, truth and its age are right")
    tripped = [one.kind.replace("_", " ") for one in verdict.guardrails if one.is_tripped]
    nearest = max((one.evidence for one in verdict.guardrails), default=0.0)
    yield _gate(
        "guardrails",
        "failed" if tripped else "passed",
        f"more {' and '.join(tripped)} than chance" if tripped else f"{100 * nearest:.0f} % of what trips one",
    )
    worse = [one for one in verdict.effects if one.verdict == "worse"]
    bounds = [one.harm_low for one in verdict.effects if one.harm_low is not None]
    said = f"harm is at least {signed(max(bounds))}" if bounds else "no bound of harm yet"
    yield _gate("harm", "failed" if worse else "passed", said)


def _accuracy(policy: RolloutPolicy, experiment: ExperimentOut, verdict: VerdictOut) -> GateOut:
    """Shown once, and still so: the earliest looks know least of the agents that have not come yet."""
    has_won = experiment.state == ExperimentState.RECOMMENDED
    limit = 0.0 if policy.aim == "better" else policy.margin
    aim = "better" if policy.aim == "better" else f"no worse than by {100 * policy.margin:g} %"
    highs = [one.high for one in verdict.effects if one.high is not None]
    if has_won and highs and highs[0] < limit:
        return _gate("accuracy", "passed", f"shown to be {aim}; by now the error is at most {signed(highs[0])}")
    if has_won:
        bound = f"by now the error is at most {signed(highs[0])}" if highs else "there is no bound any more"
        return _gate("accuracy", "waiting", f"was shown to be {aim}; {bound}")
    bound = f"the error is at most {signed(highs[0])} so far" if highs else "nothing is known yet"
    return _gate("accuracy", "waiting", f"not shown to be {aim}; {bound}")


def _watch(policy: RolloutPolicy, verdict: VerdictOut) -> Iterator[GateOut]:
    """The predecessor predicts beside: it must not be nearer to the truth by more than the margin."""
    bad = [one.detail for one in verdict.health if not one.is_ok]
    yield _gate("health", "failed" if bad else "passed", "; ".join(bad) or "truth and its age are right")
    effect = next(iter(verdict.effects), None)
    is_nearer = effect is not None and effect.verdict == "better" and effect.high is not None and effect.high < -policy.margin
    change = None if effect is None else effect.change
    said = "nothing is known yet" if change is None else f"the predecessor's error is {signed(change)}"
    yield _gate("predecessor", "failed" if is_nearer else "passed", said)


def _alerts(policy: RolloutPolicy, alerts: Sequence[CriticalAlert]) -> GateOut:
    """Whatever is critical about the version, or about all that is live, must be over before the switch, and before the bake is."""
    if not alerts:
        return _gate("alerts", "passed", "no critical alert is open")
    names = _backing(policy, alerts) or sorted({alert.rule for alert in alerts})
    return _gate("alerts", "failed", f"critical: {', '.join(names)}")


def _backing(policy: RolloutPolicy, alerts: Sequence[CriticalAlert]) -> list[str]:
    """Rules for which the predecessor comes back."""
    return sorted({alert.rule for alert in alerts if alert.is_against} & set(policy.bake.roll_back_on))


def _brings_back(rollout: RolloutOut, gate: GateOut, seen: Seen) -> bool:
    if rollout.stage != Stage.BAKING or gate.state != "failed":
        return False
    return gate.name == "predecessor" or (gate.name == "alerts" and bool(_backing(rollout.policy, seen.alerts)))


def _horizon(policy: RolloutPolicy, experiment: ExperimentOut, at: datetime) -> GateOut:
    """What is left of the stage's time. It runs on over pauses and the kill switch: nothing blocks the next version for ever."""
    began_at = experiment.started_at or experiment.created_at
    left_s = policy.horizon_s - (at - began_at).total_seconds()
    whole = duration_words(policy.horizon_s)
    if left_s <= 0:
        return _gate("horizon", "failed", f"{whole} are over")
    return _gate("horizon", "passed", f"{duration_words(left_s)} left of {whole}")


def _overdue(rollout: RolloutOut, state: RolloutState, gates: Sequence[GateOut]) -> str:
    stage = "shadow" if rollout.stage == Stage.SHADOW else "canary"
    held = [gate.detail for gate in gates if gate.state != "passed" and gate.name != "horizon"]
    if state == RolloutState.PAUSED:
        held = ["it was paused, and nobody resumed it"]
    why = f": {held[0]}" if held else ""
    return f"The {stage} was not through after {duration_words(rollout.policy.horizon_s)}{why}. The champion stays."


def _said(seen: Seen, otherwise: str, *, only_over: bool = False) -> str:
    experiment = seen.experiment
    if experiment is None or (only_over and experiment.state not in OVER):
        return otherwise
    return experiment.sentence


def _words(state: State) -> str:
    return state.value.replace("_", " ")
