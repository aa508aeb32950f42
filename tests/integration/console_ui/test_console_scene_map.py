"""Scene map: live, silent, recorded, by its link, for each role; and what it says when there is nothing to show."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from console_app import opened, text
from console_stub import StubApi, StubServer
from console_stub.refusal import Refused
from streamlit.testing.v1 import AppTest

from trajops.contracts.scenes import GeographicOrigin, SceneBounds, SceneImage

AT = (datetime.now(UTC) - timedelta(minutes=5)).replace(microsecond=0)


def recorded(**query: str) -> AppTest:
    app = opened("Scene map", **query)
    app.session_state["view"] = "Recorded"
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


@pytest.mark.parametrize("user", ["ada", "vera"])
def test_agents_are_counted_and_drawn_for_every_role(server: StubServer, user: str) -> None:
    app = opened("Scene map", user)
    assert "4 agents, 4 with a prediction; last heard of" in text(app)
    assert "Live" in text(app)
    assert app.get("plotly_chart")
    assert app.selectbox(key="scene").value == "second_half"


def test_the_chart_stays_the_same_element_while_it_is_refreshed(server: StubServer) -> None:
    app = opened("Scene map")
    first = app.get("plotly_chart")[0].proto
    app.button(key="refresh-now").click().run()
    assert not app.exception
    again = app.get("plotly_chart")[0].proto
    assert (again.id, again.spec) == (first.id, first.spec)


def test_an_agent_is_a_deep_link_and_leads_to_its_prediction(server: StubServer) -> None:
    app = opened("Scene map", scene="second_half", agent="player-09")
    assert app.selectbox(key="map-agent").value == "player-09"
    shown = text(app)
    assert "1.3 m/s" in shown or "4.0 m/s" in shown or "8.0 m/s" in shown
    [link] = [link for link in app.get("page_link") if "Live predict" in link.proto.label]
    assert "agent=player-09" in link.proto.query_string
    assert "source=Agent" in link.proto.query_string


def test_links_that_lead_nowhere_say_so(server: StubServer) -> None:
    shown = text(opened("Scene map", scene="gone", agent="nobody"))
    assert "Nothing was heard of scene gone in the last 24 hours" in shown
    assert "Agent nobody is not in this scene at this moment" in shown


def test_a_silent_scene_says_since_when_and_what_to_do(server: StubServer, api: StubApi) -> None:
    api.scenes.is_silent = True
    shown = text(opened("Scene map"))
    assert "Nothing was heard of this scene for 5 s; the last of it came at" in shown
    assert "Choose “Recorded” above" in shown


def test_a_recorded_piece_is_played_from_its_link(server: StubServer, api: StubApi) -> None:
    app = recorded(scene="second_half", at=f"{AT:%Y-%m-%dT%H:%M:%SZ}")
    _, _, query = next(read for read in reversed(api.reads) if read[1].endswith("/window"))
    assert datetime.fromisoformat(query["since"]) == AT - timedelta(seconds=10)
    assert '"frames"' in app.get("plotly_chart")[0].proto.spec
    app.selectbox(key="length").set_value("2 min").run()
    _, _, query = next(read for read in reversed(api.reads) if read[1].endswith("/window"))
    assert datetime.fromisoformat(query["until"]) - datetime.fromisoformat(query["since"]) == timedelta(minutes=2)


def test_what_was_cut_is_said(server: StubServer, api: StubApi) -> None:
    whole = api.scenes.window

    def cut(*args: Any, **options: Any) -> Any:
        return whole(*args, **options).model_copy(update={"cut": ["3 of 203 agents, those with the fewest rows"]})

    api.scenes.window = cut  # type: ignore[method-assign]
    assert "Left out: 3 of 203 agents" in text(opened("Scene map"))


def test_an_api_of_before_scenes_is_a_stale_page_with_its_reason(server: StubServer, api: StubApi) -> None:
    def none(**_: Any) -> Any:
        raise Refused(404, "not_found", "no route /v1/scenes")

    api.scenes.scenes = none  # type: ignore[method-assign]
    app = opened("Scene map")
    assert any("no route /v1/scenes" in error.value.lower() for error in app.error)
    assert any(button.label == "Retry" for button in app.button)


def test_a_scene_on_the_earth_has_coast_and_degrees_beneath(server: StubServer, api: StubApi) -> None:
    api.scenes.origin = GeographicOrigin(longitude_deg=9.95, latitude_deg=53.54, east_m=66_300.0, north_m=111_290.0)
    app = opened("Scene map")
    assert "Coast: Natural Earth" in text(app)
    spec = app.get("plotly_chart")[0].proto.spec
    assert "\\u00b0 N" in spec or "° N" in spec


IMAGE = SceneImage(bounds=SceneBounds(x_min_m=0.0, y_min_m=0.0, x_max_m=40.0, y_max_m=30.0), width_px=800, height_px=600, version="abc")


@pytest.mark.parametrize("view", ["Live", "Recorded"])
def test_a_scene_with_an_image_has_it_beneath_until_it_is_hidden(server: StubServer, api: StubApi, view: str) -> None:
    api.scenes.image = (IMAGE, b"")
    app = opened("Scene map") if view == "Live" else recorded()
    assert "second_half?version=abc" in app.get("plotly_chart")[0].proto.spec
    app.toggle(key="image").set_value(False).run()
    assert "version=abc" not in app.get("plotly_chart")[0].proto.spec


def test_a_scene_without_an_image_has_no_switch_for_it(server: StubServer) -> None:
    assert [toggle.key for toggle in opened("Scene map").toggle] == ["trails", "predictions"]


@pytest.mark.parametrize("view", ["Live", "Recorded"])
def test_layers_are_hidden_by_their_switches(server: StubServer, view: str) -> None:
    app = opened("Scene map") if view == "Live" else recorded()
    names = {trace["name"]: trace for trace in json.loads(app.get("plotly_chart")[0].proto.spec)["data"] if "name" in trace}
    assert names["Trail"]["showlegend"]
    app.toggle(key="trails").set_value(False)
    app.toggle(key="predictions").set_value(False).run()
    names = {trace["name"]: trace for trace in json.loads(app.get("plotly_chart")[0].proto.spec)["data"] if "name" in trace}
    assert not any(names[name]["showlegend"] for name in ("Trail", "Likeliest prediction", "Other modes"))


def test_a_mistake_of_the_configuration_is_told(server: StubServer, api: StubApi) -> None:
    whole = api.scenes.read

    def broken(path: str, query: dict[str, str]) -> Any:
        if path.endswith("/background"):
            raise Refused(503, "environment", "configs/scenes.yaml:4: there is no image plaza.jpg; put it there, or correct the name")
        return whole(path, query)

    api.scenes.read = broken  # type: ignore[method-assign]
    shown = text(opened("Scene map"))
    assert "What lies beneath cannot be shown: configs/scenes.yaml:4: there is no image plaza.jpg" in shown
    assert "4 agents" in shown
