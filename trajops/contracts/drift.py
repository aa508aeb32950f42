"""Drift: whether the traffic still looks like the reference."""

from typing import Literal

from pydantic import AwareDatetime, Field

from trajops.contracts.wire import Wire

Verdict = Literal["insufficient_data", "stable", "warning", "drift"]
UNIT_RULE = "unit_rule"
_RATIO = "_ratio"
_WORDS = {
    "speed_mps": "mean speed",
    "speed_last_mps": "last speed",
    "acceleration_mps2": "acceleration",
    "turn_rad": "turn",
    "heading_rad": "heading",
    "path_m": "path length",
    "dt_s": "time step",
    "predicted_speed_mps": "predicted speed",
    "predicted_spread_m": "predicted spread",
    "latency_ms": "time to answer",
    "ade_m": "ADE",
    "fde_m": "FDE",
    "inside_share": "share inside the ellipse",
}
_UNITS = {"_mps2": "m/s²", "_mps": "m/s", "_ms": "ms", "_m": "m", "_s": "s", "_rad": "rad"}


def column_words(column: str) -> str:
    """A column of the comparison as a person calls it: `predicted_spread_m` is the predicted spread."""
    if column.endswith(_RATIO):
        return f"{column_words(column.removesuffix(_RATIO))}, unit check"
    suffix = next((suffix for suffix in _UNITS if column.endswith(suffix)), "")
    return _WORDS.get(column) or column.removesuffix(suffix).replace("_", " ")


def column_title(column: str) -> str:
    """The words of a column with the unit that its suffix states; a unit check is in multiples of the reference."""
    if column.endswith(_RATIO):
        return f"{column_words(column)} (×)"
    unit = next((unit for suffix, unit in _UNITS.items() if column.endswith(suffix)), None)
    return column_words(column) if unit is None else f"{column_words(column)} ({unit})"


class DriftOpinion(Wire):
    """What another detector says about a column; shown beside our score, never decisive."""

    detector: str
    method: str
    score: float
    threshold: float
    is_drifted: bool


class DriftColumn(Wire):
    """One column of the comparison."""

    column: str
    kind: Literal["input", "prediction", "performance"]
    method: str
    score: float | None
    threshold: float | None
    is_drifted: bool
    reference_mean: float | None
    current_mean: float | None
    bins: list[float] = Field(default_factory=list, description="Edges shared by both histograms.")
    reference_share: list[float] = Field(default_factory=list)
    current_share: list[float] = Field(default_factory=list)
    opinions: list[DriftOpinion] = Field(default_factory=list, description="Other detectors on one row of each agent.")


class DriftCheckOut(Wire):
    """One check of the current window against the reference."""

    check_id: str
    at: AwareDatetime
    verdict: Verdict
    sentence: str
    reference_since: AwareDatetime | None
    reference_until: AwareDatetime | None
    current_since: AwareDatetime
    current_until: AwareDatetime
    reference_agents: int
    current_agents: int
    columns: list[DriftColumn]
    has_report: bool = Field(description="The full Evidently report can be opened.")


class DriftReportOut(Wire):
    """The check that a full report was written with."""

    check_id: str
    at: AwareDatetime
    verdict: Verdict


class DriftOut(Wire):
    """The newest check in full, and the verdicts before it."""

    latest: DriftCheckOut | None
    history: list[DriftCheckOut] = Field(description="Newest first, without columns' histograms.")
    last_report: DriftReportOut | None = Field(None, description="Newest check with a full report; it may be older than the history.")


def without_histograms(check: DriftCheckOut) -> DriftCheckOut:
    """The same check, small enough for a list."""
    no_bins: dict[str, list[float]] = {"bins": [], "reference_share": [], "current_share": []}
    return check.model_copy(update={"columns": [column.model_copy(update=no_bins) for column in check.columns]})
