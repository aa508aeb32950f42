"""Rollouts in words: the path and how far it has been gone, gates, what may be done, how it came here. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from console.changes import Action, Name, role_refusal
from console.names import actor_words
from console.wording import Mark, ago, seconds, share
from trajops.contracts.audit import AuditOut
from trajops.contracts.deployments import RouteOut
from trajops.contracts.jobs import job_title
from trajops.contracts.models import ModelVersionOut
from trajops.contracts.rollouts import GateOut, RolloutOut
from trajops.contracts.session import Role
from trajops.rollouts.lifecycle import ACTIVE, RolloutState, Stage
from trajops.rollouts.rules import RolloutPolicy, Wait

R = RolloutState
JOB = "advance_rollouts"
STALE = timedelta(seconds=60)
ActionName = Literal["start", "approve", "pause", "resume", "stop", "roll_back"]
LABELS: dict[ActionName, str] = {
    "start": "Roll out",
    "approve": "Approve",
    "pause": "Pause",
    "resume": "Resume",
    "stop": "Stop",
    "roll_back": "Roll back",
}
ICONS: dict[ActionName, str] = {
    "start": "rocket_launch",
    "approve": "verified",
    "pause": "pause",
    "resume": "play_arrow",
    "stop": "stop",
    "roll_back": "undo",
}
TITLES: dict[ActionName, str] = {
    "start": "Roll out version {v}",
    "approve": "Let version {v} go on",
    "pause": "Pause the rollout of version {v}",
    "resume": "Resume the rollout of version {v}",
    "stop": "Stop the rollout of version {v}",
    "roll_back": "Roll version {v} back",
}
DONE: dict[ActionName, str] = {
    "start": "The rollout of version {v} has begun",
    "approve": "Version {v} goes on",
    "pause": "The rollout of version {v} is paused",
    "resume": "The rollout of version {v} goes on",
    "stop": "The rollout of version {v} is stopped",
    "roll_back": "Version {v} is rolled back",
}
_EFFECTS: dict[ActionName, str] = {
    "start": "It goes step by step, each behind its gates. Harm ends it without a hand.",
    "approve": "It goes on at the next look, if all other gates are still passed.",
    "pause": "The champion answers everybody for now. The version stays warm, and everybody comes back to the same arm.",
    "resume": "The present step begins anew: its units and its time are counted from now on.",
    "stop": "The champion answers everybody again. The version goes back to staged.",
    "roll_back": "The champion answers everybody again, in every process within two seconds.",
}
_EFFECTS_OF_BAKE: dict[ActionName, str] = {
    "stop": "The version stays champion, and nobody watches it any longer. Its predecessor is retired, and stays warm for a rollback.",
    "roll_back": "The champion of before answers everybody again, in every process within two seconds.",
}
PAST_GATES = "Its rollout promotes it once its gates are passed. Approve it there, or stop the rollout to promote it without."
_STATES: dict[RolloutState, Mark] = {
    R.RUNNING: Mark("Under way", "info", "rocket_launch"),
    R.PAUSED: Mark("Paused", "warn", "pause_circle"),
    R.LIVE: Mark("Live", "ok", "check_circle"),
    R.ROLLED_BACK: Mark("Rolled back", "warn", "undo"),
    R.INCONCLUSIVE: Mark("Inconclusive", "warn", "help"),
    R.STOPPED: Mark("Stopped", "unknown", "stop_circle"),
}
_GATES: dict[str, str] = {
    "horizon": "Time left",
    "switch": "Kill switch",
    "time": "Time",
    "units": "Agents",
    "freshness": "Fresh figures",
    "health": "Data are well",
    "guardrails": "Guardrails",
    "harm": "No harm",
    "accuracy": "Accuracy",
    "approval": "Approval",
    "predecessor": "Predecessor",
    "alerts": "Alerts",
    "coverage": "Coverage",
    "obstacle": "In the way",
}
_GATE_MARKS: dict[str, Mark] = {
    "passed": Mark("Passed", "ok", "check_circle"),
    "waiting": Mark("Waits", "unknown", "hourglass_top"),
    "failed": Mark("Not passed", "warn", "error"),
}
_STAGES: dict[Stage, str] = {Stage.SHADOW: "Shadow", Stage.PROMOTING: "Promotion", Stage.BAKING: "Bake"}


class PathStep(NamedTuple):
    """One place on the path of a rollout.

    Attributes:
        words: what it is called.
        mark: gone, here, or ahead.
        explanation: what it waits for.
    """

    words: str
    mark: Mark
    explanation: str


def rollout_mark(state: RolloutState) -> Mark:
    """State of a rollout."""
    return _STATES[state]


def shown(rollouts: Sequence[RolloutOut]) -> RolloutOut | None:
    """The one that the page shows: the active one, or the newest."""
    return next((one for one in rollouts if one.state in ACTIVE), rollouts[0] if rollouts else None)


def path(rollout: RolloutOut) -> list[PathStep]:
    """All places from shadow to live, in their order."""
    policy = rollout.policy
    places = [(Stage.SHADOW, 0)] * (policy.shadow is not None) + [(Stage.CANARY, number) for number in range(len(policy.canary))]
    places += [(Stage.PROMOTING, 0), (Stage.BAKING, 0)]
    here = places.index((rollout.stage, rollout.step))
    found = []
    for number, (stage, step) in enumerate(places):
        if number < here or rollout.state == R.LIVE:
            mark = Mark("Passed", "ok", "check_circle")
        elif number == here:
            mark = replace(_STATES[rollout.state], word="Here")
        else:
            mark = Mark("Ahead", "unknown", "radio_button_unchecked")
        words = f"Canary {percent(policy.canary[step].coverage)}" if stage == Stage.CANARY else _STAGES[stage]
        found.append(PathStep(words, mark, place_help(policy, stage, step)))
    end = Mark("Passed", "ok", "check_circle") if rollout.state == R.LIVE else Mark("Ahead", "unknown", "radio_button_unchecked")
    return [*found, PathStep("Live", end, "It is the champion, and nothing waits any longer.")]


def percent(coverage: float) -> str:
    """A coverage with all its digits: half a percent is not none."""
    return f"{100 * coverage:.3g} %"


def place_help(policy: RolloutPolicy, stage: Stage, step: int) -> str:
    """What a step waits for, by its policy."""
    if stage == Stage.PROMOTING:
        return "A last look at the figures; then one pointer is written."
    if stage == Stage.CANARY:
        half = share(policy.canary[step].coverage / 2, 0 if policy.canary[step].coverage >= 0.02 else 1)
        return f"{_waits(policy.canary[step])} {half} of the agents are answered by the version."
    wait: Wait | None = policy.shadow if stage == Stage.SHADOW else policy.bake
    return "" if wait is None else _waits(wait)


def _waits(wait: Wait) -> str:
    return f"Waits for {wait.min_units} agents with truth in each arm and {seconds(wait.min_s)}."


def gate_lines(gates: Sequence[GateOut]) -> list[tuple[str, Mark, str]]:
    """Name, state and detail of each gate, those that hold it first."""
    order = ("failed", "waiting", "passed")
    return [(_GATES[gate.name], _GATE_MARKS[gate.state], gate.detail) for gate in sorted(gates, key=lambda gate: order.index(gate.state))]


def stale_words(rollout: RolloutOut, now: datetime) -> str | None:
    """That nobody looks at an active rollout, so that it cannot go on; None where somebody does."""
    last = rollout.looked_at or rollout.entered_at
    if rollout.state not in ACTIVE or now - last < STALE:
        return None
    unseen = seconds((now - last).total_seconds())
    return f"Nobody has looked at it for {unseen}: it goes no further while the job “{job_title(JOB)}” does not run."


def policy_words(policy: RolloutPolicy) -> str:
    """A policy in one line."""
    steps = ", ".join(percent(step.coverage) for step in policy.canary)
    shadow = "shadow, then " if policy.shadow is not None else ""
    asked = {"canary": "a person lets the canary begin", "promoting": "a person approves the promotion"}
    by_hand = "; ".join(asked[one] for one in policy.approval)
    return f"{shadow}canary at {steps}; bake of {seconds(policy.bake.min_s)}; {by_hand or 'nobody is asked'}"


def actions(rollout: RolloutOut, role: Role) -> list[Action[ActionName]]:
    """What can be done with a rollout now; nothing once it is over."""
    refusal = role_refusal(role)
    if rollout.state not in ACTIVE:
        return []
    stop: ActionName = "stop"
    if rollout.stage == Stage.BAKING:
        return [Action("roll_back", LABELS["roll_back"], refusal), Action(stop, "End the bake", refusal)]
    if rollout.state == R.PAUSED:
        return [Action(name, LABELS[name], refusal) for name in ("resume", "stop", "roll_back")]
    approve = [Action("approve", LABELS["approve"], refusal or approval_problem(rollout))] if _asks(rollout) else []
    return [*approve, *(Action(name, LABELS[name], refusal) for name in ("pause", "stop", "roll_back"))]


def _asks(rollout: RolloutOut) -> bool:
    return not rollout.is_approved and any(gate.name == "approval" for gate in rollout.gates)


def approval_problem(rollout: RolloutOut) -> str | None:
    """Why it cannot be approved yet; None when it can."""
    held = [gate for gate in rollout.gates if gate.state != "passed" and gate.name != "approval"]
    return f"Other gates are not passed yet: {held[0].detail}." if held else None


def start_action(version: ModelVersionOut, route: RouteOut, rollouts: Sequence[RolloutOut], role: Role) -> Action[ActionName] | None:
    """The way to roll a version out; None where it is not staged."""
    if version.state != "staged" or version.deployment_id is None:
        return None
    active = next((one for one in rollouts if one.state in ACTIVE), None)
    refusal = role_refusal(role)
    if refusal is None and route.champion is None:
        refusal = "There is no champion to compare with; promote this version instead."
    if refusal is None and active is not None:
        refusal = f"Version {active.model_version} is being rolled out; stop that first, or wait until it is over."
    return Action("start", LABELS["start"], refusal)


def behind_gates(
    offered: Sequence[Action[Name]], rollouts: Sequence[RolloutOut], *, model_version: int | None = None, experiment_id: str | None = None
) -> list[Action[Name]]:
    """What is offered of a version, or of an experiment, with a promotion disabled where a rollout that is not over decides on it."""
    is_its_own = decides_on(rollouts, model_version=model_version, experiment_id=experiment_id)
    return [replace(one, refusal=one.refusal or PAST_GATES) if is_its_own and one.name == "promote" else one for one in offered]


def decides_on(rollouts: Sequence[RolloutOut], *, model_version: int | None = None, experiment_id: str | None = None) -> bool:
    """Whether a rollout that is not over decides on a version, or on what an experiment compares."""
    active = next((one for one in rollouts if one.state in ACTIVE), None)
    return active is not None and (
        active.model_version == model_version or (experiment_id is not None and active.experiment_id == experiment_id)
    )


def effect(name: ActionName, rollout: RolloutOut | None) -> str:
    """What a change does."""
    baking = rollout is not None and rollout.stage == Stage.BAKING
    return _EFFECTS_OF_BAKE.get(name, _EFFECTS[name]) if baking else _EFFECTS[name]


def history(rollout: RolloutOut, entries: Sequence[AuditOut], now: datetime) -> list[dict[str, str]]:
    """How it came here, newest first: when, where to, by whom, and why."""
    rows = []
    for entry in entries:
        after = entry.after.get("rollouts", {}).get(rollout.rollout_id, "")
        rows.append(
            {
                "When": ago(entry.at, now),
                "To": _place_words(after),
                "By": actor_words(entry.actor),
                "Because": entry.reason if entry.action != "rollout.next" else _figures(entry) or entry.reason,
            }
        )
    return rows


def _place_words(place: str) -> str:
    stage, _, state = place.partition(", ")
    word, _, number = stage.partition(" ")
    name = f"Canary step {number}" if word == "canary" else _STAGES.get(Stage(word), word) if word in set(Stage) else word
    return name if state in {"", "running"} else f"{name}, {state.replace('_', ' ')}"


def _figures(entry: AuditOut) -> str:
    """The gates that a step was taken by, in short."""
    told = {"units", "time", "accuracy", "harm", "predecessor"}
    return "; ".join(str(gate.get("detail", "")) for gate in entry.after.get("gates") or [] if gate.get("name") in told)
