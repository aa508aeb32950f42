"""Predict: positions in, positions with uncertainty out."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from trajops.contracts.wire import EpochSeconds, Finite, HotWire, Name, Point, Position

T_OBS, T_PRED = 8, 12
History = Annotated[list[Point], Field(min_length=T_OBS, max_length=T_OBS)]
ModelVersion = Annotated[
    Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)] | Literal["champion", "challenger", "previous_champion"],
    Field(description="Ask for one version or alias instead of the routed one."),
]
VARIANT = (
    "Name of the arm of an experiment; or `champion`, `holdout`, `override` (put into an arm by hand), `direct` (a version was asked for)."
)


class PredictIn(HotWire):
    """One agent's last 8 positions, 0.4 s apart; or only its id, when its positions went to `/observations`."""

    agent_id: Name = Field(description="The moving body; one continuous track keeps one id.")
    scene_id: Name = Field("default", description="Agents that share one clock and one frame.")
    history: History | None = Field(None, description="Positions in metres, oldest first. Left out: the track buffer is used.")
    observed_at_s: EpochSeconds | None = Field(None, description="Time of the last position, agents' clock, seconds. Left out: now.")
    model_version: ModelVersion | None = None
    source: Literal["live", "replay", "probe"] = Field(
        "live", description="A probe only wants to know whether it is answered: it is recorded, and left out of every figure."
    )


class Mode(HotWire):
    """One possible future."""

    weight: float = Field(description="Probability of this mode.")
    positions: list[Position] = Field(description="12 positions in metres, 0.4 s apart.")
    covariance: list[tuple[Finite, Finite, Finite]] = Field(description="xx, xy, yy of each step, square metres.")


class PredictOut(HotWire):
    """A forecast, and where it came from."""

    prediction_id: str
    agent_id: str
    scene_id: str
    observed_at_s: float
    dt_s: float
    model_name: str
    model_version: int
    variant: str = Field(description=VARIANT)
    epoch: int = Field(description="Routing epoch in which the answer was made; 0: a stand-in made it, for routes that cannot answer yet.")
    modes: list[Mode] = Field(description="Likeliest first.")
    model_ms: float = Field(description="Time inside the model, milliseconds.")


class BatchPredictIn(HotWire):
    """Many agents at once."""

    items: list[PredictIn] = Field(min_length=1)


class BatchColumnsIn(HotWire):
    """Many agents at once, one list a field: the same as items, for a third of the cost. Without `agent_id` nothing is remembered."""

    history: list[Any] = Field(
        min_length=1, description="One entry a trajectory: 8 pairs [x, y] in metres, oldest first. A bad one spoils only itself."
    )
    agent_id: list[Name] | None = Field(None, description="The moving body of each. Left out: answers are counted, not recorded.")
    scene_id: Name | list[Name] = Field("default", description="One for all, or one for each.")
    observed_at_s: EpochSeconds | list[EpochSeconds] | None = Field(
        None, description="Time of the last position, one for all or one for each. Left out: now."
    )
    model_version: ModelVersion | None = None
    source: Literal["live", "replay"] = "live"


class BatchRowError(HotWire):
    """Why a row has no prediction; its entries in the columns are null."""

    row: int = Field(description="Counted from 0.")
    error_code: str
    error: str


class BatchColumnsOut(HotWire):
    """Answers in the order of the rows, one list a field."""

    dt_s: float
    epoch: int | None = Field(description="Routing epoch in which the answers were made; null where none was.")
    model_name: list[str | None] = Field(description="`baseline` where constant velocity answered for a model that failed.")
    model_version: list[int | None]
    variant: list[str | None] = Field(description=VARIANT)
    prediction_id: list[str | None] | None = Field(description="Null where no agents were named: nothing was recorded.")
    weights: list[list[float] | None] = Field(description="Probability of each mode, likeliest first.")
    positions: list[list[list[Position]] | None] = Field(description="(K, 12, 2) metres for each row.")
    covariance: list[list[list[tuple[Finite, Finite, Finite]]] | None] = Field(description="(K, 12, 3): xx, xy, yy, square metres.")
    errors: list[BatchRowError]


class BatchItemOut(HotWire):
    """The answer to one item: a prediction, or why there is none. The order is that of the request."""

    prediction: PredictOut | None = None
    error_code: str | None = None
    error: str | None = None


class BatchPredictOut(HotWire):
    """Answers in the order of the items."""

    items: list[BatchItemOut]


class ObservationIn(HotWire):
    """One new position of one agent."""

    agent_id: Name
    scene_id: Name = "default"
    observed_at_s: EpochSeconds
    position: Point


class ObservationsIn(HotWire):
    """New positions, in any order, of any agents."""

    observations: list[ObservationIn] = Field(min_length=1, max_length=10_000)
    source: Literal["live", "replay"] = "live"


class ObservationsOut(HotWire):
    """How many positions were stored."""

    accepted: int


class OutcomeOut(HotWire):
    """How a prediction compared with what happened."""

    steps_scored: int
    is_complete: bool
    ade_m: float
    fde_m: float | None
    is_miss: bool | None
    nll: float
    inside_share: float
    truth_delay_s: float
    step_error_m: list[float | None]


class PredictionOut(HotWire):
    """One prediction as it is remembered, with the truth that has arrived since."""

    prediction: PredictOut
    received_at: AwareDatetime
    history: list[Position]
    truth: list[Position | None] = Field(description="Observed positions at the 12 predicted times; null where none arrived yet.")
    outcome: OutcomeOut | None
    request_id: str | None = Field(None, description="Under which it was asked for: `X-Request-ID`, as in the logs.")


class RecentPredictions(HotWire):
    """Newest predictions, newest first."""

    predictions: list[PredictionOut]


class AgentOut(HotWire):
    """One agent in the track buffer."""

    scene_id: str
    agent_id: str
    observed_at_s: float
    observations: int
    is_ready: bool = Field(description="Enough positions for a prediction by id alone.")


class AgentsOut(HotWire):
    """Agents seen lately by the process that answers."""

    agents: list[AgentOut]
