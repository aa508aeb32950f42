"""What the drift check compares and when it speaks up: the model of `configs/drift.yaml`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from trajops.configs import Config
from trajops.telemetry import Served, Source

Kind = Literal["input", "prediction", "performance"]


class ColumnRule(Config):
    """One column of the lake that is watched."""

    column: str = Field(min_length=1)
    kind: Kind


class CurrentRule(Config):
    """The window that is judged: the newest rows of real traffic."""

    window_s: float = Field(default=300.0, gt=0)
    sources: tuple[Served, ...] = ("live", "replay")
    min_agents: int = Field(default=60, ge=2, description="Fewer continuous tracks than this are too little data for a verdict.")


class ReferenceRule(Config):
    """What the current window is compared with."""

    sources: tuple[Source, ...] = ("backfill",)
    window_s: float = Field(default=3600.0, gt=0, description="Without such rows, the oldest traffic of this length.")
    min_agents: int = Field(default=120, ge=2)
    refresh_s: float = Field(default=600.0, gt=0, description="How long a reference that has stopped growing is kept in memory.")
    max_rows: int = Field(default=200_000, ge=1000, description="A larger reference is thinned by whole agents.")


class CalibrationRule(Config):
    """How thresholds are drawn from the reference itself."""

    windows: int = Field(default=288, ge=288, description="Clean windows resampled; 60 gave 18 % false alarms.")
    margin: float = Field(default=1.15, ge=1, description="Threshold = largest clean score × margin.")
    min_threshold: float = Field(default=0.02, gt=0, description="A smaller PSI is never worth an alarm, however many rows prove it.")
    seed: int = 7


class ConfirmRule(Config):
    """m of n: how many of the last checks must agree on a column before it is drift."""

    needed: int = Field(default=2, ge=1)
    of: int = Field(default=3, ge=1)
    spacing_s: float = Field(default=20.0, ge=0, description="Checks closer together than this saw the same rows and count once.")

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.needed > self.of:
            raise ValueError(f"needed ({self.needed}) cannot be more than of ({self.of})")
        return self


class UnitRule(Config):
    """Errors of unit or clock, told by the ratio of medians over a short window; critical without confirmation."""

    columns: tuple[str, ...] = ("speed_mps", "dt_s")
    window_s: float = Field(default=60.0, gt=0)
    min_agents: int = Field(default=30, ge=2, description="In the embedded match, minutes of fewer tracks vary as much as a unit does.")
    low: float = Field(default=0.5, gt=0, lt=1)
    high: float = Field(default=2.0, gt=1)


class ReportRule(Config):
    """The full report that stands beside the verdict."""

    every_s: float = Field(default=3600.0, gt=0, description="Without an alarm a report is kept at most this often.")
    timeout_s: float = Field(default=20.0, gt=0, description="A verdict waits no longer than this for the report.")
    reference_rows: int = Field(default=5000, ge=100)
    current_rows: int = Field(default=2000, ge=50)
    kept: int = Field(default=50, ge=1, description="Reports on disk; the oldest go first.")


class DriftRules(Config):
    """All of `configs/drift.yaml`."""

    current: CurrentRule = Field(default_factory=CurrentRule)
    reference: ReferenceRule = Field(default_factory=ReferenceRule)
    calibration: CalibrationRule = Field(default_factory=CalibrationRule)
    confirm: ConfirmRule = Field(default_factory=ConfirmRule)
    units: UnitRule = Field(default_factory=UnitRule)
    report: ReportRule = Field(default_factory=ReportRule)
    columns: tuple[ColumnRule, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [rule.column for rule in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"columns stand twice: {', '.join(twice)}")
        return self
