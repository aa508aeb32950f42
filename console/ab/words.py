"""Experiments as the pages word them: arms, the banner, how they stand, health, effects. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from console.wording import DASH, Mark, Tone, ago, lasting, seconds, share
from trajops.contracts import figures
from trajops.contracts.experiments import (
    ArmOut,
    EffectOut,
    ExperimentOut,
    ExperimentPlan,
    ExperimentSliceOut,
    HealthOut,
    Metric,
    Mode,
    VerdictKind,
    VerdictOut,
)
from trajops.contracts.jobs import job_title
from trajops.contracts.status import ProcessOut
from trajops.experiments.lifecycle import OVER, ROUTED, ExperimentState
from trajops.experiments.routed import UnitKind

S = ExperimentState
METRICS: dict[Metric, str] = {"ade_m": "ADE", "fde_m": "FDE", "miss_rate": "Miss rate"}
METRIC_HELP = "ADE: mean distance to truth over the 12 steps. FDE: at the last step. Miss rate: share that ends more than 2 m away."
SEQUENCE_HELP = (
    "A confidence sequence: where the true change lies, with 95 % certainty over all looks together. "
    "It may be looked at as often as you like. Live, what constant velocity's error explains is taken out of the change (CUPED), "
    "which so differs from that of the means under Arms."
)
STILL_OPEN = "Not enough evidence yet. This does not mean that the models are equal."
HIDDEN = "The data are invalid, so the effect is hidden: it would mean nothing."
EARLY_STOP = "It ended early, so the size may be overstated; the sequence is not."
EARLY_WORD = "It was decided early and goes on, so the size may still be overstated; the sequence is not."
UNITS: dict[UnitKind, str] = {"agent": "agents", "client": "clients", "scene": "scenes"}
_STATES: dict[ExperimentState, Mark] = {
    S.DRAFT: Mark("Draft", "unknown", "edit_note"),
    S.RUNNING: Mark("Running", "info", "science"),
    S.PAUSED: Mark("Paused", "warn", "pause_circle"),
    S.RECOMMENDED: Mark("Recommended", "ok", "recommend"),
    S.PROMOTED: Mark("Promoted", "ok", "check_circle"),
    S.ROLLED_BACK: Mark("Rolled back", "bad", "undo"),
    S.INCONCLUSIVE: Mark("Inconclusive", "warn", "help"),
    S.STOPPED: Mark("Stopped", "unknown", "stop_circle"),
    S.DISCARDED: Mark("Discarded", "unknown", "delete"),
}
# At a moment that was chosen by what was seen, so that the effect may be overstated; a horizon chooses nothing.
_ENDED_BY_CHOICE = {S.RECOMMENDED, S.PROMOTED, S.ROLLED_BACK, S.STOPPED}
_HEALTH: dict[str, tuple[str, str]] = {
    "split": (
        "Split",
        "Whether units fall into the arms as planned. If not (a sample ratio mismatch, SRM), something drops units of one arm.",
    ),
    "join_rate": ("Truth", "Share of each arm's predictions that get truth. If it differs, the missing ones may be the hard ones."),
    "freshness": ("Freshness", "Age of the newest truth. Old truth is no ground for a decision."),
    "jumpers": ("Jumpers", "Units that were answered in several arms. They spoil both, so they are left out, and must be few."),
}
DELAY_HELP = "Median time from an answer to its truth in each arm. What was answered since is not judged yet."
ROUTING_HELP = "Processes of the API on this machine. A change reaches each of them within two seconds."


# Arms


def arm_letter(plan: ExperimentPlan, variant: str) -> str:
    """A is the control; treatments follow in their order."""
    names = [arm.variant for arm in plan.arms]
    return "ABCDE"[names.index(variant)] if variant in names else variant


def arm_words(plan: ExperimentPlan, variant: str) -> str:
    """An arm as it is read: letter, name and version."""
    version = next((arm.model_version for arm in plan.arms if arm.variant == variant), None)
    letter = arm_letter(plan, variant)
    return f"{letter} · {variant} (v{version})" if version is not None else variant


def treatments(experiment: ExperimentOut) -> list[str]:
    """Treatments that are still being compared."""
    return [arm.variant for arm in experiment.plan.arms[1:] if arm.variant not in experiment.closed_arms]


def versions_words(plan: ExperimentPlan) -> str:
    """Which versions are compared."""
    return f"{', '.join(f'v{arm.model_version}' for arm in plan.arms[1:])} against v{plan.arms[0].model_version}"


# How it stands


def experiment_mark(state: ExperimentState) -> Mark:
    """Mark of an experiment's state."""
    return _STATES[state]


MODE_WORDS: dict[Mode, str] = {
    "live": "live: treatments answer",
    "shadow": "shadow: treatments answer nobody",
    "watch": "watch: the predecessor answers nobody",
}


def banner_mark(experiment: ExperimentOut) -> Mark:
    """The one verdict: what an operator reads first."""
    plan, state, verdict = experiment.plan, experiment.state, experiment.verdict
    if state == S.PAUSED:
        is_invalid = verdict is not None and verdict.kind == "invalid"
        return Mark("Data invalid, paused", "bad", "error") if is_invalid else _STATES[state]
    if state == S.RECOMMENDED:
        winner = experiment.winner or "treatment"
        # Its own figures: of several treatments another one may be what the newest look says.
        own = None if verdict is None else next((one.verdict for one in verdict.effects if one.variant == winner), None)
        how = f"no worse than A (margin {_margin(plan)})" if own == "no_worse" else "better"
        return Mark(f"Recommended: {arm_letter(plan, winner)} {how}", "ok", "recommend")
    if state == S.PROMOTED:
        return Mark(f"{arm_letter(plan, experiment.winner or 'treatment')} promoted", "ok", "check_circle")
    if state == S.ROLLED_BACK:
        return Mark(f"{_letters(plan, experiment.closed_arms)} worse, rolled back", "bad", "undo")
    if state == S.STOPPED and experiment.winner == plan.arms[0].variant:
        return Mark("Stopped, A stays as the winner", "unknown", "stop_circle")
    if state != S.RUNNING:
        return _STATES[state]
    return _running_mark(plan, verdict)


def _running_mark(plan: ExperimentPlan, verdict: VerdictOut | None) -> Mark:
    kind: VerdictKind = "collecting" if verdict is None else verdict.kind
    said = _letters(plan, [one.variant for one in verdict.effects if one.verdict == kind]) if verdict is not None else "B"
    marks: dict[VerdictKind, Mark] = {
        "collecting": Mark("Collecting data", "info", "hourglass_top"),
        "better": Mark(f"{said} better", "ok", "check_circle"),
        "no_worse": Mark(f"No worse than A (margin {_margin(plan)})", "ok", "check_circle"),
        "worse": Mark(f"{said} worse", "bad", "error"),
        "guardrail": Mark(f"{said} worse", "bad", "error"),
        "inconclusive": _STATES[S.INCONCLUSIVE],
        "invalid": Mark("Data invalid", "bad", "error"),
    }
    if plan.mode == "watch":
        # Its treatment is the predecessor: what is worse in it speaks for the champion.
        marks |= {
            "better": Mark("Predecessor nearer to the truth", "warn", "warning"),
            "worse": Mark("Predecessor worse, the champion holds", "ok", "check_circle"),
            "guardrail": Mark("Predecessor worse, the champion holds", "ok", "check_circle"),
            "no_worse": Mark("Predecessor about as good", "ok", "check_circle"),
        }
    return marks[kind]


def _letters(plan: ExperimentPlan, variants: Sequence[str]) -> str:
    return " and ".join(arm_letter(plan, one) for one in variants) or "B"


def _margin(plan: ExperimentPlan) -> str:
    return f"{100 * plan.margin:g} %"


def banner_sentence(experiment: ExperimentOut) -> str:
    """The API's own sentence: of the decision where one was made, else of the newest verdict; without the word of the mark."""
    is_running = experiment.state == S.RUNNING and experiment.verdict is not None
    said = experiment.verdict.sentence if is_running and experiment.verdict is not None else experiment.sentence
    start, _, rest = said.partition(": ")
    if not rest or start not in {"Data invalid", "Paused", "Stopped", "Discarded"}:
        return said
    if experiment.state == S.PAUSED and start == "Data invalid" and (now := experiment.verdict) is not None and now.kind != "invalid":
        well = " All is well now." if all(one.is_ok for one in now.health) else ""
        return f"The data were invalid when that was done: {rest}{well}"
    return rest[:1].upper() + rest[1:]


def notes(experiment: ExperimentOut) -> list[str]:
    """What must be known beside the verdict: arms that are out, and that an early decision overstates."""
    found = []
    if experiment.closed_arms and experiment.state in ROUTED:
        control = experiment.plan.arms[0].model_version
        found.append(
            f"{_letters(experiment.plan, experiment.closed_arms)} was rolled back; its {UNITS[experiment.plan.unit]} are answered "
            f"by v{control} since, and its errors and times are not shown."
        )
    if experiment.plan.mode == "shadow":
        found.append("A shadow: treatments predict beside the champion and answer nobody. It tells accuracy only.")
    if experiment.plan.mode == "watch":
        found.append(
            "The predecessor of the champion predicts beside it while that bakes. Its rollout, under Models, decides what follows."
        )
    if is_early(experiment):
        found.append(EARLY_WORD if experiment.state == S.RECOMMENDED else EARLY_STOP)
    return found


def is_early(experiment: ExperimentOut) -> bool:
    """Whether it was decided or stopped before truth of as many units had come as the expected change takes."""
    verdict = experiment.verdict
    if experiment.state not in _ENDED_BY_CHOICE or verdict is None or not shown_effects(verdict):
        return False
    return verdict.expected_units is None or _scored_units(experiment, verdict) < verdict.expected_units


def planned_words(experiment: ExperimentOut) -> str:
    """Units with truth so far by what the expected change takes: a share, and a multiple once that is passed."""
    verdict = experiment.verdict
    if verdict is None or not verdict.expected_units or len(verdict.arms) < 2:
        return DASH
    ratio = _scored_units(experiment, verdict) / verdict.expected_units
    return share(ratio, 0) if ratio <= 1 else f"{ratio:.1f} ×"


def _scored_units(experiment: ExperimentOut, verdict: VerdictOut) -> int:
    """Units with truth that a comparison of two arms rests on, as `expected_units` counts them: of arms that are still compared."""
    control, *treatments = verdict.arms
    compared = [arm for arm in treatments if arm.variant not in experiment.closed_arms] or treatments
    # Beside each other, both versions predict for each unit.
    return min(arm.scored_units for arm in compared) + (0 if experiment.plan.is_beside else control.scored_units)


def running_words(experiment: ExperimentOut, now: datetime) -> str:
    """For how long it has been running, or ran."""
    if experiment.started_at is None:
        return DASH
    span = (experiment.ended_at or now) - experiment.started_at
    return f"{span / timedelta(days=1):.1f} d" if span >= timedelta(days=1) else lasting(span)


def health_badge(verdict: VerdictOut | None) -> Mark:
    """All that must be well before an effect means anything, in one mark."""
    if verdict is None:
        return Mark("No data yet", "unknown", "hourglass_empty")
    bad = [one for one in verdict.health if not one.is_ok]
    if not bad:
        return Mark("Healthy", "ok", "check_circle")
    words = f"{len(bad)} of {len(verdict.health)} not right"
    return Mark(words, "bad", "error") if verdict.kind == "invalid" else Mark(f"{words} yet", "warn", "warning")


def list_words(experiment: ExperimentOut, now: datetime) -> str:
    """One line of the picker."""
    return f"{experiment.plan.name} · {experiment_mark(experiment.state).word} · {ago(experiment.created_at, now)}"


def first_shown(experiments: Sequence[ExperimentOut]) -> ExperimentOut | None:
    """Which one is shown where none was asked for: the newest that is routed, else the newest."""
    return next((one for one in experiments if one.state in ROUTED), experiments[0] if experiments else None)


def routed(experiments: Sequence[ExperimentOut]) -> list[ExperimentOut]:
    """Those that decide now who answers whom."""
    return [one for one in experiments if one.state in ROUTED]


def of_challenger(experiments: Sequence[ExperimentOut], model_version: int) -> ExperimentOut | None:
    """The experiment that a version takes part in now."""
    return next((one for one in routed(experiments) if any(arm.model_version == model_version for arm in one.plan.arms[1:])), None)


def is_over(experiment: ExperimentOut) -> bool:
    """Whether nothing can be done about it any more."""
    return experiment.state in OVER


# Health


@dataclass(frozen=True, slots=True)
class HealthTile:
    """One thing that must be well.

    Attributes:
        title: what is looked at.
        mark: how it stands.
        detail: the figures.
        explanation: of the title, without jargon.
    """

    title: str
    mark: Mark
    detail: str
    explanation: str


def health_tiles(experiment: ExperimentOut, processes: Sequence[ProcessOut], epoch: int | None) -> list[HealthTile]:
    """The strip above the results: split, truth, freshness, jumpers, label delay, routing."""
    verdict = experiment.verdict
    found = [] if verdict is None else [_health_tile(experiment, verdict, one) for one in verdict.health]
    delay = [] if verdict is None else [_delay_tile(experiment, verdict)]
    return [*found, *delay, _routing_tile(processes, epoch)]


def _delay_tile(experiment: ExperimentOut, verdict: VerdictOut) -> HealthTile:
    """How long truth takes, by arm; nothing is decided by it."""
    compared = _compared(experiment, verdict)
    arms = [arm for arm in verdict.arms if arm.variant in compared]
    if all(arm.label_delay_s is None for arm in arms):
        return HealthTile("Label delay", Mark("Unknown", "unknown", "help"), "No truth has come yet.", DELAY_HELP)
    letters = " / ".join(arm_letter(experiment.plan, arm.variant) for arm in arms)
    delays = " / ".join(seconds(arm.label_delay_s) for arm in arms)
    return HealthTile("Label delay", Mark("Known", "info", "schedule"), f"{letters}: {delays}, median", DELAY_HELP)


def _health_tile(experiment: ExperimentOut, verdict: VerdictOut, health: HealthOut) -> HealthTile:
    title, explanation = _HEALTH.get(health.name, (health.name.replace("_", " ").capitalize(), ""))
    bad: Tone = "bad" if verdict.kind == "invalid" else "warn"
    mark = Mark("Fine", "ok", "check_circle") if health.is_ok else Mark("Not right", bad, "error" if bad == "bad" else "warning")
    detail = health.detail[:1].upper() + health.detail[1:]
    letters = _letters_of(experiment, verdict, health)
    return HealthTile(title, mark, f"{letters}: {health.detail}" if letters else detail, explanation)


def _compared(experiment: ExperimentOut, verdict: VerdictOut) -> list[str]:
    """Arms that were compared at that look, the one that it rolled back among them."""
    return [experiment.plan.arms[0].variant, *(one.variant for one in verdict.effects)]


def _letters_of(experiment: ExperimentOut, verdict: VerdictOut, health: HealthOut) -> str:
    """Whose figures a detail lists: of truth, those of arms that are still compared, once there are any."""
    if "%" not in health.detail:
        return ""
    arms = [arm.variant for arm in experiment.plan.arms]
    if health.name == "join_rate" and health.detail.count(" / ") + 1 < len(arms):
        arms = _compared(experiment, verdict)
    return " / ".join(arm_letter(experiment.plan, one) for one in arms) if health.name in {"split", "join_rate"} else ""


def _routing_tile(processes: Sequence[ProcessOut], epoch: int | None) -> HealthTile:
    if epoch is None:
        return HealthTile("Routing", Mark("Unknown", "unknown", "help"), "The routes cannot be read.", ROUTING_HELP)
    if not processes:
        return HealthTile(
            "Routing", Mark("Unknown", "unknown", "help"), f"Routing epoch {epoch}; no process has told its own.", ROUTING_HELP
        )
    there = sum(one.epoch == epoch for one in processes)
    detail = f"{there} of {len(processes)} {'process' if len(processes) == 1 else 'processes'} on routing epoch {epoch}"
    mark = Mark("Fine", "ok", "check_circle") if there == len(processes) else Mark("Catching up", "warn", "sync")
    return HealthTile("Routing", mark, detail, ROUTING_HELP)


# Effects


def shown_effects(verdict: VerdictOut | None) -> list[EffectOut]:
    """Effects that may be shown: none while the data are invalid."""
    return [] if verdict is None else [one for one in verdict.effects if one.change is not None]


def level_words(plan: ExperimentPlan) -> str:
    """Certainty of each sequence: α is shared by the treatments."""
    return f"{100 * (1 - plan.alpha / (len(plan.arms) - 1)):.3g} %"


def effect_sentence(plan: ExperimentPlan, effect: EffectOut) -> str:
    """One treatment's change of the metric in words."""
    letter, metric = arm_letter(plan, effect.variant), METRICS[plan.metric]
    name = metric if metric.isupper() else metric.lower()
    if effect.change is None:
        return f"{letter}: {STILL_OPEN}"
    way = "lower" if effect.change < 0 else "higher"
    said = f"{letter}'s {name} is {share(abs(effect.change))} {way} ({level_words(plan)} sequence {bounds_words(effect)})."
    if effect.verdict == "no_worse":
        return f"{said} No worse than A by more than {_margin(plan)}."
    decided = effect_tone(effect) != "unknown"
    return f"{said} {'Valid however often you look.' if decided else STILL_OPEN}"


def bounds_words(effect: EffectOut | ExperimentSliceOut) -> str:
    """Both ends of a sequence."""
    return f"{signed(effect.low)} to {signed(effect.high)}"


def signed(change: float | None) -> str:
    """A relative change with its sign."""
    return "no bound" if change is None else figures.signed(change)


def effect_tone(effect: EffectOut) -> Tone:
    """Ok where the whole sequence is below zero, bad where it is above."""
    if effect.high is not None and effect.high < 0:
        return "ok"
    if effect.verdict in {"worse", "guardrail"} or (effect.low is not None and effect.low > 0):
        return "bad"
    return "ok" if effect.verdict == "no_worse" else "unknown"


def stale_verdict(experiment: ExperimentOut, now: datetime) -> str | None:
    """That nobody has looked at a running experiment for a while; None where somebody has."""
    verdict = experiment.verdict
    if experiment.state not in ROUTED:
        return None
    last = verdict.at if verdict is not None else experiment.started_at or experiment.created_at
    if now - last < timedelta(seconds=30):
        return None
    looked = f"last looked at {ago(last, now)}" if verdict is not None else f"launched {ago(last, now)} and not looked at yet"
    return f"It was {looked}: the job “{job_title('judge_experiments')}” does not run. Nothing is decided meanwhile."


def overview_words(experiments: Sequence[ExperimentOut]) -> str | None:
    """What the Overview says of experiments that are routed; None where none is."""
    found = routed(experiments)
    if not found:
        return None
    if len(found) == 1:
        return f"A/B test “{found[0].plan.name}”, {versions_words(found[0].plan)}"
    return f"{len(found)} A/B tests; the newest is “{found[0].plan.name}”, {versions_words(found[0].plan)}"


def arm_of(verdict: VerdictOut, variant: str) -> ArmOut | None:
    """Figures of one arm."""
    return next((one for one in verdict.arms if one.variant == variant), None)
