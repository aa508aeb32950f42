"""What the Performance page says: figures, slices, calibrations and estimates in words and rows. Pure."""

from collections.abc import Sequence
from typing import Any

from console.wording import DASH, Tone, count, figure_mark, metres, share
from trajops.contracts.calibrations import CalibrationOut
from trajops.contracts.performance import FigureOut, Metric, SliceBy, SliceOut, VersionEstimateOut

DIMENSIONS: dict[str, SliceBy] = {"Version": "model_version", "Speed": "speed_band", "Scene": "scene", "Variant": "variant"}
METRICS: dict[str, Metric] = {
    "ADE": "ade_m",
    "FDE": "fde_m",
    "Miss rate": "miss_rate",
    "NLL": "nll",
    "Coverage": "coverage",
    "Sharpness": "radius_m",
}
STEP_METRICS: dict[str, Metric] = {"Error": "ade_m", "Coverage": "coverage", "Sharpness": "radius_m", "NLL": "nll"}
_AXES: dict[Metric, str] = {
    "ade_m": "ADE (m)",
    "fde_m": "FDE (m)",
    "miss_rate": "Miss rate (%)",
    "nll": "NLL (nats)",
    "coverage": "Steps inside ellipse (%)",
    "radius_m": "Mean radius of the ellipse (m)",
}


def axis_title(metric: Metric) -> str:
    """A figure with its unit, for an axis."""
    return _AXES[metric]


def percent(metric: Metric, value: float | None) -> float | None:
    """A figure in the unit of its axis: shares in per cent."""
    return value if value is None or metric not in {"miss_rate", "coverage"} else 100 * value


def figure_of(one: SliceOut, metric: Metric) -> FigureOut | None:
    """One figure of a slice; None where it has none."""
    return next((found for found in one.figures if found.metric == metric), None)


def value_words(by: SliceBy, value: str) -> str:
    """A slice as a person calls it."""
    if by == "calibration":
        return "as trained" if value == "0" else f"calibration {value}"
    return value.replace("_", " ").capitalize() if by in {"speed_band", "variant"} else value


def slice_rows(slices: Sequence[SliceOut], by: SliceBy, dimension: str) -> list[dict[str, Any]]:
    """Rows of the table of slices: each figure, and below which verdict it stands."""
    rows = []
    for one in slices:
        row: dict[str, Any] = {} if by == "model_version" else {dimension: value_words(by, one.value)}
        row |= {"Version": f"v{one.model_version}", "Verdict": f"{figure_glyph(one.verdict)} {figure_mark(one.verdict).word}"}
        for name, metric in METRICS.items():
            found = figure_of(one, metric)
            row[axis_title(metric) if name != "Sharpness" else "Radius (m)"] = None if found is None else percent(metric, found.mean)
        ade = figure_of(one, "ade_m")
        row |= {"ADE at validation (m)": None if ade is None else ade.validation, "Agents": one.agents, "Predictions": one.predictions}
        rows.append(row)
    return rows


def figure_glyph(verdict: str) -> str:
    """A sign that tells verdicts apart in a table without colour."""
    return {"degraded": "✕", "warning": "▲", "unclear": "◌", "as_validated": "●", "better": "●"}.get(verdict, "○")


def estimate_sentence(found: VersionEstimateOut) -> str:
    """The estimated error of the predictions without truth, and how far such estimates were off."""
    if found.estimated_ade_m is None:
        first = (
            "Every prediction of this range has its truth." if not found.unscored else "Too few predictions have truth to estimate from."
        )
    else:
        first = (
            f"{count(found.unscored)} predictions lack truth for their whole horizon; their ADE is estimated at "
            f"{metres(found.estimated_ade_m)} ({metres(found.low)} to {metres(found.high)})."
        )
    if found.mean_error_m is None or found.last_known_error_m is None:
        return first
    off, naive = metres(found.mean_error_m), metres(found.last_known_error_m)
    return f"{first} Estimates came out within {off} on average, the last known mean within {naive}."


def calibration_sentence(one: CalibrationOut) -> str:
    """Coverage before and after, on truth that the factors were not fitted on."""
    return (
        f"{share(one.coverage_before)} → {share(one.coverage_after)} of the newest truth inside the {share(one.nominal_coverage, 0)} "
        f"ellipse, tried on {count(one.holdout_agents)} agents after fitting on {count(one.fitted_agents)}."
    )


def factor_words(factors: Sequence[float]) -> str:
    """How far the ellipses' axes are stretched: the square root of the factors of their covariances."""
    if not factors:
        return DASH
    low, high = min(factors) ** 0.5, max(factors) ** 0.5
    return f"axes × {low:.2f}" if high - low < 0.005 else f"axes × {low:.2f} to {high:.2f}"


def coverage_tone(coverage: float, nominal: float) -> Tone:
    """How near coverage is to what it promises."""
    off = abs(coverage - nominal)
    return "ok" if off <= 0.02 else "warn" if off <= 0.05 else "bad"
