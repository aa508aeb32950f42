"""Scenes over the API: listed, replayed and live for every role; bounded; by names of any form."""

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from tests import ground_images
from tests.ground_images import GROUND_M, GROUND_PX
from tests.running_api import Api, a_body, running_api
from trajops.contracts.scenes import SceneGround, ScenesOut, SceneWindow
from trajops.homography import fit

CONFIGS = Path(__file__).parents[2] / "configs"
SCENE = "quay 3/north"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running_api(tmp_path) as api:
        api.promote(1)
        for agent in ("a", "b"):
            answer = api.post("/predict", a_body(agent, scene_id=SCENE, observed_at_s=time.time()))
            assert answer.status_code == 200, answer.text
        yield api


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_scenes_are_listed_for_every_role(api: Api, role: str) -> None:
    seen = ScenesOut.model_validate(api.get("/v1/scenes", role).json())
    assert [(scene.scene_id, scene.agents, scene.predictions) for scene in seen.scenes] == [(SCENE, 2, 2)]


@pytest.mark.parametrize("what", ["window", "live"])
def test_a_scene_with_a_slash_in_its_name_is_read(api: Api, what: str) -> None:
    answer = api.get(f"/v1/scenes/{quote(SCENE, safe='')}/{what}")
    assert answer.status_code == 200, answer.text
    shown = SceneWindow.model_validate(answer.json())
    assert [track.agent_id for track in shown.tracks] == ["a", "b"]
    assert [p.agent_id for p in shown.predictions] == ["a", "b"]
    assert shown.tracks[0].speed_mps == pytest.approx(1.0)
    assert shown.cut == []


def test_a_scene_that_nobody_knows_is_empty(api: Api) -> None:
    shown = SceneWindow.model_validate(api.get("/v1/scenes/nowhere/live").json())
    assert (shown.tracks, shown.agents, shown.newest_at) == ([], 0, None)


def test_a_window_of_too_many_seconds_agents_or_none_is_refused(api: Api) -> None:
    now = datetime.now(UTC)
    long = api.get("/v1/scenes/s/window", since=(now - timedelta(minutes=3)).isoformat(), until=now.isoformat())
    assert (long.status_code, long.json()["code"]) == (422, "invalid_input")
    assert "at most 120 s" in long.json()["detail"]
    assert api.get("/v1/scenes/s/window", agents=201).status_code == 422
    assert api.get("/v1/scenes/s/live", seconds=61).status_code == 422
    assert api.get("/v1/scenes/s/window", since=now.isoformat(), until=now.isoformat()).status_code == 422


def test_without_a_credential_nothing_is_told(api: Api) -> None:
    assert api.client.get("/v1/scenes").status_code == 401


def test_a_scene_that_lies_somewhere_has_coast_and_origin(tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    shutil.copytree(CONFIGS, configs)
    file = configs / "scenes.yaml"
    file.write_text('scenes:\n  - {pattern: "strait*", geographic: {longitude_deg: 1.33, latitude_deg: 51.12}}\n', encoding="utf-8")
    edges = {"x_min_m": -5e4, "y_min_m": -5e4, "x_max_m": 5e4, "y_max_m": 5e4}
    with running_api(tmp_path / "var", configs_dir=configs) as api:
        ground = SceneGround.model_validate(api.get("/v1/scenes/strait/background", **edges).json())
        assert ground.origin is not None
        assert ground.coast
        assert api.get("/v1/scenes/plaza/background", **edges).json()["origin"] is None
        assert api.get("/v1/scenes/strait/background", **(edges | {"x_max_m": -5e4})).status_code == 422
        without = api.get("/v1/scenes/strait/background").json()
        assert (without["origin"]["latitude_deg"], without["coast"]) == (51.12, [])
        partly = api.get("/v1/scenes/strait/background", x_min_m=-5, y_min_m=-5)
        assert (partly.status_code, partly.json()["code"]) == (422, "invalid_input")
        assert "x_max_m, y_max_m" in partly.json()["detail"]
        file.write_text("scenes: 5\n", encoding="utf-8")
        broken = api.get("/v1/scenes/other/background", **edges)
        assert broken.status_code >= 500
        assert "scenes.yaml:1" in broken.json()["detail"]


def test_a_scene_with_an_image_has_it_warped_and_bounded(tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    shutil.copytree(CONFIGS, configs)
    matrix = fit(GROUND_PX, GROUND_M).matrix
    ground_images.save(configs, matrix)
    file = configs / "scenes.yaml"
    file.write_text(
        f'scenes:\n  - pattern: "plaza*"\n    background: {{image: ground.png, homography: {matrix.tolist()}}}\n', encoding="utf-8"
    )
    edges = {"x_min_m": -5, "y_min_m": -5, "x_max_m": 5, "y_max_m": 5}
    scene = quote("plaza 3/north", safe="")
    with running_api(tmp_path / "var", configs_dir=configs) as api:
        ground = SceneGround.model_validate(api.get(f"/v1/scenes/{scene}/background", **edges).json())
        assert ground.origin is None
        assert ground.image is not None
        assert ground.image.bounds.x_min_m < 0
        assert ground.image.bounds.x_max_m > 8
        answer = api.get(f"/v1/scenes/{scene}/background/image")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
        assert "private" in answer.headers["cache-control"]
        assert len(answer.content) <= 500_000
        assert ground_images.decoded(answer.content).shape[:2] == (ground.image.height_px, ground.image.width_px)
        none = api.get("/v1/scenes/street/background/image")
        assert (none.status_code, none.json()["code"]) == (404, "not_found")
        assert api.client.get(f"/v1/scenes/{scene}/background/image").status_code == 401
        (configs / "ground.png").unlink()
        missing = api.get("/v1/scenes/plaza4/background", **edges)
        assert (missing.status_code, missing.json()["code"]) == (503, "environment")
        assert "scenes.yaml:3" in missing.json()["detail"]
