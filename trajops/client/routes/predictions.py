"""Predicting, observing, and what was predicted."""

from collections.abc import Sequence
from typing import Literal

from trajops.client import arrow
from trajops.client.call import Call, at, described, get, post
from trajops.client.retries import Retry
from trajops.contracts.predictions import (
    AgentsOut,
    BatchColumnsIn,
    BatchColumnsOut,
    BatchPredictIn,
    BatchPredictOut,
    ObservationIn,
    ObservationsIn,
    ObservationsOut,
    PredictIn,
    PredictionOut,
    PredictOut,
    RecentPredictions,
)


class PredictionRoutes:
    """Predicting, observing, and what was predicted.

    What is answered is recorded, so that a lost answer is not asked for again.
    """

    @described
    def predict(self, body: PredictIn) -> Call[PredictOut]:
        """Forecast one agent; set `model_version` to ask for one version instead of the routed one."""
        return post("/predict", PredictOut, body, Retry.RECORDED)

    @described
    def batch_predict(self, items: Sequence[PredictIn]) -> Call[BatchPredictOut]:
        """Forecast many agents; the answers keep the order of the items."""
        return post("/batch_predict", BatchPredictOut, BatchPredictIn(items=list(items)), Retry.RECORDED)

    @described
    def batch_columns(self, body: BatchColumnsIn) -> Call[BatchColumnsOut]:
        """The same with one list a field, for a third of the cost; without `agent_id` nothing is recorded."""
        return post("/batch_predict", BatchColumnsOut, body, Retry.RECORDED)

    @described
    def batch_arrow(self, table: arrow.Table) -> Call[arrow.Table]:
        """The same columns as Arrow, for bulk; needs pyarrow.

        Args:
            table: `history` as fixed-size lists of 16 floats, 8 × [x, y] in metres; optional `agent_id`, `scene_id`, `observed_at_s`;
                `model_version` and `source` in the schema's metadata.

        Returns:
            One row a trajectory: `weights`, `positions` (K × 12 × [x, y]) and `covariance` (K × 12 × [xx, xy, yy]) as flat lists;
            K, `dt_s` and the epoch in the schema's metadata. A row with an `error_code` has no forecast.

        Raises:
            ModuleNotFoundError: if pyarrow is not installed.
        """
        content = arrow.written(table)
        return Call(
            "POST",
            "/batch_predict",
            arrow.read,
            "an Arrow stream",
            Retry.RECORDED,
            content=content,
            content_type=arrow.MEDIA_TYPE,
            accept=arrow.MEDIA_TYPE,
        )

    @described
    def observe(self, observations: Sequence[ObservationIn], source: Literal["live", "replay"] = "live") -> Call[ObservationsOut]:
        """Hand over new positions, in any order."""
        return post("/observations", ObservationsOut, ObservationsIn(observations=list(observations), source=source), Retry.RECORDED)

    @described
    def predictions(self, limit: int = 50, scene_id: str | None = None, agent_id: str | None = None) -> Call[RecentPredictions]:
        """Newest predictions with the truth that has arrived since."""
        return get("/v1/predictions", RecentPredictions, limit=limit, scene_id=scene_id, agent_id=agent_id)

    @described
    def prediction(self, prediction_id: str) -> Call[PredictionOut]:
        """One prediction with the truth that has arrived since."""
        return get(at("/v1/predictions/{}", prediction_id), PredictionOut)

    @described
    def agents(self, scene_id: str | None = None, limit: int | None = None) -> Call[AgentsOut]:
        """Agents in the track buffer of the process that answers."""
        return get("/v1/agents", AgentsOut, scene_id=scene_id, limit=limit)
