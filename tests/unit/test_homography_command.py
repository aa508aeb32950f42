"""The command that finds a homography: its report, what it prints to paste, and what it refuses; the example of the guide."""

import io
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

from api.homography import main
from data.geography.images import Images
from trajops.configs import load
from trajops.scene_backgrounds import IMAGES
from trajops.scene_frames import SceneFrames

GUIDE = (Path(__file__).parents[2] / "docs" / "scenes.md").read_text(encoding="utf-8")
POINTS = "u,v,x,y\n100,100,0,30\n1100,100,50,30\n1100,700,50,0\n100,700,0,0\n"


def block(kind: str, begin: str) -> str:
    """The code of the guide of one kind that begins so."""
    [found] = [code for code in re.findall(rf"```{kind}\n(.*?)```", GUIDE, re.DOTALL) if code.startswith(begin)]
    return str(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (1920, 1080)).save(tmp_path / "plaza.jpg")
    return tmp_path


def points(folder: Path, text: str = POINTS) -> str:
    path = folder / "points.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_example_of_the_guide(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([points(folder, block("csv", "u,v")), "--image", "plaza.jpg", "--configs", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert printed == block("yaml", "#  point")
    pasted = block("yaml", 'scenes:\n  - pattern: "plaza-*"')
    (folder / "scenes.yaml").write_text(pasted, encoding="utf-8")
    frame = load(folder / "scenes.yaml", SceneFrames, context={IMAGES: Images(folder)}).of("plaza-1")
    assert frame is not None
    assert frame.background is not None
    assert frame.background.model_dump(mode="json", exclude_defaults=True) == yaml.safe_load(printed)["background"]


def test_what_is_printed_can_be_pasted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([points(folder), "--image", "plaza.jpg", "--configs", str(folder), "--crop", "10", "20", "1900", "1000"]) == 0
    printed = capsys.readouterr().out
    assert "Four points always fit" in printed
    assert "mirrored" not in printed
    (folder / "scenes.yaml").write_text(
        "scenes:\n- pattern: p\n" + "".join(f"  {line}\n" for line in printed.splitlines()), encoding="utf-8"
    )
    frame = load(folder / "scenes.yaml", SceneFrames, context={IMAGES: Images(folder)}).of("p")
    assert frame is not None
    assert frame.background is not None
    assert frame.background.crop_px.box((1920, 1080)) == (10, 20, 1900, 1000)


def test_points_come_from_standard_input_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("x, y, u, v\n0,30,100,100\n50,30,1100,100\n50,0,1100,700\n0,0,100,700\n"))
    assert main(["-"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["background"]["image"] == "IMAGE.jpg"


def test_swapped_axes_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([points(folder, POINTS.replace("u,v,x,y", "u,v,y,x"))]) == 0
    assert "comes out mirrored" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("u,v,x\n1,2,3\n", "the column y is missing; the first line of the file reads u,v,x,y", id="column"),
        pytest.param("", "is missing", id="empty"),
        pytest.param(POINTS + "1,2,3\n", "line 6 does not hold four numbers", id="short"),
        pytest.param(POINTS.replace("100,100,0,30", "100,100,0,3o"), "line 2 does not hold four numbers", id="letter"),
        pytest.param(POINTS.replace("100,100,0,30", "100,100,0,nan"), "the metres of point 1 are not finite", id="nan"),
        pytest.param("u,v,x,y\n", "needs 4 points at least, and there are 0", id="none"),
        pytest.param("u,v,x,y\n1,1,0,0\n2,2,1,0\n3,3,1,1\n4,4,0,1\n", "lie on a line", id="line"),
    ],
)
def test_points_that_cannot_be_used(folder: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str) -> None:
    assert main([points(folder, text)]) == 1
    written = capsys.readouterr()
    assert problem in written.err
    assert written.out == ""


def test_an_image_that_the_homography_does_not_fit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sky = "u,v,x,y\n400,900,0,0\n1500,900,5,0\n1200,500,5,40\n700,500,0,40\n"
    assert main([points(folder, sky), "--image", "plaza.jpg", "--configs", str(folder)]) == 1
    assert "no ground is seen in a corner of the image (upper left, upper right)" in capsys.readouterr().err
    assert main([points(folder, sky), "--image", "plaza.jpg", "--configs", str(folder), "--crop", "0", "450", "1920", "1080"]) == 0
    assert main([points(folder), "--image", "gone.jpg", "--configs", str(folder)]) == 1
    assert "there is no image" in capsys.readouterr().err


def test_a_file_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder / "gone.csv")]) == 1
    assert "gone.csv cannot be read" in capsys.readouterr().err
