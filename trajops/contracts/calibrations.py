"""Calibrations: factors that put the intervals of a served version right."""

from typing import Literal

from pydantic import AwareDatetime, Field

from trajops.contracts.wire import Reason, Wire

CalibrationState = Literal["proposed", "applied", "superseded", "reverted"]


class CalibrationOut(Wire):
    """One set of factors for the covariances of one version, and what became of it."""

    number: int = Field(description="Grows with each calibration; predictions carry it.")
    model_name: str
    model_version: int
    state: CalibrationState = Field(description="superseded: a newer one took its place. reverted: somebody, or the way back, took it out.")
    factors: list[float] = Field(description="Factor of the covariance of each step, relative to the version as trained.")
    made_at: AwareDatetime
    since: AwareDatetime = Field(description="Begin of the window of truth that it comes from.")
    until: AwareDatetime
    fitted_agents: int
    holdout_agents: int = Field(description="Agents of the newest part of the window, which it was tried on and not fitted on.")
    nominal_coverage: float
    coverage_before: float = Field(description="Share of that part inside the ellipses as they were served, on average over agents.")
    coverage_after: float = Field(description="Share of that part inside the ellipses with these factors.")
    sentence: str
    changed_at: AwareDatetime
    changed_by: str


class CalibrationsOut(Wire):
    """Calibrations, newest first."""

    calibrations: list[CalibrationOut]


class CalibrationChangeIn(Wire):
    """Put a calibration into force, or take it out."""

    expected_state: CalibrationState = Field(description="As the caller has seen it; another one is a conflict.")
    reason: Reason


class CalibrationChangeOut(Wire):
    """What changed."""

    calibration: CalibrationOut
    audit_id: str
