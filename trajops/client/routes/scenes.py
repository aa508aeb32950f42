"""Scenes."""

from datetime import datetime

from trajops.client.call import Call, at, described, get, iso
from trajops.client.retries import Retry
from trajops.contracts.scenes import SceneGround, ScenesOut, SceneWindow


class SceneRoutes:
    """Scenes: which there are, a piece of one, and where its agents are now."""

    @described
    def scenes(self, since: datetime | None = None, until: datetime | None = None) -> Call[ScenesOut]:
        """Scenes of a time range, the one heard of last first; aware times."""
        return get("/v1/scenes", ScenesOut, since=iso(since), until=iso(until))

    @described
    def scene_window(
        self,
        scene_id: str,
        since: datetime | None = None,
        until: datetime | None = None,
        agents: int | None = None,
        agent_id: str | None = None,
    ) -> Call[SceneWindow]:
        """Positions and predictions of a window of at most two minutes."""
        query = {"since": iso(since), "until": iso(until), "agents": agents, "agent_id": agent_id}
        return get(at("/v1/scenes/{}/window", scene_id), SceneWindow, **query)

    @described
    def scene_live(self, scene_id: str, seconds: float | None = None, agents: int | None = None) -> Call[SceneWindow]:
        """Newest positions and newest prediction of each agent heard of in the last seconds (10)."""
        return get(at("/v1/scenes/{}/live", scene_id), SceneWindow, seconds=None if seconds is None else str(seconds), agents=agents)

    @described
    def scene_background(
        self,
        scene_id: str,
        x_min_m: float | None = None,
        y_min_m: float | None = None,
        x_max_m: float | None = None,
        y_max_m: float | None = None,
    ) -> Call[SceneGround]:
        """Where on the Earth a scene lies, the coast in a view, if one is asked for, and where its image lies; metres, scene frame."""
        edges = {"x_min_m": x_min_m, "y_min_m": y_min_m, "x_max_m": x_max_m, "y_max_m": y_max_m}
        sent = {name: None if edge is None else str(edge) for name, edge in edges.items()}
        return get(at("/v1/scenes/{}/background", scene_id), SceneGround, **sent)

    @described
    def scene_image(self, scene_id: str) -> Call[bytes]:
        """The image that lies under a scene's tracks, WebP; y points upwards."""
        return Call("GET", at("/v1/scenes/{}/background/image", scene_id), bytes, "an image", Retry.READ, accept="image/webp")
