"""How live performance is taken apart, judged, estimated and put right: the model of `configs/performance.yaml`."""

from typing import Self

from pydantic import Field, model_validator

from trajops.config_model import Config, Count, Factor, Seconds
from trajops.telemetry import Served


class SpeedBand(Config):
    """Agents by the mean speed of their history; a band begins where the one before it ends."""

    band: str = Field(min_length=1, max_length=32, pattern=r"^[a-z][a-z_]*$")
    below_mps: float | None = Field(default=None, gt=0, le=1e6, description="Its end; only the last band has none.")


BANDS = (
    SpeedBand(band="standing", below_mps=0.5),
    SpeedBand(band="walking", below_mps=2.0),
    SpeedBand(band="running", below_mps=7.0),
    SpeedBand(band="fast"),
)


class CheckRule(Config):
    """The window that a check judges: the newest scored predictions of real traffic."""

    window_s: Seconds = Field(default=900.0, gt=0)
    sources: tuple[Served, ...] = Field(default=("live", "replay"), min_length=1)


class IntervalRule(Config):
    """How sure a figure must be."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    min_agents: Count = Field(default=20, ge=2, description="Fewer agents than this are too little data for a verdict.")
    max_rows: Count = Field(default=500_000, ge=1000, description="Of a range with more scored predictions, the newest are read.")


class ToleranceRule(Config):
    """How far a figure may lie from the one of validation. It is degraded when its whole interval lies beyond."""

    ade_ratio: Factor = Field(default=1.25, gt=1)
    fde_ratio: Factor = Field(default=1.25, gt=1)
    miss_rate: float = Field(default=0.05, gt=0, lt=1, description="Above validation, as a share.")
    nll: Factor = Field(default=0.5, gt=0, description="Above validation, nats.")
    coverage: float = Field(default=0.05, gt=0, lt=1, description="Below or above the nominal probability, as a share.")


class ConfirmRule(Config):
    """m of n: how many of the last checks must agree on a figure before it is degraded."""

    needed: int = Field(default=2, ge=1, le=100)
    of: int = Field(default=3, ge=1, le=100)
    spacing_s: Seconds = Field(default=20.0, ge=0, description="Checks closer together than this saw the same rows and count once.")

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.needed > self.of:
            raise ValueError(f"needed ({self.needed}) cannot be more than of ({self.of})")
        return self


class EstimateRule(Config):
    """Error while truth is still missing: what covariances expect, put right by the predictions that have their truth."""

    reference_s: Seconds = Field(default=3600.0, gt=0, description="Scored predictions of this long say how expectation and error relate.")
    min_agents: Count = Field(default=10, ge=2, description="A speed band with fewer agents is put right by all bands together.")
    max_rows: Count = Field(
        default=30_000,
        ge=1000,
        description="Of more predictions without truth, five times as many of all, or ten times as many with truth, the newest are read.",
    )
    buckets: int = Field(default=12, ge=2, le=60, description="Parts of the range whose estimate is held against what came later.")


class RecalibrationRule(Config):
    """Conformal factors from recent truth, and when they are put into force without asking."""

    window_s: Seconds = Field(default=7200.0, gt=0)
    sources: tuple[Served, ...] = Field(default=("live", "replay"), min_length=1)
    half_life_s: Seconds = Field(default=1800.0, gt=0, description="Truth of this age counts half.")
    holdout: float = Field(default=0.3, gt=0, lt=0.9, description="Newest share of the window that the factors are tried on.")
    min_agents: Count = Field(default=120, ge=10, description="Agents that the factors are fitted on, at least.")
    min_holdout_agents: Count = Field(default=50, ge=2)
    least_change: Factor = Field(default=0.015, ge=0, description="Factors that bring coverage nearer to nominal by less are left aside.")
    smallest_factor: float = Field(default=0.5, gt=0, le=1, description="Bounds of a step's factor, relative to the version as trained.")
    largest_factor: Factor = Field(default=3.0, ge=1)
    auto_apply: bool = Field(default=True, description="Put into force what is within the bounds; false: propose everything.")
    max_rows: Count = Field(default=300_000, ge=1000)


class PerformanceRules(Config):
    """All of `configs/performance.yaml`."""

    check: CheckRule = Field(default_factory=CheckRule)
    interval: IntervalRule = Field(default_factory=IntervalRule)
    speed_bands: tuple[SpeedBand, ...] = BANDS
    tolerance: ToleranceRule = Field(default_factory=ToleranceRule)
    confirm: ConfirmRule = Field(default_factory=ConfirmRule)
    estimate: EstimateRule = Field(default_factory=EstimateRule)
    recalibration: RecalibrationRule = Field(default_factory=RecalibrationRule)

    @model_validator(mode="after")
    def _bands_follow(self) -> Self:
        names = [band.band for band in self.speed_bands]
        ends = [band.below_mps for band in self.speed_bands[:-1]]
        if not names or len(set(names)) < len(names):
            raise ValueError("speed_bands needs at least one band, and each name once")
        if self.speed_bands[-1].below_mps is not None or None in ends or ends != sorted(set(ends)):  # type: ignore[type-var]
            raise ValueError("below_mps must grow from band to band, and only the last band goes without it")
        return self
