"""Plan, arms, guardrails and the timeline of an experiment as rows. Pure."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from console.ab.words import METRICS, MODE_WORDS, arm_letter, arm_words, bounds_words, signed
from console.names import action_words, actor_words
from console.wording import Tone, count, metres, milliseconds, seconds, share
from trajops.contracts.audit import AuditOut
from trajops.contracts.experiments import ArmOut, ExperimentOut, ExperimentPlan, GuardrailIn, VerdictOut

_GUARDRAILS = {"errors": "Failed answers", "slow_answers": "Slow answers"}
_ON_WIN = {"recommend": "recommended", "promote": "promoted without a hand"}
_TONES: dict[str, Tone] = {
    "experiment.decide_better": "ok",
    "experiment.decide_no_worse": "ok",
    "experiment.decide_worse": "bad",
    "experiment.decide_guardrail": "bad",
    "experiment.decide_invalid": "bad",
    "experiment.decide_inconclusive": "warn",
    "experiment.pause": "warn",
    "experiments.stop_all": "bad",
}


# The plan


def plan_lines(plan: ExperimentPlan) -> list[tuple[str, str]]:
    """All that a plan fixes, by what it is about."""
    stop, space = plan.stop, plan.namespace
    units = "" if stop.horizon_units is None else f", or {count(stop.horizon_units)} units"
    sure = f"with α {100 * plan.alpha:g} %, from {count(stop.min_units)} units an arm and {stop.min_s / 60:g} min on"
    harm = f"harm, from {count(stop.min_harmed_units)} units an arm on"
    truth = f"truth of {share(plan.min_join_rate, 0)} in each arm, {100 * plan.max_join_gap:g} points apart at most"
    return [
        ("Hypothesis", plan.hypothesis),
        ("Arms", ", ".join(f"{arm_words(plan, arm.variant)} {share(arm.weight, 0)}" for arm in plan.arms)),
        ("Mode", MODE_WORDS[plan.mode]),
        ("Unit", f"{plan.unit}, {share(plan.coverage, 0)} enrolled at the launch"),
        ("Namespace", "all units" if space is None else f"{space.name}, {share(space.begin, 0)} to {share(space.end, 0)}"),
        ("Metric", f"{METRICS[plan.metric]}, expected −{-100 * plan.expected_change:g} %, margin {100 * plan.margin:g} %"),
        ("To win", f"{'better' if stop.aim == 'better' else 'no worse'} than A, then {_ON_WIN[stop.on_win]}"),
        ("Decides", f"{sure}; {harm}; narrowest at {count(plan.tuned_units)} units"),
        ("Guardrails", ", ".join(map(guardrail_words, plan.guardrails)) or "none"),
        ("Data", f"{truth}, {plan.max_stale_s:g} s old at most; paused after {plan.invalid_for_s:g} s without"),
        ("Ends", f"after {stop.horizon_s / 86_400:g} d without a decision{units}"),
    ]


# Arms


# While the data are invalid, these would tell the effect that is hidden.
_EFFECTS = ("ade_m", "fde_m", "miss_rate")


def shown_arms(verdict: VerdictOut) -> list[ArmOut]:
    """Figures of the arms; while the data are invalid without those that tell an effect."""
    if verdict.kind != "invalid":
        return verdict.arms
    return [arm.model_copy(update=dict.fromkeys(_EFFECTS)) for arm in verdict.arms]


def arm_lines(arms: Sequence[ArmOut]) -> list[tuple[str, list[str]]]:
    """One line a figure, one column an arm."""
    return [
        ("Units", [count(one.units) for one in arms]),
        ("Scored units", [count(one.scored_units) for one in arms]),
        ("Predictions", [count(one.predictions) for one in arms]),
        ("ADE", [metres(one.ade_m, 3) for one in arms]),
        ("FDE", [metres(one.fde_m, 3) for one in arms]),
        ("Miss rate", [share(one.miss_rate) for one in arms]),
        ("Coverage", [share(one.coverage) for one in arms]),
        ("Failed units", [_of(one.failed_units, one.units) for one in arms]),
        ("Slow units", [_of(one.slow_units, one.units) for one in arms]),
        ("Join rate", [share(one.join_rate) for one in arms]),
        ("Label delay, median", [seconds(one.label_delay_s) for one in arms]),
        ("Time to answer, p50", [milliseconds(one.latency_p50_ms) for one in arms]),
        ("p95", [milliseconds(one.latency_p95_ms) for one in arms]),
        ("p99", [milliseconds(one.latency_p99_ms) for one in arms]),
    ]


def arm_heads(plan: ExperimentPlan, arms: Sequence[ArmOut]) -> list[str]:
    """What the columns are called."""
    return [arm_words(plan, one.variant) for one in arms]


def _of(part: int, units: int) -> str:
    return f"{count(part)} ({share(part / units)})" if units else count(part)


def arms_csv(plan: ExperimentPlan, verdict: VerdictOut) -> str:
    """Figures of all arms, one line an arm, as numbers."""
    out = io.StringIO()
    names = [name for name in ArmOut.model_fields if name != "variant"]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["at_utc", "arm", "variant", *names])
    for arm in shown_arms(verdict):
        values = arm.model_dump()
        writer.writerow([verdict.at.isoformat(), arm_letter(plan, arm.variant), arm.variant, *(values[name] for name in names)])
    return out.getvalue()


# Guardrails


def guardrail_rows(plan: ExperimentPlan, verdict: VerdictOut) -> list[dict[str, Any]]:
    """How near each guardrail is to its trigger, nearest first."""
    limit = len(plan.guardrails) * (len(plan.arms) - 1) / plan.alpha
    rules = {one.kind: one for one in plan.guardrails}
    return [
        {
            "Guardrail": guardrail_words(rules[one.kind]) if one.kind in rules else _GUARDRAILS.get(one.kind, one.kind),
            "Arm": arm_words(plan, one.variant),
            "State": "✕ Tripped" if one.is_tripped else "▲ Near" if one.evidence >= 0.5 else "● Fine",
            "Units hit": f"{count(one.treatment_units)}, in A {count(one.control_units)}",
            "Evidence": f"{limit ** min(one.evidence, 3.0):,.3g} to 1",
            "Limit": f"{limit:,.3g} to 1",
            "To the trigger": 100 * min(1.0, one.evidence),
        }
        for one in sorted(verdict.guardrails, key=lambda g: -g.evidence)
    ]


def guardrail_words(rule: GuardrailIn) -> str:
    """What must not happen to more units than in A."""
    what = "Failed answers" if rule.kind == "errors" else f"Answers over {rule.slow_ms:g} ms"
    return what + (f", up to × {rule.tolerance:g}" if rule.tolerance > 1 else "")


# Timeline


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to an experiment once.

    Attributes:
        at: when.
        word: what was done.
        actor: by whom.
        reason: why.
        figures: what a decision was made by; empty for other steps.
        tone: of the mark.
        audit_id: of the entry.
    """

    at: datetime
    word: str
    actor: str
    reason: str
    figures: str
    tone: Tone
    audit_id: str


def about(entries: Sequence[AuditOut], experiment_id: str) -> list[AuditOut]:
    """Those entries that changed an experiment, whatever they were about, and the kill switch."""
    return [
        entry
        for entry in entries
        if entry.subject == f"experiment/{experiment_id}"
        or experiment_id in (entry.after.get("experiments") or {})
        or _has(entry, experiment_id)
    ]


def _has(entry: AuditOut, experiment_id: str) -> bool:
    """Whether the kill switch was pressed while an experiment was routed."""
    if not entry.action.startswith("experiments."):
        return False
    return any(one.get("experiment_id") == experiment_id for one in _routed(entry))


def _routed(entry: AuditOut) -> list[Mapping[str, Any]]:
    route = entry.after.get("route")
    found = route.get("experiments") if isinstance(route, Mapping) else None
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def steps(plan: ExperimentPlan, own: Sequence[AuditOut], recent: Sequence[AuditOut], experiment_id: str) -> list[Step]:
    """The timeline, newest first.

    Args:
        plan: of the experiment.
        own: audit entries about it.
        recent: newest entries about anything, of which those that changed it are taken.
        experiment_id: of the experiment.
    """
    found = {entry.audit_id: entry for entry in (*own, *about(recent, experiment_id))}
    ordered = sorted(found.values(), key=lambda entry: (entry.at, entry.audit_id), reverse=True)
    return [
        Step(
            at=entry.at,
            word=action_words(entry),
            actor=actor_words(entry.actor),
            reason=entry.reason,
            figures=cause_words(plan, entry),
            tone=_TONES.get(entry.action, "info"),
            audit_id=entry.audit_id,
        )
        for entry in ordered
    ]


def cause_words(plan: ExperimentPlan, entry: AuditOut) -> str:
    """The figures that a decision was made by; empty for what was not decided by figures."""
    try:
        cause = VerdictOut.model_validate(entry.after["cause"])
    except (KeyError, ValidationError):
        return ""
    names = _arm_names(plan, cause)
    control = names.get(cause.arms[0].variant, "A") if cause.arms else "A"
    units = ", ".join(f"{names[arm.variant]} {count(arm.units)}" for arm in cause.arms)
    effects = [
        f"{names.get(one.variant, one.variant)} {signed(one.change)} (sequence {bounds_words(one)})"
        for one in cause.effects
        if one.change is not None
    ]
    tripped = [
        f"{_GUARDRAILS.get(one.kind, one.kind).lower()}: {count(one.treatment_units)} in {names.get(one.variant, one.variant)}, "
        f"{count(one.control_units)} in {control}"
        for one in cause.guardrails
        if one.is_tripped
    ]
    return "; ".join([f"units: {units}", *effects, *tripped])


def _arm_names(plan: ExperimentPlan, cause: VerdictOut) -> dict[str, str]:
    """Arms by their letters; by their versions where a cause is of another experiment, which ended as this one began.

    A rollout's canary and the watch that follows it name their arms alike, and have the versions the other way round.
    """
    versions = {arm.variant: arm.model_version for arm in plan.arms}
    is_own = all(versions.get(arm.variant) == arm.model_version for arm in cause.arms)
    return {arm.variant: arm_letter(plan, arm.variant) if is_own else f"v{arm.model_version}" for arm in cause.arms}


# Overrides


def overrides(entries: Sequence[AuditOut], experiment: ExperimentOut) -> dict[str, str]:
    """Units that somebody has put into an arm by hand, by the newest entry about an experiment."""
    newest = max(entries, key=lambda entry: entry.at, default=None)
    held = next((one for one in _routed(newest) if one.get("experiment_id") == experiment.experiment_id), None) if newest else None
    found = held.get("overrides") if held is not None else None
    return {str(unit): str(arm) for unit, arm in found.items()} if isinstance(found, Mapping) else {}
