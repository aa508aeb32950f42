"""Performance: live accuracy and calibration, as truth arrives."""

from pydantic import AwareDatetime, Field

from trajops.contracts.wire import Wire


class PerformanceRow(Wire):
    """One group of scored predictions."""

    model_version: int
    variant: str
    predictions: int
    scored: int = Field(description="Predictions with truth for at least one step.")
    complete: int = Field(description="Predictions with truth for the whole horizon: what the figures below are means of.")
    agents: int
    join_rate: float = Field(description="Share of predictions old enough for truth that have any.")
    ade_m: float | None
    fde_m: float | None
    miss_rate: float | None
    nll: float | None
    coverage: float | None = Field(description="Observed share of steps inside the nominal ellipse.")
    cv_ade_m: float | None = Field(description="Constant velocity over the same steps.")
    latency_p50_ms: float | None
    latency_p95_ms: float | None


class PerformancePoint(Wire):
    """One time bucket of one model version."""

    at: AwareDatetime
    model_version: int
    predictions: int
    scored: int
    ade_m: float | None
    fde_m: float | None
    coverage: float | None


class PerformanceOut(Wire):
    """Live figures of a time range."""

    since: AwareDatetime
    until: AwareDatetime
    nominal_coverage: float
    rows: list[PerformanceRow]
    series: list[PerformancePoint]
    step_error_m: dict[str, list[float | None]] = Field(description="Mean error by horizon step, by model version.")
    last_outcome_at: AwareDatetime | None = Field(description="Newest outcome in the lake, also outside the range.")
