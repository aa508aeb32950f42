"""What lies beneath a scene's map."""

from collections.abc import Callable

from trajops.contracts.scenes import MAX_VIEW_M, GeographicOrigin, SceneBounds, SceneGround, SceneImage
from trajops.errors import EnvironmentProblem, InvalidInput, NotFound
from trajops.geography import Origin, metres_a_degree
from trajops.ports import CoastSource, GroundImage, ImageSource
from trajops.scene_backgrounds import Background
from trajops.scene_frames import SceneFrames


class SceneGrounds:
    """Grounds of scenes.

    Args:
        frames: reads what is known of their frames.
        coast: where coastlines are read.
        images: where background images are read.
    """

    def __init__(self, frames: Callable[[], SceneFrames], coast: CoastSource, images: ImageSource) -> None:
        self._frames = frames
        self._coast = coast
        self._images = images

    def of(self, scene_id: str, view: SceneBounds | None = None) -> SceneGround:
        """The ground of one scene in a view, or without its coast; without an origin where nobody has said where it lies.

        Raises:
            InvalidInput: if the view is empty or too wide for a plane.
            EnvironmentProblem: if the configuration has a mistake, or the scene's image is damaged.
        """
        if view is not None:
            _refuse_view(view)
        frame = self._frames().of(scene_id)
        origin = None if frame is None or frame.geographic is None else frame.geographic.origin()
        background = None if frame is None else frame.background
        return SceneGround(
            scene_id=scene_id,
            origin=None if origin is None else _told(origin),
            coast=[]
            if origin is None or view is None
            else [[(x, y) for x, y in line.round(1).tolist()] for line in self._coast.lines(origin, view)],
            image=None if background is None else _described(self._laid_out(background)),
        )

    def image(self, scene_id: str) -> GroundImage:
        """The background image of one scene.

        Raises:
            NotFound: if it has none.
            EnvironmentProblem: if the configuration has a mistake, or the image is damaged.
        """
        frame = self._frames().of(scene_id)
        if frame is None or frame.background is None:
            raise NotFound(f"scene {scene_id} has no background image; give it one in scenes.yaml (docs/scenes.md)")
        return self._laid_out(frame.background)

    def _laid_out(self, background: Background) -> GroundImage:
        try:
            return self._images.laid_out(background)
        except InvalidInput as error:  # nobody who asks has sent it
            raise EnvironmentProblem(error.message) from error


def _refuse_view(view: SceneBounds) -> None:
    widths_m = (view.x_max_m - view.x_min_m, view.y_max_m - view.y_min_m)
    if not all(0 < width_m <= MAX_VIEW_M for width_m in widths_m):
        raise InvalidInput(
            f"a view is at most {MAX_VIEW_M / 1000:.0f} km wide and high, and not empty, but this one measures "
            f"{widths_m[0]:g} m × {widths_m[1]:g} m; send its edges in order"
        )


def _told(origin: Origin) -> GeographicOrigin:
    east_m, north_m = metres_a_degree(origin)
    return GeographicOrigin(longitude_deg=origin.longitude_deg, latitude_deg=origin.latitude_deg, east_m=east_m, north_m=north_m)


def _described(image: GroundImage) -> SceneImage:
    return SceneImage(bounds=image.bounds, width_px=image.width_px, height_px=image.height_px, version=image.version)
