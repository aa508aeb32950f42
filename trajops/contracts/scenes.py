"""Scenes: where agents move together, for a map and for replay."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from trajops.contracts.wire import Position, Wire

MAX_WINDOW_S, MAX_AGENTS, MAX_POSITIONS, MAX_PREDICTIONS, MAX_MODES = 120, 200, 30_000, 1_000, 3
# Wider views do not fit on a plane.
MAX_VIEW_M = 1e6


class SceneBounds(Wire):
    """A rectangle on the plane, metres, scene frame."""

    x_min_m: float
    y_min_m: float
    x_max_m: float
    y_max_m: float


class GeographicOrigin(Wire):
    """Where on the Earth x and y of a scene are zero; x points east and y north."""

    longitude_deg: float
    latitude_deg: float
    east_m: float = Field(description="Metres a degree of longitude.")
    north_m: float = Field(description="Metres a degree of latitude.")


class SceneImage(Wire):
    """An image of the ground, laid on the plane; `/v1/scenes/{scene_id}/background/image` has it."""

    bounds: SceneBounds = Field(description="Its edges; where the rectangle holds more than was seen, it is transparent.")
    width_px: int
    height_px: int
    version: str = Field(description="Another one where the image has changed.")


class SceneGround(Wire):
    """What lies beneath a scene's map."""

    scene_id: str
    origin: GeographicOrigin | None = Field(description="Null: nobody has said where the scene lies (`configs/scenes.yaml`).")
    coast: list[list[Position]] = Field(description="Pieces of coastline in the view, metres, scene frame.")
    image: SceneImage | None = Field(default=None, description="Null: the scene has no background image (`configs/scenes.yaml`).")


class SceneOut(Wire):
    """One scene in a time range."""

    scene_id: str
    agents: int
    predictions: int
    observations: int = Field(description="Positions posted to `/observations`.")
    first_at: AwareDatetime = Field(description="When the first row of the range was received.")
    newest_at: AwareDatetime
    bounds: SceneBounds | None = Field(
        description="The smallest rectangle around its positions; null where none of the newest ones of the range is of this scene."
    )


class ScenesOut(Wire):
    """Scenes that were seen in a time range, the one heard of last first."""

    since: AwareDatetime = Field(description="Begin of what was read: of a range with very many rows, the newest ones are.")
    until: AwareDatetime
    is_cut: bool = Field(description="Whether `since` is later than what was asked for, or there are more scenes than are listed.")
    scenes: list[SceneOut]


class SceneTrack(Wire):
    """Where one agent was, oldest first."""

    agent_id: str
    times_s: list[float] = Field(description="Agents' clock, seconds.")
    positions: list[Position] = Field(description="Metres, scene frame.")
    speed_mps: Annotated[float | None, Field(description="Over the last second of the track; null for a single position.")]


class SceneMode(Wire):
    """One possible future, without its uncertainty: `/v1/predictions/{prediction_id}` has it."""

    weight: float
    positions: list[Position]


class ScenePrediction(Wire):
    """One prediction as a map draws it."""

    prediction_id: str
    agent_id: str
    observed_at_s: float
    dt_s: float
    model_version: int
    variant: str
    modes: list[SceneMode] = Field(description=f"The {MAX_MODES} likeliest, likeliest first.")


class SceneWindow(Wire):
    """A bounded piece of a scene."""

    scene_id: str
    since: AwareDatetime
    until: AwareDatetime
    tracks: list[SceneTrack]
    predictions: list[ScenePrediction] = Field(description="By agent, newest first.")
    agents: int = Field(description="How many were heard of, shown or not.")
    cut: list[str] = Field(description="What was left out, one sentence each; empty: nothing was.")
    newest_at: AwareDatetime | None = Field(description="When the newest row was received.")
