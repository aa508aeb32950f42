"""`python -m api.homography POINTS`: the homography of a background image from points that were measured in it, ready for scenes.yaml.

POINTS is a CSV file with the columns u, v (pixels: to the right and downwards, the first pixel is 0, 0) and x, y (metres in the scene's
frame); - reads it from standard input.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import ValidationError

from data.geography.images import Images
from trajops.errors import InvalidInput, TrajOpsError
from trajops.homography import LEAST_POINTS, Fit, fit, project
from trajops.scene_backgrounds import IMAGES, Background
from trajops.settings import Settings
from trajops.trajectories import FloatArray

COLUMNS = ("u", "v", "x", "y")
DIGITS = 12


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; 0, or 1 with one sentence on standard error."""
    args = _parser().parse_args(arguments)
    try:
        text = sys.stdin.read() if args.points == "-" else Path(args.points).read_text(encoding="utf-8-sig")
        pixels, metres = np.split(points_of(text), 2, axis=1)
        found = fit(pixels, metres)
        background: dict[str, Any] = {"image": args.image or "IMAGE.jpg"}
        if args.crop is not None:
            background["crop_px"] = dict(zip(("left", "top", "right", "bottom"), args.crop, strict=True))
        background["homography"] = [[float(f"{value:.{DIGITS}g}") for value in row] for row in found.matrix]
        sys.stdout.write(residuals(pixels, metres, found))
        if args.image is not None:
            sys.stdout.write(coverage(background, Images(args.configs or Settings.from_environment().configs_dir)))
    except (OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"homography: {args.points} cannot be read: {error}\n")
        return 1
    except TrajOpsError as error:
        sys.stderr.write(f"homography: {error.message}\n")
        return 1
    sys.stdout.write(yaml.safe_dump({"background": background}, sort_keys=False, default_flow_style=None, allow_unicode=True, width=200))
    return 0


def points_of(text: str) -> FloatArray:
    """Read pairs of points.

    Args:
        text: CSV with a row of names.

    Returns:
        (N, 4) u, v, x, y.

    Raises:
        InvalidInput: naming the line that cannot be used.
    """
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise InvalidInput(f"the column {' and the column '.join(missing)} is missing; the first line of the file reads u,v,x,y")
    found = []
    for row in rows:
        try:
            found.append([float(row[name]) for name in COLUMNS])
        except (TypeError, ValueError) as error:
            raise InvalidInput(
                f"line {rows.line_num} does not hold four numbers, with a point for decimals; correct or remove it"
            ) from error
    return np.array(found).reshape(-1, len(COLUMNS))


def residuals(pixels: FloatArray, metres: FloatArray, found: Fit) -> str:
    """How well the points fit, as comments of YAML."""
    rows = [
        f"#{i:6d}{u:10.1f}{v:10.1f}{x:12.2f}{y:12.2f}{off_m:12.3f}"
        for i, ((u, v), (x, y), off_m) in enumerate(zip(pixels, metres, found.residuals_m, strict=True), start=1)
    ]
    worst = int(found.residuals_m.argmax())
    mean_m, worst_m = np.sqrt(np.mean(found.residuals_m**2)), found.residuals_m[worst]
    told = [
        f"# {' point':6}{'u (px)':>10}{'v (px)':>10}{'x (m)':>12}{'y (m)':>12}{'off by (m)':>12}",
        *rows,
        f"# Root mean square {mean_m:.3f} m; point {worst + 1} is off most, by {worst_m:.3f} m.",
    ]
    if len(pixels) == LEAST_POINTS:
        told.append("# Four points always fit; a fifth one tells how good they are.")
    if found.is_mirrored:
        told.append("# The image comes out mirrored. Unless y points downwards in this scene, x and y are swapped, or u and v.")
    return "\n".join(told) + "\n"


def coverage(background: dict[str, Any], images: Images) -> str:
    """What the image covers, as a comment of YAML.

    Raises:
        InvalidInput: if it cannot be used with this homography.
    """
    try:
        checked = Background.model_validate(background, context={IMAGES: images})
    except ValidationError as error:
        raise InvalidInput("; ".join(item["msg"].removeprefix("Value error, ") for item in error.errors())) from error
    size_px = images.size_px(checked.image)
    bounds = checked.bounds(size_px)
    left, top, right, bottom = checked.crop_px.box(size_px)
    u, v = (left + right - 1) / 2, (top + bottom - 1) / 2
    pixel_m = np.linalg.norm(np.diff(project(checked.matrix, np.array([(u, v), (u + 1, v)])), axis=0))
    return (
        f"# The image reaches from x {bounds.x_min_m:.1f} m to {bounds.x_max_m:.1f} m and from y {bounds.y_min_m:.1f} m to "
        f"{bounds.y_max_m:.1f} m; a pixel in its middle is {pixel_m:.3f} m wide.\n"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m api.homography", description="The homography of a background image.")
    parser.add_argument(
        "points", help="CSV file with the columns u, v (pixels) and x, y (metres), four rows at least; - for standard input"
    )
    parser.add_argument(
        "--image", help="file of the image, from the folder of the configuration; says what it covers, or why it cannot be used"
    )
    parser.add_argument("--crop", nargs=4, type=int, metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"), help="part of the image to use, pixels")
    parser.add_argument("--configs", type=Path, help="folder of the configuration (default: TRAJOPS_CONFIGS_DIR, or configs)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
