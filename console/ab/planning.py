"""A plan in the making: what is filled in, what is wrong with it, and what a checklist says. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from pydantic import ValidationError

from console.wording import DASH, Mark, lasting
from trajops.contracts.deployments import RouteOut
from trajops.contracts.experiments import (
    ArmIn,
    CheckState,
    ExperimentPlan,
    GuardrailIn,
    Metric,
    Mode,
    NamespaceIn,
    StopRules,
)
from trajops.contracts.models import ModelsOut, ModelVersionOut
from trajops.experiments.routed import UnitKind

DAY_S = 86_400.0
MOST_TREATMENTS = 4
CHANGES = (-0.01, -0.02, -0.05, -0.10, -0.20)
USUAL = StopRules()
_CHECKS: Mapping[CheckState, Mark] = {
    "ok": Mark("OK", "ok", "check_circle"),
    "warning": Mark("Warning", "warn", "warning"),
    "blocked": Mark("Blocked", "bad", "block"),
}
_TITLES = {
    "units": "Nobody is enrolled twice",
    "versions": "Versions are staged",
    "warm": "Versions are loaded",
    "join rate": "Truth arrives",
    "duration": "It ends in time",
}


@dataclass(frozen=True, slots=True)
class Fields:
    """What is filled in, in the units of the form: shares in per cent, times in days, minutes, seconds.

    Attributes:
        name, hypothesis: in words.
        mode, unit, metric: as in the plan.
        control: version of the champion.
        treatments: versions that are compared with it.
        weights: of all arms, the control first, per cent.
        coverage: per cent.
        namespace: name and part (per cent); None: all units.
        margin, expected: relative changes, per cent; `expected` is positive for an improvement.
        errors, slow_answers: tolerance of each guardrail; None: it does not stand.
        slow_ms: what a slow answer is.
        aim, on_win: of the stop rules.
        min_units, min_minutes, horizon_days, horizon_units, min_harmed_units: of the stop rules.
        alpha: per cent.
        tuned_units: as in the plan.
        min_join, max_join_gap: per cent.
        max_stale_s, invalid_for_s: of the data.
    """

    name: str
    hypothesis: str
    control: int
    treatments: Sequence[int]
    weights: Sequence[float]
    mode: Mode = "live"
    unit: UnitKind = "agent"
    metric: Metric = "ade_m"
    coverage: float = 100.0
    namespace: tuple[str, float, float] | None = None
    margin: float = 2.0
    expected: float = 5.0
    errors: float | None = 1.0
    slow_answers: float | None = 1.0
    slow_ms: float = 100.0
    aim: str = USUAL.aim
    on_win: str = USUAL.on_win
    min_units: int = USUAL.min_units
    min_minutes: float = USUAL.min_s / 60
    horizon_days: float = USUAL.horizon_s / DAY_S
    horizon_units: int | None = None
    min_harmed_units: int = USUAL.min_harmed_units
    alpha: float = 5.0
    tuned_units: int = 1000
    min_join: float = 20.0
    max_join_gap: float = 5.0
    max_stale_s: float = 180.0
    invalid_for_s: float = 60.0


def variants(treatments: Sequence[int]) -> list[str]:
    """What the arms are called, the control first."""
    return ["control", "treatment"] if len(treatments) == 1 else ["control", *(f"v{version}" for version in treatments)]


def even_weights(arms: int) -> list[float]:
    """The same share for each arm, whole per cents where that is possible, 100 in total."""
    each = round(100 / arms, 1)
    return [round(100 - each * (arms - 1), 1), *([each] * (arms - 1))]


def candidates(models: ModelsOut) -> list[ModelVersionOut]:
    """Versions that can be treatments: those that are staged."""
    return [one for one in models.versions if one.state == "staged"]


def no_plan_reason(models: ModelsOut, route: RouteOut) -> str | None:
    """Why nothing can be planned at all; None where something can."""
    if route.champion is None:
        return "There is no champion to compare with. Promote a version on the Models page first."
    if not candidates(models):
        return "No version is staged. Stage one on the Models page first."
    return None


def plan_of(fields: Fields) -> tuple[ExperimentPlan | None, list[str]]:
    """The plan, or what is wrong with what is filled in, one sentence each."""
    problems = list(_problems(fields))
    if problems:
        return None, problems
    guardrails = [
        *([] if fields.errors is None else [GuardrailIn(kind="errors", tolerance=fields.errors)]),
        *([] if fields.slow_answers is None else [GuardrailIn(kind="slow_answers", tolerance=fields.slow_answers, slow_ms=fields.slow_ms)]),
    ]
    versions = [fields.control, *fields.treatments]
    total = sum(fields.weights)
    try:
        plan = ExperimentPlan(
            name=fields.name.strip(),
            hypothesis=fields.hypothesis.strip(),
            mode=fields.mode,
            arms=tuple(
                ArmIn(variant=name, model_version=version, weight=weight / total)
                for name, version, weight in zip(variants(fields.treatments), versions, fields.weights, strict=True)
            ),
            unit=fields.unit,
            coverage=fields.coverage / 100,
            namespace=None
            if fields.namespace is None
            else NamespaceIn(name=fields.namespace[0].strip(), begin=fields.namespace[1] / 100, end=fields.namespace[2] / 100),
            metric=fields.metric,
            margin=fields.margin / 100,
            expected_change=-fields.expected / 100,
            guardrails=tuple(guardrails),
            alpha=fields.alpha / 100,
            tuned_units=fields.tuned_units,
            min_join_rate=fields.min_join / 100,
            max_join_gap=fields.max_join_gap / 100,
            max_stale_s=fields.max_stale_s,
            invalid_for_s=fields.invalid_for_s,
            stop=StopRules.model_validate(
                {
                    "min_units": fields.min_units,
                    "min_harmed_units": fields.min_harmed_units,
                    "min_s": 60 * fields.min_minutes,
                    "horizon_s": DAY_S * fields.horizon_days,
                    "horizon_units": fields.horizon_units,
                    "aim": fields.aim,
                    "on_win": fields.on_win,
                }
            ),
        )
    except ValidationError as error:
        return None, [_said(one) for one in error.errors()]
    return plan, []


def _problems(fields: Fields) -> list[str]:
    found = []
    if not fields.name.strip():
        found.append("Give it a name.")
    if len(fields.hypothesis.strip()) < 10:
        found.append("Say in at least 10 characters what you expect, and why.")
    if not fields.treatments:
        found.append("Choose a staged version to compare with the champion.")
    elif abs(sum(fields.weights) - 100) > 0.2:
        found.append(f"Weights add up to 100 %, not {sum(fields.weights):g} %.")
    if fields.namespace is not None and not fields.namespace[0].strip():
        found.append("Give the namespace a name.")
    if fields.namespace is not None and fields.namespace[1] >= fields.namespace[2]:
        found.append("The part of the namespace is empty; move one of its ends.")
    return found


def _said(error: Mapping[str, object]) -> str:
    """One of pydantic's findings as a sentence."""
    message = str(error["msg"]).removeprefix("Value error, ")
    where = error["loc"]
    place = " ".join(str(one).replace("_", " ") for one in where if not isinstance(one, int)) if isinstance(where, tuple) else ""
    said = f"{place}: {message}" if place else message
    return said[:1].upper() + said[1:].removesuffix(".") + "."


def with_change(plan: ExperimentPlan, change: float) -> ExperimentPlan:
    """The same plan with another change that is hoped for."""
    return plan.model_copy(update={"expected_change": change})


def check_mark(state: CheckState) -> Mark:
    """Mark of a line of the checklist."""
    return _CHECKS[state]


def check_title(name: str) -> str:
    """What a line of the checklist is about."""
    return _TITLES.get(name) or name.replace("_", " ").capitalize()


def duration_words(span_s: float | None) -> str:
    """How long it will take."""
    if span_s is None:
        return DASH
    if span_s >= DAY_S:
        return f"{span_s / DAY_S:.1f} d"
    return lasting(timedelta(seconds=span_s))


def launch_refusal(role_refusal: str | None, problems: Sequence[str], can_launch: bool | None) -> str | None:
    """Why Launch is disabled; None when it may be pressed.

    Args:
        role_refusal: why the role may not.
        problems: of what is filled in.
        can_launch: by the checklist; None where it cannot be read.
    """
    if role_refusal is not None:
        return role_refusal
    if problems:
        return problems[0]
    if can_launch is None:
        return "It cannot be checked now."
    return None if can_launch else "Something on the checklist blocks it; the line says what."
