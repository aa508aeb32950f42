"""What is remembered of each answer, each observation and each outcome: the rows of the lake.

Events are written as one line of JSON each to an append-only spool, then compacted to Parquet. Times named `_ns` are
UTC nanoseconds of the server's clock; `observed_at_s` is the agents' clock, seconds since the epoch.
"""

from dataclasses import dataclass, field
from typing import Literal

# Of a client's request, or made afterwards from recorded tracks: such a row is nothing that anybody was answered.
Served = Literal["live", "replay"]
# What a client may say of a prediction that it asks for. Probes are answered and recorded like all others, and left out of every figure.
Declared = Literal["live", "replay", "probe"]
# What traffic may be compared with: that which was, also as it was made from recorded tracks.
Recorded = Literal["live", "replay", "backfill"]
# A shadow's prediction was made beside an answer, and given to nobody: it is scored, and counts in its experiment only.
Source = Literal["live", "replay", "backfill", "probe", "shadow"]


@dataclass(slots=True)
class PredictionEvent:
    """One answered prediction, or what a shadow predicted beside one.

    Arrays are flat in C order; `cov_m2` holds xx, xy, yy for each mode and step.
    `calibration` is the number of the calibration that the covariances were stretched with; None: they are as they were trained.
    `shadow_of` is the `prediction_id` of the answer to the request that a shadow has predicted too; None: this is an answer.
    """

    prediction_id: str
    received_ns: int
    observed_at_s: float
    scene_id: str
    agent_id: str
    client_id: str
    request_id: str
    model_name: str
    model_version: int
    variant: str
    epoch: int
    dt_s: float
    history_m: list[float]
    weights: list[float]
    mean_m: list[float]
    cov_m2: list[float]
    latency_ms: float
    source: Source = "live"
    experiment_id: str | None = None
    calibration: int | None = None
    shadow_of: str | None = None


@dataclass(slots=True)
class ObservationEvent:
    """One position that a client reported: truth for the predictions made before it."""

    received_ns: int
    observed_at_s: float
    scene_id: str
    agent_id: str
    x_m: float
    y_m: float
    source: Source = "live"


@dataclass(slots=True)
class OutcomeEvent:
    """How one prediction compared with what happened. Of several, that with the best truth is the valid one.

    Better is truth for more steps; for as many steps, a smaller `interpolated_s`: the time between the two positions that truth
    was interpolated between, summed over the steps, 0 where each step was observed at its very time. Rows of before this was
    written have None. Per-step lists have one entry a horizon step; None where that step has no truth yet. `cv_ade_m` is the
    error of constant velocity over the same steps: the covariate that assignment cannot change.

    What figures are taken apart by, and intervals calibrated with, is carried along, so that nobody has to look up the prediction: its
    `calibration`, the mean speed of its history, the ADE that its covariances expect (`trajops.performance.expected`), the mean radius
    of its ellipses, the squared Mahalanobis distance of the truth at each step, its experiment, and the answer that it is a shadow of.
    Rows of before these were written have None.
    """

    prediction_id: str
    scored_ns: int
    received_ns: int
    observed_at_s: float
    scene_id: str
    agent_id: str
    model_name: str
    model_version: int
    variant: str
    source: Source
    steps_scored: int
    is_complete: bool
    ade_m: float
    fde_m: float | None
    is_miss: bool | None
    nll: float
    inside_share: float
    cv_ade_m: float
    truth_delay_s: float
    step_error_m: list[float | None] = field(default_factory=list)
    step_nll: list[float | None] = field(default_factory=list)
    step_inside: list[bool | None] = field(default_factory=list)
    interpolated_s: float | None = None
    calibration: int | None = None
    speed_mps: float | None = None
    expected_ade_m: float | None = None
    radius_m: float | None = None
    step_distance2: list[float | None] = field(default_factory=list)
    experiment_id: str | None = None
    shadow_of: str | None = None


Event = PredictionEvent | ObservationEvent | OutcomeEvent
TABLES: dict[str, type] = {"predictions": PredictionEvent, "observations": ObservationEvent, "outcomes": OutcomeEvent}
