"""Drift: whether the traffic still looks like the reference."""

from typing import Literal

from pydantic import AwareDatetime, Field

from trajops.contracts.wire import Wire

Verdict = Literal["insufficient_data", "stable", "warning", "drift"]


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


class DriftOut(Wire):
    """The newest check in full, and the verdicts before it."""

    latest: DriftCheckOut | None
    history: list[DriftCheckOut] = Field(description="Newest first, without columns' histograms.")


def without_histograms(check: DriftCheckOut) -> DriftCheckOut:
    """The same check, small enough for a list."""
    no_bins: dict[str, list[float]] = {"bins": [], "reference_share": [], "current_share": []}
    return check.model_copy(update={"columns": [column.model_copy(update=no_bins) for column in check.columns]})
