"""What was predicted, how good it was, and which agents are known."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.deps import READS, PartsOf, Reader
from api.ranges import range_of
from trajops.contracts.performance import PerformanceOut
from trajops.contracts.predictions import AgentOut, AgentsOut, PredictionOut, RecentPredictions
from trajops.contracts.wire import Time

router = APIRouter(prefix="/v1", tags=["predictions"], responses=READS)

Id = Annotated[str | None, Query(min_length=1, max_length=128)]


@router.get("/performance", summary="Live accuracy")
def performance(
    parts: PartsOf,
    _client: Reader,
    since: Annotated[Time | None, Query(description="Begin of the range. Left out: an hour before its end.")] = None,
    until: Annotated[Time | None, Query(description="End of the range. Left out: now.")] = None,
) -> PerformanceOut:
    """Error, calibration and latency of each model version and variant, as truth arrives."""

    def read() -> PerformanceOut:
        return parts.lake.performance(*range_of(parts.clock, since, until), parts.settings.coverage_level)

    return parts.cached.get(("performance", since, until), read)


@router.get("/predictions", summary="Newest predictions")
def predictions(
    parts: PartsOf, _client: Reader, limit: Annotated[int, Query(ge=1, le=1_000)] = 50, scene_id: Id = None, agent_id: Id = None
) -> RecentPredictions:
    """Newest predictions with the truth that has arrived since, newest first."""

    def read() -> RecentPredictions:
        return RecentPredictions(predictions=parts.lake.recent_predictions(limit, scene_id=scene_id, agent_id=agent_id))

    return parts.cached.get(("predictions", limit, scene_id, agent_id), read)


@router.get("/predictions/{prediction_id}", summary="One prediction")
def prediction(prediction_id: Annotated[str, Path(min_length=1, max_length=64)], parts: PartsOf, _client: Reader) -> PredictionOut:
    """One prediction with the truth that has arrived since."""
    return parts.lake.prediction(prediction_id)


@router.get("/agents", summary="Agents seen lately")
def agents(parts: PartsOf, _client: Reader, scene_id: Id = None, limit: Annotated[int, Query(ge=1, le=1_000)] = 200) -> AgentsOut:
    """Agents in the track buffer, the one heard of last first: of all processes that share a Redis, else of the one that answers."""
    known = parts.track_sync or parts.buffer
    return AgentsOut(agents=[AgentOut(**agent._asdict()) for agent in known.agents(scene_id, limit)])
