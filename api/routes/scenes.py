"""Scenes: which there are, a piece of one to replay, and where its agents are now."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api.deps import READS, PartsOf, Reader
from api.ranges import range_of
from trajops.clock import now
from trajops.contracts.scenes import MAX_AGENTS, MAX_WINDOW_S, SceneBounds, SceneGround, ScenesOut, SceneWindow
from trajops.contracts.wire import Time
from trajops.errors import InvalidInput

router = APIRouter(prefix="/v1/scenes", tags=["predictions"], responses=READS)

SceneId = Annotated[str, Path(min_length=1, max_length=128)]
Edge = Annotated[float | None, Query(ge=-1e7, le=1e7, allow_inf_nan=False, description="Edge of the view, metres, scene frame.")]
Agents = Annotated[int, Query(ge=1, le=MAX_AGENTS, description="Most agents; of more, those with the most rows are shown.")]
WINDOW = timedelta(seconds=20)
IMAGE_TYPE = "image/webp"


@router.get("", summary="Scenes of a time range")
def scenes(
    parts: PartsOf,
    _client: Reader,
    since: Annotated[Time | None, Query(description="Begin of the range. Left out: an hour before its end.")] = None,
    until: Annotated[Time | None, Query(description="End of the range. Left out: now.")] = None,
) -> ScenesOut:
    """Scenes with agents, predictions, times and bounds, the one heard of last first."""
    return parts.cached_longer.get(("scenes", since, until), lambda: parts.scenes.seen(*range_of(parts.clock, since, until)))


@router.get("/{scene_id:path}/window", summary="A piece of a scene")
def scene_window(
    scene_id: SceneId,
    parts: PartsOf,
    _client: Reader,
    since: Annotated[Time | None, Query(description="Begin, by the server's clock. Left out: 20 s before the end.")] = None,
    until: Annotated[Time | None, Query(description=f"End, at most {MAX_WINDOW_S} s after the begin. Left out: now.")] = None,
    agents: Agents = MAX_AGENTS,
    agent_id: Annotated[str | None, Query(min_length=1, max_length=128, description="One that is shown in any case.")] = None,
) -> SceneWindow:
    """Observed positions and predictions that were received in a short window, so that it can be replayed; says what was cut."""

    def read() -> SceneWindow:
        end = until or now(parts.clock)
        return parts.scenes.window(scene_id, *range_of(parts.clock, since or end - WINDOW, end), agents, agent_id)

    return parts.cached.get(("scene window", scene_id, since, until, agents, agent_id), read)


@router.get("/{scene_id:path}/live", summary="A scene now")
def scene_live(
    scene_id: SceneId,
    parts: PartsOf,
    _client: Reader,
    seconds: Annotated[float, Query(ge=1, le=60, description="How long ago an agent may have been heard of, seconds.")] = 10.0,
    agents: Agents = MAX_AGENTS,
) -> SceneWindow:
    """Newest positions of each agent heard of in the last seconds, with its newest prediction."""
    return parts.cached.get(("scene live", scene_id, seconds, agents), lambda: parts.scenes.live(scene_id, seconds, agents))


@router.get("/{scene_id:path}/background", summary="Beneath a scene")
def scene_ground(
    scene_id: SceneId,
    parts: PartsOf,
    _client: Reader,
    x_min_m: Edge = None,
    y_min_m: Edge = None,
    x_max_m: Edge = None,
    y_max_m: Edge = None,
) -> SceneGround:
    """Where on the Earth a scene lies, the coast in a view, and where its image lies; from files of our own, without any outside call.

    Without a view, the coast is left out.
    """
    edges = {"x_min_m": x_min_m, "y_min_m": y_min_m, "x_max_m": x_max_m, "y_max_m": y_max_m}
    missing = [name for name, edge in edges.items() if edge is None]
    if 0 < len(missing) < len(edges):
        raise InvalidInput(f"a view has four edges, and {', '.join(missing)} is missing; send it, or none of them")
    view = None if missing else SceneBounds.model_validate(edges)
    return parts.cached_longer.get(("scene ground", scene_id, view), lambda: parts.scene_grounds.of(scene_id, view))


@router.get(
    "/{scene_id:path}/background/image",
    summary="Background image of a scene",
    response_class=Response,
    responses={200: {"content": {IMAGE_TYPE: {}}, "description": "At most 1,600 pixels wide and high, and 500 kB."}},
)
def scene_image(scene_id: SceneId, parts: PartsOf, _client: Reader) -> Response:
    """The image that lies under a scene's tracks, warped to the plane with y upwards; `/background` says where its edges are."""
    image = parts.cached_longer.get(("scene image", scene_id), lambda: parts.scene_grounds.image(scene_id))
    return Response(image.content, media_type=IMAGE_TYPE, headers={"Cache-Control": "private, max-age=60"})
