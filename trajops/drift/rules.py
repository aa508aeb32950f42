"""What the drift check compares and when it speaks up: the model of `configs/drift.yaml`."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from trajops.config_model import Config, Count, Days, Factor, Seconds
from trajops.telemetry import Recorded, Served

Kind = Literal["input", "prediction", "performance"]
# Figures that the lake has of each prediction, and that can be watched. The kind says whose a change is: that of what came in, of what was
# answered, or of what was seen afterwards, which has to be waited for.
COLUMNS: Mapping[str, Kind] = {
    "speed_mps": "input",
    "speed_last_mps": "input",
    "max_speed_mps": "input",
    "acceleration_mps2": "input",
    "max_acceleration_mps2": "input",
    "turn_rad": "input",
    "heading_rad": "input",
    "path_m": "input",
    "jitter_m": "input",
    "x_m": "input",
    "y_m": "input",
    "dt_s": "input",
    "predicted_speed_mps": "prediction",
    "predicted_spread_m": "prediction",
    "latency_ms": "prediction",
    "ade_m": "performance",
    "fde_m": "performance",
    "inside_share": "performance",
}


def _known(name: str) -> str:
    if name not in COLUMNS:
        raise ValueError(f"there is no column {name!r}; there are {', '.join(COLUMNS)}")
    return name


Column = Annotated[str, AfterValidator(_known)]


class ColumnRule(Config):
    """One column of the lake that is watched."""

    column: Column
    kind: Kind

    @field_validator("kind")
    @classmethod
    def _is_that_of_the_column(cls, value: Kind, info: ValidationInfo) -> Kind:
        kind = COLUMNS.get(info.data.get("column", ""), value)
        if value != kind:
            raise ValueError(f"{info.data['column']} is of the kind {kind}")
        return value


class CurrentRule(Config):
    """The window that is judged: the newest rows of real traffic."""

    window_s: Seconds = Field(default=300.0, gt=0)
    fast_window_s: Seconds = Field(default=60.0, gt=0, description="What is large is looked for in this much shorter window as well.")
    sources: tuple[Served, ...] = Field(default=("live", "replay"), min_length=1)
    min_agents: Count = Field(default=60, ge=2, description="Fewer continuous tracks than this are too little data for a verdict.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.fast_window_s > self.window_s:
            raise ValueError(f"fast_window_s ({self.fast_window_s:g}) cannot be more than window_s ({self.window_s:g})")
        return self


class ReferenceRule(Config):
    """What the current window is compared with."""

    sources: tuple[Recorded, ...] = Field(default=("backfill",), min_length=1)
    window_s: Seconds = Field(default=3600.0, gt=0, description="Without such rows, the oldest traffic of this length.")
    min_agents: Count = Field(default=120, ge=2)
    refresh_s: Seconds = Field(default=600.0, gt=0, description="How long a reference that has stopped growing is kept in memory.")
    max_rows: Count = Field(default=1_000_000, ge=1000, description="A larger reference is thinned by whole windows.")


class CalibrationRule(Config):
    """How thresholds are drawn from the reference itself."""

    windows: int = Field(default=288, ge=288, le=100_000, description="Clean windows resampled; 60 gave 18 % false alarms.")
    calm_days: Days = Field(default=30.0, gt=0, description="By chance a window may be flagged once in so many days of traffic.")
    min_threshold: Factor = Field(default=0.08, gt=0, description="A smaller PSI is never worth an alarm, however many rows prove it.")
    min_scale: Factor = Field(default=0.065, gt=0, description="Nor is a smaller change of scale; 0.065 is 6.5 per cent.")
    fast_factor: Factor = Field(
        default=3.0, ge=1, description="The fast window is for what is large: both are so many times as high in it."
    )
    seed: Count = Field(default=7, ge=0)


class ConfirmRule(Config):
    """m of n: how many of the last checks must agree on a column before it is drift."""

    needed: int = Field(default=2, ge=1, le=100)
    of: int = Field(default=3, ge=1, le=100)
    spacing_s: Seconds = Field(default=20.0, ge=0, description="Checks closer together than this saw the same rows and count once.")
    spacing_share: float = Field(default=0.45, ge=0, le=1, description="So do those closer than this share of the window that was flagged.")

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.needed > self.of:
            raise ValueError(f"needed ({self.needed}) cannot be more than of ({self.of})")
        return self


class UnitRule(Config):
    """Errors of unit or clock, told by the ratio of medians over a short window, or over all where it holds too few agents.

    Critical without confirmation.
    """

    columns: tuple[Column, ...] = Field(default=("speed_mps", "dt_s"), min_length=1)
    window_s: Seconds = Field(default=60.0, gt=0)
    min_agents: Count = Field(default=30, ge=2, description="In the embedded match, minutes of fewer tracks vary as much as a unit does.")
    low: float = Field(default=0.5, gt=0, lt=1)
    high: Factor = Field(default=2.0, gt=1)


class SceneRule(Config):
    """Verdicts by scene."""

    is_split: bool = Field(default=True, description="False: all scenes are one, and none is new. For scene ids that never come back.")
    most: int = Field(default=8, ge=1, le=64, description="Scenes with a verdict of their own; the rest of the reference's are one more.")
    new_min_agents: Count = Field(default=10, ge=2, description="So many agents of a scene that the reference does not know are a finding.")


class DomainRule(Config):
    """A classifier that tries to tell the current agents from the reference's: what shows in no column alone."""

    is_on: bool = True
    sample: int = Field(default=2000, ge=200, le=1_000_000, description="Agents of the reference that it is tested on.")
    ridge: Factor = Field(default=0.1, ge=1e-6, description="With much less, a covariance that is singular has no inverse.")
    min_auc: float = Field(default=0.55, gt=0.5, lt=1, description="A smaller AUC is never worth an alarm.")


class QualityRule(Config):
    """Limits of what a position may do. Shares are of agents, in the newest `window_s`, or in all where that holds too few of them."""

    window_s: Seconds = Field(default=60.0, gt=0)
    min_agents: Count = Field(default=20, ge=2)
    max_speed_mps: float = Field(default=15.0, gt=0, le=1e6)
    max_acceleration_mps2: float = Field(default=60.0, gt=0, le=1e6)
    impossible_share: float = Field(default=0.02, gt=0, lt=1)
    frozen_share: float = Field(default=0.1, gt=0, lt=1, description="Or three times what the reference has, if that is more.")
    missing_share: float = Field(default=0.02, gt=0, lt=1)
    duplicate_share: float = Field(default=0.05, gt=0, lt=1)
    bad_factor: Factor = Field(default=3.0, gt=1, description="Beyond a limit is a warning; beyond so many times the limit is bad.")
    rate_ratio: Factor = Field(default=1.4, gt=1, description="Time between an agent's predictions against the reference, either way.")
    frame_gain: Factor = Field(default=1.0, gt=0, description="How much better another frame must explain an agent's positions, nats.")


class ReportRule(Config):
    """The full report that stands beside the verdict."""

    every_s: Seconds = Field(default=3600.0, gt=0, description="Without an alarm a report is kept at most this often.")
    timeout_s: Seconds = Field(default=20.0, gt=0, description="A verdict waits no longer than this for the report.")
    reference_rows: int = Field(default=5000, ge=100, le=1_000_000)
    current_rows: int = Field(default=2000, ge=50, le=1_000_000)
    kept: Count = Field(default=50, ge=1, description="Reports on disk; the oldest go first.")


class DriftRules(Config):
    """All of `configs/drift.yaml`."""

    current: CurrentRule = Field(default_factory=CurrentRule)
    reference: ReferenceRule = Field(default_factory=ReferenceRule)
    calibration: CalibrationRule = Field(default_factory=CalibrationRule)
    confirm: ConfirmRule = Field(default_factory=ConfirmRule)
    units: UnitRule = Field(default_factory=UnitRule)
    scenes: SceneRule = Field(default_factory=SceneRule)
    domain: DomainRule = Field(default_factory=DomainRule)
    quality: QualityRule = Field(default_factory=QualityRule)
    report: ReportRule = Field(default_factory=ReportRule)
    columns: tuple[ColumnRule, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [rule.column for rule in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"columns stand twice: {', '.join(twice)}")
        return self
