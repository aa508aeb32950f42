"""Background images: read from beside the configuration, warped to the plane once, and bounded in what is sent."""

import hashlib
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from trajops.contracts.scenes import SceneBounds
from trajops.errors import InvalidInput
from trajops.ports import GroundImage
from trajops.scene_backgrounds import Background
from trajops.trajectories import FloatArray

PHOTO = "JPEG"
FORMATS = ("PNG", PHOTO)
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
MAX_FILE_BYTES, MAX_PIXELS = 20 * 2**20, 25_000_000
# What goes to a browser.
MAX_SIDE_PX, MAX_BYTES = 1_600, 500_000
QUALITIES = (80, 60, 40, 20)
# Each pixel is the mean of so many times as many, because a homography shrinks what is far away.
FINER = 2
KEPT = 16
# EXIF says so where an image is shown turned by a quarter.
ORIENTATION, QUARTER_TURNED = 0x0112, {5, 6, 7, 8}


class _File(NamedTuple):
    """An image file as it was when it was looked at."""

    path: Path
    modified_ns: int
    bytes: int


class Images:
    """Implements `trajops.ports.ImageSource` over a folder. What was made is kept while file and homography stay.

    Args:
        folder: of the configuration.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: dict[str, tuple[_File, tuple[int, int]]] = {}
        self._made: OrderedDict[tuple[_File, Background], GroundImage] = OrderedDict()
        self._lock = Lock()  # one at a time, because a large image takes 200 MB until it is warped

    def size_px(self, name: str) -> tuple[int, int]:
        """Width and height of an image as it is shown."""
        file = self._file(name)
        known = self._sizes.get(name)
        if known is None or known[0] != file:
            with _opened(file) as image:
                is_turned = image.format == PHOTO and image.getexif().get(ORIENTATION) in QUARTER_TURNED
                known = self._sizes[name] = (file, image.size[::-1] if is_turned else image.size)
        return known[1]

    def laid_out(self, background: Background) -> GroundImage:
        """An image as it lies on the plane, y upwards, at most `MAX_SIDE_PX` wide and high and `MAX_BYTES` large."""
        key = (self._file(background.image), background)
        with self._lock:
            made = self._made.get(key)
            if made is None:
                made = self._made[key] = _warped(key[0], background)
            self._made.move_to_end(key)
            while len(self._made) > KEPT:
                self._made.popitem(last=False)
            return made

    def _file(self, name: str) -> _File:
        folder = self._folder.resolve()
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise InvalidInput(f"{name} lies outside of {folder}; copy it there, and write its path from there")
        try:
            known = path.stat()
        except OSError as error:
            raise InvalidInput(f"there is no image {path} ({error.strerror}); put it there, or correct the name") from error
        if known.st_size > MAX_FILE_BYTES:
            raise InvalidInput(
                f"{path} has {known.st_size / 2**20:.1f} MiB, and an image may have {MAX_FILE_BYTES / 2**20:.0f}; save a smaller one and "
                "measure the points in it"
            )
        return _File(path, known.st_mtime_ns, known.st_size)


def _opened(file: _File) -> Any:
    """The image of a file, not decoded yet."""
    try:
        image = Image.open(file.path, formats=FORMATS)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"{file.path} is no PNG or JPEG image that can be read; save it as one ({type(error).__name__})") from error
    (width, height), problem = image.size, None
    if width * height > MAX_PIXELS:
        problem = (
            f"has {width} × {height} pixels, and an image may have {MAX_PIXELS / 1e6:.0f} million; save a smaller one and measure "
            "the points in it"
        )
    elif image.mode not in MODES:
        problem = f"has pixels of the kind {image.mode}; save it with 8 bits a channel"
    if problem is not None:
        image.close()
        raise InvalidInput(f"{file.path} {problem}")
    return image


def _warped(file: _File, background: Background) -> GroundImage:
    with _opened(file) as opened:
        try:
            image = (ImageOps.exif_transpose(opened) if opened.format == PHOTO else opened).convert("RGBA")
        except (OSError, SyntaxError, ValueError, MemoryError) as error:
            raise InvalidInput(f"{file.path} is damaged: {error}; save the image anew") from error
    bounds, box = background.bounds(image.size), background.crop_px.box(image.size)
    image = image.crop(box)
    size_px = _size_px(bounds, image.size)
    finer = (FINER * size_px[0], FINER * size_px[1])
    shown = image.transform(
        finer, Image.Transform.PERSPECTIVE, _coefficients(background.matrix, bounds, box, finer), Image.Resampling.BILINEAR
    ).reduce(FINER)
    content, size_px = _encoded(shown)
    return GroundImage(content, *size_px, bounds, hashlib.sha256(content).hexdigest()[:16])


def _size_px(bounds: SceneBounds, source_px: tuple[int, int]) -> tuple[int, int]:
    """Width and height of what is sent: with square pixels, and hardly more of them than the source has."""
    width_m, height_m = bounds.x_max_m - bounds.x_min_m, bounds.y_max_m - bounds.y_min_m
    side_px = min(MAX_SIDE_PX, 2 * max(source_px))
    scale = side_px / max(width_m, height_m)
    return max(1, round(width_m * scale)), max(1, round(height_m * scale))


def _coefficients(matrix: FloatArray, bounds: SceneBounds, box: tuple[int, int, int, int], size_px: tuple[int, int]) -> tuple[float, ...]:
    """What Pillow takes: the homography from pixels of the result to those of the cropped source; both begin at the edge of a pixel."""
    x_m, y_m = (bounds.x_max_m - bounds.x_min_m) / size_px[0], (bounds.y_max_m - bounds.y_min_m) / size_px[1]
    to_metres = np.array([[x_m, 0.0, bounds.x_min_m], [0.0, -y_m, bounds.y_max_m], [0.0, 0.0, 1.0]])
    from_middle = np.array([[1.0, 0.0, 0.5 - box[0]], [0.0, 1.0, 0.5 - box[1]], [0.0, 0.0, 1.0]])
    found = from_middle @ np.linalg.inv(matrix) @ to_metres
    # A corner may lie just below the camera, where w is zero; Pillow wants it to be one.
    last = found[2, 2] if abs(found[2, 2]) > 1e-12 * np.abs(found).max() else 1e-12 * np.abs(found).max()
    return tuple((found / last).ravel()[:8].tolist())


def _encoded(image: Any) -> tuple[bytes, tuple[int, int]]:
    """WebP of at most `MAX_BYTES`, less good or smaller where it has to be, and its size in pixels."""
    while True:
        for quality in QUALITIES:
            written = BytesIO()
            image.save(written, "WEBP", quality=quality)
            if written.tell() <= MAX_BYTES:
                return written.getvalue(), image.size
        image = image.reduce(2)
