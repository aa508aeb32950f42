"""Background images: a pixel lands at its metres, what is sent is bounded, and mistakes are told with file and line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.geography import images as module
from data.geography.coast import Coast
from data.geography.images import MAX_BYTES, MAX_SIDE_PX, Images
from tests.ground_images import BLUE, GROUND_M, GROUND_PX, RED, SIZE_PX, colour_at, decoded, photographed, save
from trajops.configs import load
from trajops.contracts.scenes import SceneBounds
from trajops.errors import EnvironmentProblem, InvalidInput, NotFound
from trajops.homography import corners, fit, project
from trajops.ports import GroundImage
from trajops.scene_backgrounds import IMAGES, Background, Crop
from trajops.scene_frames import SceneFrames
from trajops.services.scene_grounds import SceneGrounds

MATRIX = fit(GROUND_PX, GROUND_M).matrix
VIEW = SceneBounds(x_min_m=-1, y_min_m=-1, x_max_m=1, y_max_m=1)
BACKGROUND = (
    "scenes:\n  - pattern: plaza*\n    background:\n      image: {image}\n      homography:\n        - {0}\n        - {1}\n        - {2}\n"
)


def a_background(matrix: np.ndarray = MATRIX, image: str = "ground.png", **crop: int) -> Background:
    return Background(image=image, homography=matrix.tolist(), crop_px=Crop(**crop))


def written(folder: Path, matrix: np.ndarray = MATRIX, image: str = "ground.png") -> Path:
    file = folder / "scenes.yaml"
    file.write_text(BACKGROUND.format(*matrix.tolist(), image=image), encoding="utf-8")
    return file


def read(folder: Path, matrix: np.ndarray = MATRIX, image: str = "ground.png") -> SceneFrames:
    return load(written(folder, matrix, image), SceneFrames, context={IMAGES: Images(folder)})


def pixels_of(image: GroundImage, points_m: np.ndarray) -> np.ndarray:
    """(N, 4) what is seen of the laid out image at points of the plane."""
    shown, bounds = decoded(image.content), image.bounds
    column = (points_m[:, 0] - bounds.x_min_m) / (bounds.x_max_m - bounds.x_min_m) * image.width_px
    row = (bounds.y_max_m - points_m[:, 1]) / (bounds.y_max_m - bounds.y_min_m) * image.height_px
    return shown[row.astype(int), column.astype(int)].astype(int)


def inner_points() -> np.ndarray:
    """Points of the ground of 8 m × 6 m, 0.1 m from the edges of squares at least."""
    grid = np.arange(0.1, 1.0, 0.2)
    x, y = np.meshgrid(np.concatenate([n + grid for n in range(8)]), np.concatenate([n + grid for n in range(6)]))
    return np.column_stack([x.ravel(), y.ravel()])


@pytest.mark.parametrize("crop", [{}, {"left": 30, "top": 50, "right": 980, "bottom": 590}], ids=["whole", "cropped"])
def test_each_square_of_the_checker_lies_at_its_metres(tmp_path: Path, crop: dict[str, int]) -> None:
    save(tmp_path, MATRIX)
    image = Images(tmp_path).laid_out(a_background(**crop))
    points_m = inner_points()
    seen = pixels_of(image, points_m)
    assert (seen[:, 3] == 255).all()
    assert np.abs(seen[:, :3] - colour_at(points_m)).max() < 60
    assert np.abs(seen[:, :3] - colour_at(points_m + np.array([1, 0]))).max(axis=1).min() > 100, (
        "the control: one square aside, all are of the other colour"
    )


def test_an_edge_between_squares_lies_within_two_centimetres(tmp_path: Path) -> None:
    """Along a line of squares the colour turns at whole metres: half a pixel off, it would turn elsewhere."""
    save(tmp_path, MATRIX)
    image = Images(tmp_path).laid_out(a_background())
    along = np.arange(0.05, 7.95, 0.005)
    is_red = pixels_of(image, np.column_stack([along, np.full(len(along), 2.5)]))[:, 0] > (RED[0] + BLUE[0]) / 2
    turns = along[1:][np.diff(is_red.astype(int)) != 0]
    assert turns == pytest.approx(np.arange(1, 8), abs=0.02)


def test_what_the_camera_did_not_see_is_transparent(tmp_path: Path) -> None:
    save(tmp_path, MATRIX)
    image = Images(tmp_path).laid_out(a_background())
    edges_m = project(MATRIX, corners(*SIZE_PX))
    assert (image.bounds.x_min_m, image.bounds.y_max_m) == pytest.approx((edges_m[:, 0].min(), edges_m[:, 1].max()))
    inside = edges_m.mean(axis=0) + 0.98 * (edges_m - edges_m.mean(axis=0))
    assert (pixels_of(image, inside)[:, 3] == 255).all()
    corner = np.array(
        [(image.bounds.x_max_m - 0.05, image.bounds.y_min_m + 0.05), (image.bounds.x_min_m + 0.05, image.bounds.y_min_m + 0.05)]
    )
    assert (pixels_of(image, corner)[:, 3] == 0).all()


def test_what_is_sent_is_bounded_whatever_is_given(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.jpg", quality=60)
    image = Images(tmp_path).laid_out(a_background(np.diag([0.01, -0.01, 1.0]), "noise.jpg"))
    assert len(image.content) <= MAX_BYTES
    assert max(image.width_px, image.height_px) <= MAX_SIDE_PX
    assert decoded(image.content).shape[:2] == (image.height_px, image.width_px)


def test_an_image_is_warped_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, whole, warped = save(tmp_path, MATRIX), module._warped, []
    monkeypatch.setattr(module, "_warped", lambda *args: warped.append(args) or whole(*args))
    images = Images(tmp_path)
    first = images.laid_out(a_background())
    assert images.laid_out(a_background()) is first
    assert len(warped) == 1
    photographed(fit(GROUND_PX, GROUND_M + 1).matrix).save(path)
    assert images.laid_out(a_background()).version != first.version
    images.laid_out(a_background(MATRIX * 2.0))
    assert len(warped) == 3


def test_a_photograph_that_is_shown_turned_is_measured_as_it_is_shown(tmp_path: Path) -> None:
    """A telephone's picture: rows are stored as columns, and EXIF says so."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    photographed(MATRIX).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.jpg", quality=95, exif=exif)
    images = Images(tmp_path)
    assert images.size_px("phone.jpg") == SIZE_PX
    seen = pixels_of(images.laid_out(a_background(image="phone.jpg")), inner_points())
    assert np.abs(seen[:, :3] - colour_at(inner_points())).max() < 80


def test_a_usable_background_is_read(tmp_path: Path) -> None:
    save(tmp_path, MATRIX)
    frame = read(tmp_path).of("plaza-3")
    assert frame is not None
    assert frame.background is not None
    assert frame.geographic is None


def test_a_path_leads_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    save(tmp_path / "images", MATRIX)
    assert read(tmp_path, image="images/ground.png").scenes


@pytest.mark.parametrize("name", ["../ground.png", "/etc/hostname"])
def test_an_image_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "configs").mkdir()
    save(tmp_path, MATRIX)
    with pytest.raises(InvalidInput, match=r"scenes\.yaml:4: .*lies outside of .*; copy it there"):
        read(tmp_path / "configs", image=name)


def test_a_missing_image_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInput, match=r"scenes\.yaml:4: scenes\.0\.background\.image: .*there is no image .*ground\.png .*; put it there"
    ):
        read(tmp_path)


def test_what_is_no_image_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "ground.png").write_text("no image", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"scenes\.yaml:4: .*is no PNG or JPEG image that can be read"):
        read(tmp_path)
    photographed(MATRIX).save(tmp_path / "ground.png", "GIF")
    with pytest.raises(InvalidInput, match="is no PNG or JPEG"):
        read(tmp_path)
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(tmp_path / "ground.png")
    with pytest.raises(InvalidInput, match="save it with 8 bits a channel"):
        read(tmp_path)


def test_an_image_that_is_too_large_is_told_with_its_line(tmp_path: Path) -> None:
    Image.new("1", (6000, 4200)).save(tmp_path / "ground.png")
    with pytest.raises(InvalidInput, match=r"scenes\.yaml:4: .*has 6000 × 4200 pixels, and an image may have 25 million"):
        read(tmp_path)
    with (tmp_path / "ground.png").open("r+b") as file:
        file.truncate(21 * 2**20)
    with pytest.raises(InvalidInput, match=r"scenes\.yaml:4: .*has 21\.0 MiB, and an image may have 20"):
        read(tmp_path)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "ground.png")
    with pytest.raises(InvalidInput, match=r"is no PNG or JPEG|has 20000"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("matrix", "problem"),
    [
        pytest.param([[1, 2, 3], [2, 4, 6], [0, 0, 1]], "the matrix is singular", id="singular"),
        pytest.param(
            [[0.01, 0, 0], [0, -0.01, 0], [0, -0.002, 1]],
            r"corner of the image \(lower right, lower left\): .* behind the horizon",
            id="below",
        ),
        pytest.param(
            [[0.01, 0, 0], [0, -0.01, 0], [0, 0.002, -0.4]], r"corner of the image \(upper left, upper right\): .* crop_px", id="above"
        ),
        pytest.param([[0.01, 0, 0], [0, -0.01, 0], [0, -0.002, 1.2002]], "behind the horizon of the homography or on it", id="nearly"),
        pytest.param([[2000, 0, 0], [0, -2000, 0], [0, 0, 1]], "cover 2e.06 m × 1.2e.06 m, and a map shows 1000 km", id="vast"),
    ],
)
def test_a_homography_that_cannot_be_used_is_told_with_its_line(tmp_path: Path, matrix: list[list[float]], problem: str) -> None:
    save(tmp_path, MATRIX)
    with pytest.raises(InvalidInput, match=rf"scenes\.yaml:5: scenes\.0\.background\.homography: .*{problem}"):
        read(tmp_path, np.array(matrix, dtype=float))


def test_an_entry_beyond_reason_is_told_with_its_line(tmp_path: Path) -> None:
    save(tmp_path, MATRIX)
    with pytest.raises(InvalidInput, match=r"scenes\.yaml:7: scenes\.0\.background\.homography\.1\.1: .*less than or equal to 1"):
        read(tmp_path, np.diag([1.0, 1e308, 1.0]))


def test_a_mistake_of_the_matrix_is_found_without_its_image(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(tmp_path, np.ones((3, 3)))
    assert "scenes.yaml:4" in refused.value.message
    assert "scenes.yaml:5" in refused.value.message


@pytest.mark.parametrize(
    ("crop", "top", "bottom"), [("{top: 250}", 250, 600), ("{top: 260, bottom: 500, left: 10, right: 5000}", 260, 500)]
)
def test_the_part_below_the_horizon_can_be_used(tmp_path: Path, crop: str, top: int, bottom: int) -> None:
    save(tmp_path, MATRIX)
    sky = np.array([[0.01, 0, 0], [0, -0.01, 0], [0, 0.002, -0.4]])
    file = written(tmp_path, sky)
    file.write_text(file.read_text().replace("      homography", f"      crop_px: {crop}\n      homography"), encoding="utf-8")
    frame = load(file, SceneFrames, context={IMAGES: Images(tmp_path)}).of("plaza")
    assert frame is not None
    assert frame.background is not None
    assert frame.background.crop_px.box(SIZE_PX)[1::2] == (top, bottom)


@pytest.mark.parametrize("crop", ["{top: 600}", "{left: 5, right: 5}", "{right: 0}"])
def test_a_crop_that_leaves_nothing_is_told_with_its_line(tmp_path: Path, crop: str) -> None:
    save(tmp_path, MATRIX)
    file = written(tmp_path)
    file.write_text(file.read_text().replace("      homography", f"      crop_px: {crop}\n      homography"), encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"scenes\.yaml:5: .*nothing is left of the image, which has 1000 × 600 pixels"):
        load(file, SceneFrames, context={IMAGES: Images(tmp_path)})


def test_a_pattern_that_says_nothing_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "scenes.yaml"
    file.write_text("scenes:\n  - pattern: a\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"scenes\.yaml:2: .*nothing is said about these scenes"):
        load(file, SceneFrames)


def test_the_ground_of_a_scene_has_its_image(tmp_path: Path) -> None:
    save(tmp_path, MATRIX)
    frames, images = read(tmp_path), Images(tmp_path)
    grounds = SceneGrounds(lambda: frames, Coast(), images)
    ground = grounds.of("plaza", VIEW)
    assert (ground.origin, ground.coast) == (None, [])
    assert ground.image is not None
    made = grounds.image("plaza")
    assert (ground.image.version, ground.image.bounds) == (made.version, made.bounds)
    assert grounds.of("street", VIEW).image is None
    with pytest.raises(NotFound, match="scene street has no background image"):
        grounds.image("street")


def test_a_damaged_image_is_a_problem_of_the_machine(tmp_path: Path) -> None:
    path = save(tmp_path, MATRIX)
    path.write_bytes(path.read_bytes()[:1500])
    frames = read(tmp_path)
    with pytest.raises(EnvironmentProblem, match=r"ground\.png is damaged: .*; save the image anew"):
        SceneGrounds(lambda: frames, Coast(), Images(tmp_path)).of("plaza", VIEW)
