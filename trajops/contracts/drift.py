"""Drift: whether the traffic still looks like the reference."""

from typing import Literal

from pydantic import AwareDatetime, Field

from trajops.contracts.wire import Wire

Verdict = Literal["insufficient_data", "stable", "warning", "drift"]


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
