"""What lies beneath a scene's map."""

from collections.abc import Callable

from trajops.contracts.scenes import MAX_VIEW_M, GeographicOrigin, SceneBounds, SceneGround
from trajops.errors import InvalidInput
from trajops.geography import metres_a_degree
from trajops.ports import CoastSource
from trajops.scene_frames import SceneFrames


class SceneGrounds:
    """Grounds of scenes.

    Args:
        frames: reads what is known of their frames.
        coast: where coastlines are read.
    """

    def __init__(self, frames: Callable[[], SceneFrames], coast: CoastSource) -> None:
        self._frames = frames
        self._coast = coast

    def of(self, scene_id: str, view: SceneBounds) -> SceneGround:
        """The ground of one scene in a view; without an origin where nobody has said where it lies.

        Raises:
            InvalidInput: if the view is empty or too wide for a plane.
            EnvironmentProblem: if the configuration has a mistake.
        """
        widths_m = (view.x_max_m - view.x_min_m, view.y_max_m - view.y_min_m)
        if not all(0 < width_m <= MAX_VIEW_M for width_m in widths_m):
            raise InvalidInput(
                f"a view is at most {MAX_VIEW_M / 1000:.0f} km wide and high, and not empty, but this one measures "
                f"{widths_m[0]:g} m × {widths_m[1]:g} m; send its edges in order"
            )
        frame = self._frames().of(scene_id)
        if frame is None:
            return SceneGround(scene_id=scene_id, origin=None, coast=[])
        origin = frame.geographic.origin()
        east_m, north_m = metres_a_degree(origin)
        coast = [[(x, y) for x, y in line.round(1).tolist()] for line in self._coast.lines(origin, view)]
        return SceneGround(
            scene_id=scene_id,
            origin=GeographicOrigin(longitude_deg=origin.longitude_deg, latitude_deg=origin.latitude_deg, east_m=east_m, north_m=north_m),
            coast=coast,
        )
