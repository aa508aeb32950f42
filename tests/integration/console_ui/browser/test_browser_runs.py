"""Training runs in a browser: a click in the figure and in the list chooses, a comparison fits its page, a run is registered."""

from urllib.parse import parse_qs, urlsplit

import pytest
from browsing import IDLE, dialog, give_a_reason, opened, troubles, wait_until_still
from console_stub import StubServer
from playwright.sync_api import Page, expect

from tests.run_builders import a_run, run_id

pytestmark = pytest.mark.slow


def chosen(page: Page) -> list[str]:
    return parse_qs(urlsplit(page.url).query).get("runs", [""])[0].split(",")


def test_a_click_on_a_point_and_a_tick_in_the_list_choose(page: Page, console: str) -> None:
    opened(page, console, "Experiments")
    point = page.locator(".js-plotly-plot .scatterlayer .trace .points path").first
    point.wait_for()
    box = point.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    page.locator(".js-plotly-plot .hoverlayer .hovertext").first.wait_for()  # a point is clicked that the mouse is known to be over
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url("**runs=*")
    [first] = chosen(page)
    page.wait_for_selector(IDLE)
    page.get_by_text("1 of at most 10 chosen to compare").wait_for()
    other = next(one for one in (run_id(3), run_id(2)) if one != first)
    page.locator(f".st-key-pick-{other} label").click()
    page.get_by_text("2 of at most 10 chosen to compare").wait_for()
    assert set(chosen(page)) == {first, other}
    page.reload()
    page.get_by_text("2 of at most 10 chosen to compare").wait_for()


def test_a_box_chooses_all_that_lie_in_it(page: Page, console: str) -> None:
    opened(page, console, "Experiments")
    plot = page.locator(".js-plotly-plot .nsewdrag").first
    plot.wait_for()
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.locator(".modebar-btn[data-title='Box Select']").first.click()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + box["height"] - 4, steps=5)
    page.mouse.up()
    page.get_by_text("6 of at most 10 chosen to compare").wait_for()
    assert set(chosen(page)) == {run_id(number) for number in range(1, 7)}


@pytest.mark.parametrize("width", [1000, 1440])
def test_a_comparison_fits_its_page(page: Page, console: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    opened(page, console, "Experiments", f"refresh=off&differences=false&runs={run_id(1)},{run_id(3)},{run_id(4)},{run_id(6)}")
    page.get_by_role("heading", name="Forecasts of the same track").wait_for()
    wait_until_still(page)
    assert troubles(page) == []


def test_all_scenes_and_a_track_with_two_versions_are_in_the_url(page: Page, console: str, server: StubServer) -> None:
    scenes = {f"scene.s{number:02d}.ade_m": 0.01 * number for number in range(1, 21)}
    server.api.runs.kept.add(a_run(3, "gaussian_mlp", metrics={**a_run(3).metrics, **scenes}))
    opened(page, console, "Experiments", f"refresh=off&runs={run_id(3)},{run_id(2)}")
    page.get_by_text("12 of 21 scenes: those with the largest error of v3 Gaussian MLP.").wait_for()
    page.locator(".st-key-all_scenes label").click()
    page.wait_for_url("**all_scenes=true*")
    page.get_by_text("12 of 21 scenes").wait_for(state="detached")
    page.wait_for_url("**track=*")
    query = parse_qs(urlsplit(page.url).query)
    assert (query["first"], query["second"]) == (["3"], ["2"])
    page.reload()
    page.get_by_text("v3 Gaussian MLP: best in s01 (0.010 m); worst in north.1").wait_for()
    expect(page.get_by_text("12 of 21 scenes")).to_have_count(0)
    assert parse_qs(urlsplit(page.url).query)["track"] == query["track"]


@pytest.mark.changes("register_run")
def test_a_run_is_registered_while_the_page_refreshes(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Experiments", "refresh=2s")
    confirmation = dialog(page, f"register-{run_id(4)}")
    confirmation.get_by_text("becomes the next version").wait_for()
    give_a_reason(confirmation, server, "the fastest of the front")
    confirmation.get_by_role("button", name="Register").click()
    page.get_by_text("Registered gradient boosting 040404 as v4").first.wait_for()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("link", name="v4").first.wait_for()
    [(path, body)] = [(path, body) for method, path, _, body in server.api.calls if method == "POST" and path.startswith("/v1/runs")]
    assert (path, body) == (f"/v1/runs/{run_id(4)}/register", {"reason": "the fastest of the front"})
