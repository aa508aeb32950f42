"""How candidates are ranked and what the battery demands: the model of `configs/selection.yaml`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from trajops.config_model import Config, Count, Factor

# What is trained here, and what models of others are called. A name that is none of them would ask nothing of anybody.
Family = Literal["constant_velocity", "kalman", "gaussian_mlp", "gradient_boosting", "onnx_model", "pyfunc_model"]
OWN_FAMILIES: tuple[Family, ...] = ("constant_velocity", "kalman", "gaussian_mlp", "gradient_boosting")


class Band(Config):
    """A share from `low` to `high`."""

    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _is_a_band(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self


class LimitRule(Config):
    """Hard limits: a candidate beyond one of them is excluded, however good the rest of it is."""

    latency_p99_ms: float = Field(default=20.0, gt=0, le=60_000, description="99th percentile of the time of one forecast of one agent.")
    size_mb: float = Field(default=64.0, gt=0, le=100_000, description="Of the files that are loaded to answer.")
    coverage_90: Band = Field(default=Band(low=0.8, high=0.97), description="Share of the truth inside the nominal 90 % ellipse.")
    ade_to_baseline: Factor = Field(default=1.05, gt=0, description="ADE over that of constant velocity on the same windows.")


class PointsRule(Config):
    """What a candidate pays for being behind the best of a figure. The fewest points win."""

    ade_percent: Factor = Field(default=1.0, ge=0, description="For each percent of ADE above the best.")
    nll_nat: Factor = Field(default=20.0, ge=0, description="For each nat of NLL above the best.")
    latency_doubling: Factor = Field(default=0.5, ge=0, description="For each doubling of the median time above the quickest.")
    size_doubling: Factor = Field(default=0.25, ge=0, description="For each doubling of the size above the smallest.")
    latency_floor_ms: float = Field(default=0.1, gt=0, le=60_000, description="Nobody notices less: what is quicker counts as this.")
    size_floor_mb: float = Field(default=0.1, gt=0, le=100_000, description="The same of the size.")


class RankingRule(Config):
    """Hard limits first, then points."""

    limits: LimitRule = Field(default_factory=LimitRule)
    points: PointsRule = Field(default_factory=PointsRule)


class InvarianceRule(Config):
    """The same scene elsewhere, turned, later, or asked about in other company gets the same forecast."""

    tolerance_m: float = Field(default=0.01, gt=0, le=10, description="Of positions and standard deviations, metres; of weights, a share.")
    passed_over: float = Field(default=0.01, ge=0, le=0.1, description="Share of windows that may deviate: trees jump at their thresholds.")
    max_windows: Count = Field(default=256, ge=10, description="Of more held-out windows, so many are asked about.")
    turning: tuple[Family, ...] = Field(default=OWN_FAMILIES, description="Families that must follow a rotation of the frame.")
    mirrored: tuple[Family, ...] = Field(default=("constant_velocity", "kalman"), description="Families that must follow a reflection.")


class WorstScenesRule(Config):
    """The agents and scenes that a version is worst at, against those that others are worst at."""

    share: float = Field(default=0.1, gt=0, le=0.5, description="Of the agents: the worst tenth.")
    baseline_ratio: Factor = Field(default=1.1, gt=0, description="Mean ADE of the worst agents over that of constant velocity's worst.")
    champion_ratio: Factor = Field(default=1.5, gt=0, description="The same against the champion, where it can be loaded.")
    scene_ratio: Factor = Field(default=1.25, gt=0, description="ADE over that of constant velocity in the worst scene.")
    min_agents: Count = Field(default=20, ge=2, description="With fewer agents, or fewer in a scene, nothing is said.")


class LatencyRule(Config):
    """How long one forecast of one agent takes, on the machine where the battery runs."""

    p99_ms: float = Field(default=20.0, gt=0, le=60_000)
    yardsticks: Factor = Field(
        default=200.0, gt=0, description="Median time over that of constant velocity for 256 agents, taken in turns in the same run."
    )
    rounds: int = Field(default=3, ge=1, le=100, description="The quietest round counts: a busy machine only ever adds.")
    calls: int = Field(default=200, ge=20, le=100_000, description="Of a round.")
    round_s: float = Field(default=0.4, gt=0, le=60, description="A round of slow calls ends after this, and twenty calls at least.")


class CalibrationRule(Config):
    """The share of the truth inside the ellipses. It fails where the whole interval over agents lies outside of a band."""

    coverage_50: Band = Field(default=Band(low=0.35, high=0.75))
    coverage_90: Band = Field(default=Band(low=0.8, high=0.97))
    step_coverage_90: Band = Field(default=Band(low=0.75, high=0.99), description="The same at each step of the horizon.")
    min_agents: Count = Field(default=20, ge=2, description="With fewer nothing is said.")


class BatteryRule(Config):
    """What each check demands."""

    invariance: InvarianceRule = Field(default_factory=InvarianceRule)
    worst_scenes: WorstScenesRule = Field(default_factory=WorstScenesRule)
    latency: LatencyRule = Field(default_factory=LatencyRule)
    calibration: CalibrationRule = Field(default_factory=CalibrationRule)


class SelectionRules(Config):
    """All of `configs/selection.yaml`."""

    ranking: RankingRule = Field(default_factory=RankingRule)
    battery: BatteryRule = Field(default_factory=BatteryRule)
