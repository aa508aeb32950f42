"""What follows from a verdict."""

from typing import NamedTuple

from trajops.contracts.experiments import ExperimentPlan, VerdictKind, VerdictOut

HARM = frozenset({"guardrail", "worse"})


class Decision(NamedTuple):
    """What a verdict asks for: roll an arm back, let one win, pause the experiment, or end it without a decision."""

    kind: VerdictKind
    variant: str | None = None


def decision(plan: ExperimentPlan, verdict: VerdictOut) -> Decision | None:
    """What follows from a verdict; None: it goes on as it is."""
    if plan.mode == "watch":
        return None
    for kind in ("guardrail", "worse"):
        for effect in verdict.effects:
            if effect.verdict == kind:
                return Decision(effect.verdict, effect.variant)
    if verdict.kind == "invalid":
        return Decision("invalid") if (verdict.at - verdict.since).total_seconds() >= plan.invalid_for_s else None
    if verdict.kind == "inconclusive":
        return Decision("inconclusive")
    wins = {"better"} if plan.stop.aim == "better" else {"better", "no_worse"}
    winners = [effect for effect in verdict.effects if effect.verdict in wins and effect.high is not None]
    if verdict.kind not in {"better", "no_worse"} or not winners:
        return None
    best = min(winners, key=lambda effect: effect.high or 0.0)
    return Decision(best.verdict, best.variant)
