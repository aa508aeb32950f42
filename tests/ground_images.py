"""Images of the ground with known corners: a checker that a camera sees, and what a plane point should look like."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from trajops.homography import project

# 1,000 × 600 pixels see a ground of 8 m × 6 m, whose squares of 1 m are red where x + y is even, and blue where it is odd.
SIZE_PX = (1000, 600)
GROUND_PX = np.array([(180.0, 80.0), (760.0, 120.0), (960.0, 560.0), (40.0, 520.0)])
GROUND_M = np.array([(0.0, 6.0), (8.0, 6.0), (8.0, 0.0), (0.0, 0.0)])
RED, BLUE = (200, 40, 40), (40, 40, 200)


def colour_at(points_m: np.ndarray) -> np.ndarray:
    """(N, 3) colours of the checker at points (N, 2), metres."""
    is_even = np.floor(points_m).sum(axis=1) % 2 == 0
    return np.where(is_even[:, None], RED, BLUE).astype(np.uint8)


def photographed(matrix: np.ndarray, size_px: tuple[int, int] = SIZE_PX) -> Image.Image:
    """What a camera sees of the checker, pixel by pixel."""
    v, u = np.mgrid[: size_px[1], : size_px[0]]
    seen = colour_at(project(matrix, np.column_stack([u.ravel(), v.ravel()]).astype(float)))
    return Image.fromarray(seen.reshape(size_px[1], size_px[0], 3))


def save(folder: Path, matrix: np.ndarray, name: str = "ground.png") -> Path:
    """Write such an image into a folder."""
    path = folder / name
    photographed(matrix).save(path)
    return path


def decoded(content: bytes) -> np.ndarray:
    """(H, W, 4) of an encoded image."""
    return np.asarray(Image.open(BytesIO(content)).convert("RGBA"))
