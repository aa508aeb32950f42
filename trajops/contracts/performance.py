"""Performance: live accuracy and calibration, as truth arrives."""

from typing import Literal

from pydantic import AwareDatetime, Field

from trajops.contracts.wire import Wire

SliceBy = Literal["model_version", "variant", "scene", "speed_band", "step", "calibration"]
Metric = Literal["ade_m", "fde_m", "miss_rate", "nll", "coverage", "radius_m"]
FigureVerdict = Literal["degraded", "unclear", "as_validated", "better", "no_figure", "too_little_data"]
CheckVerdict = Literal["degraded", "warning", "unclear", "as_validated", "better", "no_figure", "too_little_data"]
_WORDS: dict[Metric, str] = {
    "ade_m": "ADE",
    "fde_m": "FDE",
    "miss_rate": "miss rate",
    "nll": "NLL",
    "coverage": "coverage",
    "radius_m": "radius of the ellipses",
}


def metric_words(metric: Metric) -> str:
    """A figure as a person calls it."""
    return _WORDS[metric]


def metric_text(metric: Metric, value: float | None) -> str:
    """A figure with its unit; a dash where there is none."""
    if value is None:
        return "–"
    if metric in {"miss_rate", "coverage"}:
        return f"{100 * value:.1f} %"
    return f"{value:.2f} {'nats' if metric == 'nll' else 'm'}"


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


class FigureOut(Wire):
    """One figure with its interval over agents, beside the figures of validation."""

    metric: Metric = Field(description="`radius_m` is sharpness: the mean radius of the circle as large as the nominal ellipse.")
    mean: float | None
    low: float | None = Field(description="Lower end of the interval; null where one agent alone says nothing about others.")
    high: float | None
    validation: float | None = Field(description="The version's own figure at validation.")
    champion_validation: float | None = Field(description="The champion's.")
    verdict: FigureVerdict | None = Field(
        description="degraded: the whole interval lies beyond the tolerance. unclear: it reaches over the bound; more agents will tell. "
        "no_figure: the version was not validated there. null: not judged."
    )


class SliceOut(Wire):
    """The scored predictions of one version in one scene, speed band, variant or horizon step."""

    value: str = Field(description="Scene, band, variant, version, step from 1 to 12, or number of a calibration (0: as trained).")
    model_version: int
    predictions: int = Field(description="Predictions with truth for the whole horizon.")
    agents: int
    verdict: FigureVerdict = Field(description="The gravest of the figures'.")
    figures: list[FigureOut]


class SlicesOut(Wire):
    """Live figures taken apart."""

    by: SliceBy
    since: AwareDatetime = Field(description="Later than asked for where the range holds more than is read at once: the newest count.")
    until: AwareDatetime
    nominal_coverage: float
    confidence: float
    champion: int | None
    sentence: str
    slices: list[SliceOut]


class EstimatePoint(Wire):
    """One part of a range: what was estimated before its truth, and what was observed afterwards."""

    at: AwareDatetime = Field(description="When the part begins.")
    predictions: int
    scored: int = Field(description="Of them, with truth for the whole horizon by now.")
    estimated_ade_m: float | None
    low: float | None
    high: float | None
    observed_ade_m: float | None = Field(description="Null until truth has arrived.")
    last_known_ade_m: float | None = Field(description="The mean error of the reference: what one would say without an estimate.")


class VersionEstimateOut(Wire):
    """The estimated error of one version."""

    model_version: int
    unscored: int = Field(description="Predictions of the range without truth for the whole horizon.")
    estimated_ade_m: float | None = Field(description="Over the predictions without truth; null where nothing says how to put it right.")
    low: float | None
    high: float | None
    validation_ade_m: float | None
    mean_error_m: float | None = Field(description="Mean distance between estimate and observation over the parts that have both.")
    last_known_error_m: float | None = Field(description="The same of the last known mean.")
    points: list[EstimatePoint]


class EstimateOut(Wire):
    """Performance while truth is still missing."""

    since: AwareDatetime
    until: AwareDatetime
    versions: list[VersionEstimateOut]


class PerformanceCheckOut(Wire):
    """One verdict of `check_performance` on one version."""

    check_id: str
    at: AwareDatetime
    model_name: str
    model_version: int
    since: AwareDatetime
    until: AwareDatetime
    verdict: CheckVerdict = Field(description="degraded: confirmed by several checks. warning: found by this one.")
    sentence: str
    flagged: list[Metric] = Field(description="Figures that are degraded in this check.")
    confirmed: list[Metric] = Field(description="Of the flagged ones, those that were flagged in enough of the last checks.")
    predictions: int
    agents: int
    ade_ratio: float | None = Field(description="Live ADE over the one of validation.")
    ade_ratio_low: float | None
    ade_ratio_high: float | None
    estimated_ade_m: float | None = Field(description="Of the predictions without truth.")
    figures: list[FigureOut]


class PerformanceChecksOut(Wire):
    """The newest check of each version, and the checks before, newest first."""

    latest: list[PerformanceCheckOut]
    history: list[PerformanceCheckOut]
