"""What is said about the battery of a version: marks, rows of tables, and why it may not be staged. Pure."""

from collections.abc import Sequence
from typing import Any

from console.wording import DASH, Mark
from trajops.contracts.models import ModelVersionOut, family_words
from trajops.contracts.validations import CheckName, CheckOut, MeasuredOut, RankedOut, ValidationOut

CHECKS: dict[CheckName, str] = {
    "loads": "Loads",
    "signature": "Signature",
    "golden_replay": "Golden replay",
    "invariance": "Invariance",
    "worst_scenes": "Worst scenes",
    "latency": "Latency",
    "calibration": "Calibration",
    "bad_input": "Bad input",
}
_STATES = {"passed": "● Passed", "failed": "✕ Failed", "skipped": "○ Skipped"}
_CAUSES = {
    "training": "when it was trained",
    "adoption": "when it was adopted",
    "first_look": "because it had not been validated",
    "asked_for": "because somebody asked",
}


def gate_mark(version: ModelVersionOut) -> Mark:
    """Whether a version may be staged, as far as its battery says."""
    found = version.validation
    if found is None:
        return Mark("Validation is due" if version.is_validation_asked else "Not validated", "unknown", "hourglass_empty")
    if not found.is_passed:
        count = len(found.failed)
        return Mark(f"{count} check{'s' if count > 1 else ''} failed", "bad", "gpp_bad")
    return Mark(f"{found.passed} checks passed", "ok", "verified_user")


def gate_refusal(version: ModelVersionOut) -> str | None:
    """Why a version may not be staged; None where it may. The API decides; this is only said in advance."""
    found = version.validation
    if found is None:
        return "It has not been validated yet; the workers do that within a minute while they run, see Validation and model card below."
    if not found.is_passed:
        names = ", ".join(CHECKS[check].lower() for check in found.failed)
        return f"Its battery has failed ({names}); the reasons stand under Validation and model card below."
    return None


def about(validation: ValidationOut) -> str:
    """When, why and on what a battery was run."""
    on = (
        f"{validation.windows} held-out windows of {validation.agents} agents ({validation.dataset})"
        if validation.windows
        else "no windows"
    )
    return f"Run {_CAUSES[validation.cause]}, by {validation.by}, on {on}; times are of {validation.machine}."


def check_rows(checks: Sequence[CheckOut]) -> list[dict[str, str]]:
    """One row a check."""
    return [{"Check": CHECKS[one.check], "Result": _STATES[one.state], "What was found": _capital(one.sentence)} for one in checks]


def figure_rows(checks: Sequence[CheckOut]) -> list[dict[str, Any]]:
    """One row a figure."""
    return [
        {
            "Check": CHECKS[check.check],
            "Figure": _capital(one.name),
            "Measured": one.measured,
            "Unit": one.unit or DASH,
            "95 % interval": DASH if one.low is None or one.high is None else f"{one.low:.3g} to {one.high:.3g}",
            "Allowed": allowed(one),
            "Within": one.is_within,
        }
        for check in checks
        for one in check.figures
    ]


def allowed(one: MeasuredOut) -> str:
    """The limits of a figure."""
    if one.at_least is not None and one.at_most is not None:
        return f"{one.at_least:g} to {one.at_most:g}"
    if one.at_least is not None:
        return f"at least {one.at_least:g}"
    return DASH if one.at_most is None else f"at most {one.at_most:g}"


def rank_rows(ranking: Sequence[RankedOut]) -> list[dict[str, Any]]:
    """One row a candidate, best first."""
    return [
        {
            "Rank": one.rank,
            "Family": family_words(one.family),
            "Points": None if one.points is None else round(one.points, 1),
            "ADE (m)": one.figures.get("ade_m"),
            "NLL (nats)": one.figures.get("nll"),
            "Coverage": one.figures.get("coverage_90"),
            "Time, median (ms)": one.figures.get("latency_ms"),
            "Time, p99 (ms)": one.figures.get("latency_p99_ms"),
            "Size (MB)": one.figures.get("size_mb"),
        }
        for one in ranking
    ]


def why_rows(ranking: Sequence[RankedOut]) -> list[dict[str, str]]:
    """The reason of each rank, best first."""
    return [
        {"Rank": DASH if one.rank is None else str(one.rank), "Family": family_words(one.family), "Why": one.sentence} for one in ranking
    ]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def below(card: str) -> str:
    """A card whose headings stand two levels lower, for a page that has its own; text from outside was escaped where it was written."""
    return "\n".join(f"##{line}" if line.startswith("#") else line for line in card.splitlines())
