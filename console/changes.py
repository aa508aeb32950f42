"""Changes of what is live: what may be done with a version, how it compares, what a confirmation must hold. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Literal, TypeVar

from console.validation.words import gate_refusal
from console.wording import Tone, number, share
from trajops.contracts.deployments import RouteOut
from trajops.contracts.models import ModelVersionOut
from trajops.contracts.performance import PerformanceRow
from trajops.contracts.session import Role

ROLLBACK_WINDOW = timedelta(minutes=30)
MIN_REASON = 10

# Comparing two versions


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of a candidate beside the same metric of the baseline.

    Attributes:
        metric: name with unit.
        baseline, candidate: figures as text.
        words: better, worse or same, with the amount.
        tone: ok when better, bad when worse, unknown when it cannot be said.
    """

    metric: str
    baseline: str
    candidate: str
    words: str
    tone: Tone


# field of `PerformanceRow` → name with unit, digits, what is better
_METRICS: dict[str, tuple[str, int, Literal["lower", "higher", "nominal"]]] = {
    "ade_m": ("ADE (m)", 3, "lower"),
    "fde_m": ("FDE (m)", 3, "lower"),
    "miss_rate": ("Miss rate", 3, "lower"),
    "nll": ("NLL (nats)", 3, "lower"),
    "coverage": ("Coverage", 3, "nominal"),
    "latency_p95_ms": ("Time to answer in the API, p95 (ms)", 2, "lower"),
}


def validation_figures(version: ModelVersionOut | None) -> dict[str, float]:
    """What was measured on held-out windows, under the names of the live figures.

    The time of a forecast is left out: it was taken when each version was trained, on whatever machine that was and however
    busy, without the API around it. It compares neither with another version's nor with live traffic.
    """
    given = version.metrics if version else {}
    found = {name: given.get("val_coverage_90" if name == "coverage" else f"val_{name}") for name in _METRICS if name != "latency_p95_ms"}
    return {name: value for name, value in found.items() if value is not None}


def live_figures(rows: Iterable[PerformanceRow], model_version: int, variant: str) -> dict[str, float]:
    """What live traffic says of one version in one arm of a comparison; empty where it has not answered."""
    row = next((row for row in rows if (row.model_version, row.variant) == (model_version, variant)), None)
    found = {} if row is None else {name: getattr(row, name) for name in _METRICS}
    return {name: value for name, value in found.items() if value is not None}


def differences(candidate: Mapping[str, float], baseline: Mapping[str, float], nominal_coverage: float = 0.9) -> list[Difference]:
    """Figures of two versions from one source, in better/worse words.

    Args:
        candidate: figures of the version that would take over.
        baseline: figures of the version that answers now; may be empty.
        nominal_coverage: coverage that the ellipse promises; nearer is better.

    Returns:
        One row for each metric that the candidate or the baseline has.
    """
    found = []
    for key, (name, digits, better) in _METRICS.items():
        new, old = candidate.get(key), baseline.get(key)
        if new is None and old is None:
            continue
        words, tone = _judged(new, old, better, digits, nominal_coverage)
        found.append(Difference(name, number(old, digits), number(new, digits), words, tone))
    return found


def _judged(new: float | None, old: float | None, better: str, digits: int, nominal: float) -> tuple[str, Tone]:
    if new is None or old is None:
        return "not comparable", "unknown"
    gain = abs(old - nominal) - abs(new - nominal) if better == "nominal" else (old - new if better == "lower" else new - old)
    if abs(gain) < 0.5 * 10**-digits:
        return "same", "unknown"
    ratio = abs(gain / old) if better != "nominal" and abs(old) > 1e-9 else None
    relative = "" if ratio is None else f" ({share(ratio, 0 if ratio >= 0.01 else 1)})"
    word = ("nearer to nominal" if gain > 0 else "further from nominal") if better == "nominal" else ("better" if gain > 0 else "worse")
    return f"{abs(gain):.{digits}f} {word}{relative}", "ok" if gain > 0 else "bad"


def differences_sentence(rows: Sequence[Difference], source: str) -> str:
    """How many figures of a source, for example “Validation”, get better and worse."""
    better, worse = sum(r.tone == "ok" for r in rows), sum(r.tone == "bad" for r in rows)
    if not better and not worse:
        return f"{source}: nothing differs, or nothing can be compared."
    parts = [f"{n} {word}" for n, word in ((better, "better"), (worse, "worse")) if n]
    return f"{source}: {', '.join(parts)}."


# Changes: what may be done with a version


ActionName = Literal["stage", "canary", "pause", "resume", "stop", "promote", "rollback", "delete"]
_STAGEABLE = frozenset({"registered", "retired", "rolled_back", "inconclusive"})
_PROMOTABLE = frozenset({"staged", "shadow", "canary"})
LABELS: dict[ActionName, str] = {
    "stage": "Stage",
    "canary": "Start canary",
    "pause": "Pause",
    "resume": "Resume",
    "stop": "Stop",
    "promote": "Promote",
    "rollback": "Roll back",
    "delete": "Delete",
}


Name = TypeVar("Name", bound=str)


@dataclass(frozen=True, slots=True)
class Action(Generic[Name]):
    """A change that a page offers.

    Attributes:
        name: which change.
        label: what the button says.
        refusal: why it is disabled; None when it may be done.
    """

    name: Name
    label: str
    refusal: str | None = None


def role_refusal(role: Role) -> str | None:
    """Why a role may not change anything; None when it may. The API decides; this is only said in advance."""
    if role == "viewer":
        return "You are signed in as a viewer. Ask an operator or an administrator to make changes."
    return None


def actions(version: ModelVersionOut, route: RouteOut, role: Role) -> list[Action[ActionName]]:
    """What can be done with one version in its present state."""
    refusal = role_refusal(role)
    if version.state in _STAGEABLE:
        is_kept = route.previous is not None and route.previous.model_version == version.model_version
        kept = "It is kept for a rollback until another version is promoted." if is_kept else None
        return [Action("stage", LABELS["stage"], refusal or gate_refusal(version)), Action("delete", LABELS["delete"], refusal or kept)]
    if version.state == "paused":
        return [Action("resume", LABELS["resume"], refusal), Action("stop", LABELS["stop"], refusal)]
    if version.state not in _PROMOTABLE or version.deployment_id is None or version.version is None:
        return []
    promote = Action("promote", LABELS["promote"], refusal)
    if version.state == "canary":
        return [Action("pause", LABELS["pause"], refusal), Action("stop", LABELS["stop"], refusal), promote]
    if version.state == "shadow":
        return [promote]
    busy = None
    if route.champion is None:
        busy = "There is no champion to compare with; promote this version instead."
    elif route.challenger is not None:
        busy = f"Version {route.challenger.model_version} is being compared already; stop that first."
    return [Action("canary", LABELS["canary"], refusal or busy), promote, Action("delete", LABELS["delete"], refusal)]


def rollback_action(route: RouteOut, role: Role) -> Action[ActionName]:
    """The way back to the previous champion."""
    refusal = role_refusal(role) or (None if route.previous else "There is no previous champion to go back to.")
    return Action("rollback", LABELS["rollback"], refusal)


def is_rollback_urged(route: RouteOut, now: datetime) -> bool:
    """Whether the last route change is young enough for the way back to be shown first."""
    return route.previous is not None and route.changed_at is not None and now - route.changed_at < ROLLBACK_WINDOW


def reason_problem(reason: str) -> str | None:
    """What is wrong with a reason; None when it is good."""
    length = len(reason.strip())
    if length < MIN_REASON:
        return f"Give a reason of at least {MIN_REASON} characters ({length} so far); it is kept in the audit trail."
    return "Give a reason of at most 500 characters." if length > 500 else None


def confirmation_problem(typed: str, model_version: int) -> str | None:
    """What is wrong with the version that was typed to confirm; None when it matches."""
    if typed.strip().lower().removeprefix("v") != str(model_version):
        return f"Type {model_version} to confirm that you mean version {model_version}."
    return None
