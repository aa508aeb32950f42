"""What is known of the frames of scenes: where on the Earth they lie, and which image lies under their tracks."""

from fnmatch import fnmatchcase
from typing import Self

from pydantic import Field, model_validator

from trajops.config_model import Config
from trajops.geography import Origin
from trajops.scene_backgrounds import Background


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
    geographic: Geographic | None = None
    background: Background | None = None

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if self.geographic is None and self.background is None:
            raise ValueError("nothing is said about these scenes; add geographic, background or both, or remove the pattern")
        return self


class SceneFrames(Config):
    """Frames of scenes; the first that fits counts."""

    scenes: tuple[SceneFrame, ...] = Field(default=(), max_length=1_000)

    def of(self, scene_id: str) -> SceneFrame | None:
        """What is known of one scene."""
        return next((frame for frame in self.scenes if fnmatchcase(scene_id, frame.pattern)), None)
