"""Changes of experiments: what may be done with one, what a confirmation must hold, what is told when it came too late. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from console.ab.words import arm_letter, arm_words, experiment_mark
from console.changes import Action, Difference, differences, role_refusal
from console.names import actor_words
from console.wording import ago, share
from trajops.contracts.audit import AuditOut
from trajops.contracts.experiments import ArmOut, ExperimentOut, VerdictOut
from trajops.contracts.session import Role
from trajops.experiments.lifecycle import ROUTED, ExperimentState

S = ExperimentState
ActionName = Literal["launch", "discard", "promote", "cover", "pause", "resume", "stop", "override", "stop_all", "go_on"]
STOP_WORD = "STOP"
LABELS: dict[ActionName, str] = {
    "launch": "Launch",
    "discard": "Discard",
    "promote": "Promote the winner",
    "cover": "Change coverage",
    "pause": "Pause",
    "resume": "Resume",
    "stop": "Stop",
    "override": "Override a unit",
    "stop_all": "Stop all experiments",
    "go_on": "Let experiments go on",
}
ICONS: dict[ActionName, str] = {
    "launch": "rocket_launch",
    "discard": "delete",
    "promote": "upgrade",
    "cover": "tune",
    "pause": "pause",
    "resume": "play_arrow",
    "stop": "stop",
    "override": "person_pin",
    "stop_all": "block",
    "go_on": "play_circle",
}
TITLES: dict[ActionName, str] = {
    "launch": "Launch this experiment",
    "discard": "Discard this draft",
    "promote": "Promote the winner",
    "cover": "Change the coverage",
    "pause": "Pause this experiment",
    "resume": "Resume this experiment",
    "stop": "Stop this experiment",
    "override": "Put a unit into an arm by hand",
    "stop_all": "Stop all experiments at once",
    "go_on": "Let experiments go on",
}
EFFECTS: dict[ActionName, str] = {
    "launch": "From now on the enrolled units are answered by their arms, in every process within two seconds.",
    "discard": "The draft is put aside. Nothing that is served changes.",
    "promote": "Its version answers everybody from now on. The champion so far stays warm for a rollback, and all other experiments end.",
    "cover": "Another share of the units is enrolled. Nobody changes arms.",
    "pause": "The champion answers everybody for now. Versions stay warm, and everybody comes back to the same arm.",
    "resume": "The enrolled units are answered by their arms again, each by the same one as before.",
    "stop": "It ends, and cannot be started again.",
    "override": "The unit is answered by this arm, except while the experiment is paused, and what it is answered is in no figure.",
    "stop_all": "The champion answers everybody within two seconds. Experiments are kept, and go on when this is taken back.",
    "go_on": "All experiments that are running answer their units again, each by the same arm as before.",
}
DONE: dict[ActionName, str] = {
    "launch": "Launched",
    "discard": "Discarded",
    "promote": "Promoted",
    "cover": "Coverage changed",
    "pause": "Paused",
    "resume": "Goes on",
    "stop": "Stopped",
    "override": "Override written",
    "stop_all": "All experiments are stopped",
    "go_on": "Experiments go on",
}


def actions(experiment: ExperimentOut, role: Role) -> list[Action[ActionName]]:
    """What can be done with one experiment in its present state."""
    refusal = role_refusal(role)
    names: dict[ExperimentState, tuple[ActionName, ...]] = {
        S.DRAFT: ("launch", "discard"),
        S.RUNNING: ("cover", "pause", "stop", "override"),
        S.PAUSED: ("resume", "stop", "override"),
        S.RECOMMENDED: ("promote", "cover", "pause", "stop", "override"),
    }
    offered = ("stop",) if experiment.plan.mode == "watch" and experiment.state in ROUTED else names.get(experiment.state, ())
    return [Action(name, LABELS[name], refusal) for name in offered]


def switch_action(role: Role, *, is_stopped: bool, epoch: int | None) -> Action[ActionName]:
    """The kill switch, or the way back from it."""
    name: ActionName = "go_on" if is_stopped else "stop_all"
    return Action(name, LABELS[name], role_refusal(role) or (None if epoch is not None else "The routes cannot be read now."))


# Stopping


class Ending(NamedTuple):
    """One way to stop.

    Attributes:
        winner: the arm that is named; None: nobody.
        words: what the choice says.
        model_version: that becomes the champion; None: the champion stays.
    """

    winner: str | None
    words: str
    model_version: int | None = None


def endings(experiment: ExperimentOut) -> list[Ending]:
    """How it may be stopped: without a winner, with the control, or with a treatment that is still compared."""
    plan = experiment.plan
    control = plan.arms[0]
    found = [
        Ending(None, f"Nobody wins; v{control.model_version} stays"),
        Ending(control.variant, f"{arm_words(plan, control.variant)} wins and stays"),
    ]
    found += [
        Ending(arm.variant, f"{arm_words(plan, arm.variant)} wins and becomes the champion", arm.model_version)
        for arm in plan.arms[1:]
        if arm.variant not in experiment.closed_arms and arm.model_version != control.model_version
    ]
    return found


def typed_problem(typed: str, wanted: str) -> str | None:
    """What is wrong with what was typed to confirm; None when it matches."""
    if typed.strip().lower().removeprefix("v") != wanted.lower():
        return f"Type {wanted} to confirm."
    return None


# Figures


def arm_figures(arm: ArmOut | None) -> dict[str, float]:
    """What is measured in one arm, under the names that versions are compared by."""
    found = {} if arm is None else {name: getattr(arm, name) for name in ("ade_m", "fde_m", "miss_rate", "coverage", "latency_p95_ms")}
    return {name: value for name, value in found.items() if value is not None}


def arm_differences(verdict: VerdictOut | None, control: str, variant: str) -> list[Difference]:
    """A treatment beside the control in better/worse words; nothing while the data are invalid."""
    if verdict is None or verdict.kind == "invalid":
        return []
    by_name = {arm.variant: arm for arm in verdict.arms}
    return differences(arm_figures(by_name.get(variant)), arm_figures(by_name.get(control)))


def enrolled_words(experiment: ExperimentOut, coverage: float, held_out: float = 0.0) -> str:
    """What a coverage means for each arm, where so large a share of all units is held out; a shadow holds nobody out."""
    plan = experiment.plan
    held_out = 0.0 if plan.is_beside else held_out
    part = (1.0 if plan.namespace is None else plan.namespace.end - plan.namespace.begin) * (1 - held_out)
    arms = ", ".join(
        f"{arm_letter(plan, arm.variant)} {share(coverage * part * arm.weight, 0 if coverage * part * arm.weight >= 0.1 else 1)}"
        for arm in plan.arms
    )
    said = f"Of all {plan.unit}s: {arms}."
    return f"{said} {share(held_out)} are held out." if held_out else said


# Too late


def conflict_sentence(
    name: ActionName, seen: ExperimentOut | None, present: ExperimentOut | None, entries: Sequence[AuditOut], *, detail: str, now: datetime
) -> str:
    """The whole message after a refused change.

    Args:
        name: what was asked for.
        seen: the experiment when the button was drawn; None for the kill switch.
        present: after the refusal; None where it cannot be read.
        entries: newest changes of it.
        detail: what the API said; shown where no change can be seen.
        now: aware time.
    """
    changed = changes_between(seen, present) if seen is not None and present is not None else []
    again = f"press “{LABELS[name]}” once more if it is still right."
    if not changed:
        return f"Nothing was done: {detail.removesuffix('.')}. The page has been read again: look at how things stand now, and {again}"
    last = max(entries, key=lambda entry: entry.at, default=None)
    by = f" ({actor_words(last.actor)}, {ago(last.at, now)}: “{last.reason}”)" if last is not None else ""
    told = f"Nothing was done, because the experiment changed while you were deciding: {'; '.join(changed)}{by}."
    return f"{told} The page has been read again: look at how it stands now{f', and {again}' if _may_again(name, present) else '.'}"


def _may_again(name: ActionName, present: ExperimentOut | None) -> bool:
    return present is not None and name in {one.name for one in actions(present, "operator")}


def changes_between(seen: ExperimentOut, present: ExperimentOut) -> list[str]:
    """What is different, one clause each; empty where nothing is."""
    found = []
    if seen.state != present.state:
        found.append(f"it went from {experiment_mark(seen.state).word.lower()} to {experiment_mark(present.state).word.lower()}")
    if seen.coverage != present.coverage and present.state in ROUTED and present.state != S.PAUSED:
        found.append(f"{share(present.coverage, 0)} of the units are enrolled, no longer {share(seen.coverage, 0)}")
    out = [one for one in present.closed_arms if one not in seen.closed_arms]
    if out:
        found.append(f"{', '.join(arm_letter(present.plan, one) for one in out)} was rolled back")
    if not found and seen.version != present.version:
        found.append("somebody changed it, for example an override")
    return found
