"""An image that lies under the tracks of a scene: which part of it is used, and where its pixels lie."""

from typing import Annotated

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from trajops.config_model import Config
from trajops.contracts.scenes import MAX_VIEW_M, SceneBounds
from trajops.errors import InvalidInput
from trajops.homography import NEAR_HORIZON, corners, depths, is_singular, project
from trajops.trajectories import FloatArray

# What the validators may have to know beside the file: who tells how large an image is. Without it, images are not looked at.
IMAGES = "images"
Pixel = Annotated[int, Field(ge=0, le=1_000_000)]
Entry = Annotated[float, Field(ge=-1e12, le=1e12)]
Row = tuple[Entry, Entry, Entry]


class Crop(Config):
    """The part of an image that is used, pixels; what is left out reaches to the edge."""

    left: Pixel = 0
    top: Pixel = 0
    right: Pixel | None = Field(default=None, description="The first column that is not used.")
    bottom: Pixel | None = Field(default=None, description="The first row that is not used.")

    def box(self, size_px: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in an image of this width and height; none of it where nothing is left."""
        right, bottom = (size if end is None else min(size, end) for size, end in zip(size_px, (self.right, self.bottom), strict=True))
        return self.left, self.top, right, bottom


class Background(Config):
    """An image of the ground, and where its pixels lie in the scene's frame."""

    image: str = Field(min_length=1, max_length=512, description="PNG or JPEG; path from the folder of the configuration.")
    crop_px: Crop = Crop()
    homography: tuple[Row, Row, Row] = Field(description="From pixels to metres, as `python -m api.homography` prints it.")

    @field_validator("image")
    @classmethod
    def _be_an_image(cls, image: str, info: ValidationInfo) -> str:
        cls._size_px(image, info)
        return image

    @field_validator("crop_px")
    @classmethod
    def _leave_something(cls, crop: Crop, info: ValidationInfo) -> Crop:
        size_px = cls._size_px(info.data.get("image"), info)
        if size_px is not None:
            left, top, right, bottom = crop.box(size_px)
            if left >= right or top >= bottom:
                raise ValueError(f"nothing is left of the image, which has {size_px[0]} × {size_px[1]} pixels; cut less")
        return crop

    @field_validator("homography")
    @classmethod
    def _map_the_image_to_the_ground(cls, rows: tuple[Row, Row, Row], info: ValidationInfo) -> tuple[Row, Row, Row]:
        matrix = np.array(rows)
        crop: Crop | None = info.data.get("crop_px")
        size_px = cls._size_px(info.data.get("image"), info)
        edges = corners(1000, 1000) if crop is None or size_px is None else _corners(crop.box(size_px))
        if is_singular(matrix, edges):
            raise ValueError(
                "the matrix is singular: it maps the image to a line; copy all nine numbers, row by row, or let python -m api.homography "
                "find it"
            )
        if crop is not None and size_px is not None:
            _refuse_horizon(matrix, edges)
            widths_m = np.ptp(project(matrix, edges), axis=0)
            if widths_m.max() > MAX_VIEW_M:
                raise ValueError(
                    f"the image would cover {widths_m[0]:.3g} m × {widths_m[1]:.3g} m, and a map shows {MAX_VIEW_M / 1000:.0f} km at most; "
                    "see whether the homography maps to metres, and cut the part near the horizon with crop_px"
                )
        return rows

    @classmethod
    def _size_px(cls, image: str | None, info: ValidationInfo) -> tuple[int, int] | None:
        """Width and height; None where nobody can tell, or the image has been refused already."""
        images = (info.context or {}).get(IMAGES)
        if images is None or image is None:
            return None
        try:
            size_px: tuple[int, int] = images.size_px(image)
        except InvalidInput as error:
            raise ValueError(error.message) from error
        return size_px

    @property
    def matrix(self) -> FloatArray:
        """(3, 3) from pixels of the whole image to metres."""
        return np.array(self.homography)

    def bounds(self, size_px: tuple[int, int]) -> SceneBounds:
        """The smallest rectangle around what the used part of an image of this size covers, metres."""
        edges_m = project(self.matrix, _corners(self.crop_px.box(size_px)))
        (x_min_m, y_min_m), (x_max_m, y_max_m) = edges_m.min(axis=0).tolist(), edges_m.max(axis=0).tolist()
        return SceneBounds(x_min_m=x_min_m, y_min_m=y_min_m, x_max_m=x_max_m, y_max_m=y_max_m)


def _corners(box: tuple[int, int, int, int]) -> FloatArray:
    left, top, right, bottom = box
    return corners(right - left, bottom - top, left, top)


def _refuse_horizon(matrix: FloatArray, edges: FloatArray) -> None:
    """Each corner must lie on the same side of the horizon, and well below it.

    Raises:
        ValueError: naming corners that do not.
    """
    w = depths(matrix, edges)
    w = w * np.sign(w[np.abs(w).argmax()])
    names = ("upper left", "upper right", "lower right", "lower left")
    beyond = [name for name, depth in zip(names, w, strict=True) if depth <= NEAR_HORIZON * w.max()]
    if beyond:
        raise ValueError(
            f"no ground is seen in a corner of the image ({', '.join(beyond)}): it lies behind the horizon of the homography or on it; use "
            "the part below with crop_px: {top: …}, or see whether the points were measured in this image"
        )
