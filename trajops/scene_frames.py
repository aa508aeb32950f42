"""What is known of the frames of scenes: where on the Earth they lie."""

from fnmatch import fnmatchcase

from pydantic import Field

from trajops.config_model import Config
from trajops.geography import Origin


class Geographic(Config):
    """A frame whose x points east and whose y points north, metres."""

    longitude_deg: float = Field(ge=-180, le=180, description="Where x is zero.")
    latitude_deg: float = Field(ge=-85, le=85, description="Where y is zero.")

    def origin(self) -> Origin:
        """The same as a point."""
        return Origin(self.longitude_deg, self.latitude_deg)


class SceneFrame(Config):
    """The frame of all scenes whose ids fit a pattern."""

    pattern: str = Field(min_length=1, max_length=128)
    geographic: Geographic


class SceneFrames(Config):
    """Frames of scenes; the first that fits counts."""

    scenes: tuple[SceneFrame, ...] = Field(default=(), max_length=1_000)

    def of(self, scene_id: str) -> SceneFrame | None:
        """What is known of one scene."""
        return next((frame for frame in self.scenes if fnmatchcase(scene_id, frame.pattern)), None)
