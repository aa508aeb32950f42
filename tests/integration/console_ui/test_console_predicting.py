"""Live predict: a recorded moment by its link, a live agent that is held, and links that lead nowhere."""

from datetime import UTC, datetime, timedelta

import pytest
from console_app import opened, text
from console_stub import StubApi, StubServer
from streamlit.testing.v1 import AppTest

from console.predicting.board import WIDTHS
from console.predicting.recorded import longest_known, nearest_predictions
from trajops.contracts.scenes import SceneBounds, SceneImage, SceneWindow

IMAGE = SceneImage(bounds=SceneBounds(x_min_m=0.0, y_min_m=0.0, x_max_m=40.0, y_max_m=30.0), width_px=800, height_px=600, version="abc")
AT = (datetime.now(UTC) - timedelta(minutes=5)).replace(microsecond=0)
MOMENT = f"{AT:%Y-%m-%dT%H:%M:%SZ}"


def recorded(user: str = "ada", versions: tuple[str, str] | None = None, **query: str) -> AppTest:
    app = opened("Live predict", user, **({} if versions is None else {"version": versions[0], "compare": versions[1]}))
    app.session_state["source"] = "Recorded"
    for name in ("scene", "agent"):  # what the source before has left there
        app.query_params.pop(name, None)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


@pytest.mark.parametrize("user", ["ada", "vera"])
def test_a_recorded_moment_is_a_deep_link_for_every_role(server: StubServer, api: StubApi, user: str) -> None:
    app = recorded(user, scene="second_half", at=MOMENT, agent="player-08")
    assert app.selectbox(key="scene").value == "second_half"
    assert app.selectbox(key="recorded-agent").value == "player-08"
    assert app.session_state["moment"] == AT
    assert MOMENT in str(app.query_params["at"])
    _, _, query = next(read for read in reversed(api.reads) if read[1].endswith("/window"))
    assert datetime.fromisoformat(query["since"]) < AT < datetime.fromisoformat(query["until"])
    assert query["agent_id"] == "player-08"
    assert app.get("plotly_chart")
    assert api.predictions.remembered(5).prediction.prediction_id in [c.value for c in app.code]


def test_without_a_link_the_end_of_the_newest_scene_is_shown(server: StubServer) -> None:
    app = recorded()
    assert app.selectbox(key="scene").value == "second_half"
    assert datetime.now(UTC) - app.session_state["moment"] < timedelta(seconds=40)
    assert "help:" not in text(app), "nothing that was asked for is missing"


def test_a_link_that_leads_nowhere_says_so_and_shows_what_there_is(server: StubServer) -> None:
    app = recorded(scene="gone", at="2001-01-01T00:00:00Z", agent="nobody")
    shown = text(app)
    assert "Nothing was heard of scene gone in the last 24 hours" in shown
    assert "is outside of this recording" in shown
    assert app.get("plotly_chart")


def test_a_moment_that_cannot_be_read_is_the_newest(server: StubServer) -> None:
    app = recorded(scene="second_half", at="yesterday")
    assert datetime.now(UTC) - app.session_state["moment"] < timedelta(seconds=40)


def test_the_moment_is_moved_by_ten_seconds(server: StubServer) -> None:
    app = recorded(scene="second_half", at=MOMENT)
    app.button(key="jump-10").click().run()
    assert app.session_state["moment"] == AT - timedelta(seconds=10)
    app.button(key="jump-newest").click().run()
    assert not app.exception
    assert datetime.now(UTC) - app.session_state["moment"] < timedelta(seconds=40)


def test_the_scene_with_a_slash_in_its_name_is_shown(server: StubServer) -> None:
    app = recorded(scene="quay 3/north")
    assert app.selectbox(key="scene").value == "quay 3/north"
    assert app.get("plotly_chart")


def test_a_held_agent_is_played_and_stays(server: StubServer) -> None:
    app = opened("Live predict", scene="second_half", agent="player-09")
    assert app.selectbox(key="agent").value == "second_half / player-09"
    app.toggle(key="hold").set_value(True).run()
    first = [c.value for c in app.code]
    app.button(key="refresh-now").click().run()
    assert not app.exception
    assert [c.value for c in app.code] == first
    assert '"frames"' in app.get("plotly_chart")[0].proto.spec


def test_another_version_is_in_the_link(server: StubServer, api: StubApi) -> None:
    app = opened("Live predict", compare="3")
    assert app.selectbox(key="compare-of-shown").value == 3
    assert [body["model_version"] for _, path, _, body in api.calls if path == "/predict"] == [3]
    other = opened("Live predict", compare="nonsense")
    assert other.selectbox(key="compare-of-shown").value == 0


def test_recorded_values_stay_when_the_api_goes_away(api: StubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    with StubServer(api) as running:
        monkeypatch.setenv("TRAJOPS_API_URL", running.url)
        app = recorded(scene="second_half", at=MOMENT)
    app.button(key="refresh-now").click().run()
    assert not app.exception
    assert any(w.value.startswith("Stale: values of ") for w in app.warning)
    assert any(b.label == "Retry" for b in app.button)
    assert app.get("plotly_chart")


def test_own_points_start_with_a_walk_and_a_board(server: StubServer) -> None:
    app = opened("Live predict")
    app.session_state["source"] = "Own points"
    app.run()
    assert list(WIDTHS) == app.selectbox(key="board-width").options
    app.selectbox(key="board-pace").set_value("At one speed").run()
    assert not app.exception
    assert app.number_input(key="board-speed").value == 1.4
    assert "Draw a track on the board, or press Predict." in text(app)


def test_the_prediction_next_to_a_moment_is_taken(api: StubApi) -> None:
    window = api.scenes.window("second_half", AT, AT + timedelta(seconds=12), is_live=False)
    p = window.predictions[0]
    others = [
        p.model_copy(update={"prediction_id": name, "observed_at_s": p.observed_at_s + s}) for name, s in (("late", 3.0), ("early", -1.0))
    ]
    several = SceneWindow.model_validate(window.model_copy(update={"predictions": [*others, p]}).model_dump())
    at = datetime.fromtimestamp(p.observed_at_s - 0.9, UTC)
    assert nearest_predictions(several, at)[p.agent_id].prediction_id == "early"
    nearest = nearest_predictions(window, at)
    going_on = window.tracks[2].model_copy(update={"times_s": [p.observed_at_s + 5.0]})
    assert longest_known(window.model_copy(update={"tracks": [*window.tracks[:2], going_on]}), nearest) == going_on.agent_id


def asked(api: StubApi) -> list[int]:
    return [body["model_version"] for _, path, _, body in api.calls if path == "/predict"]


def test_two_versions_of_ones_own_are_compared_on_a_recorded_moment(server: StubServer, api: StubApi) -> None:
    app = recorded(scene="second_half", at=MOMENT, versions=("1", "3"))
    assert (app.selectbox(key="version-of-shown").value, app.selectbox(key="compare-of-shown").value) == (1, 3)
    assert set(asked(api)) == {1, 3}
    shown = {metric.label: metric for metric in app.metric}
    assert (shown["Version"].value, shown["Version"].delta) == ("v1", "asked now")
    assert "v3 ADE" in text(app)
    assert "against v1 ADE" in text(app)
    app.selectbox(key="version-of-shown").set_value(0).run()
    assert not app.exception
    assert {metric.label: metric.value for metric in app.metric}["Version"] == "v2"
    assert "version" not in app.query_params
    assert app.query_params["compare"] == "3"
    assert "against v2 ADE" in text(app)


def test_a_version_that_there_is_not_is_as_it_was_answered(server: StubServer, api: StubApi) -> None:
    app = recorded(scene="second_half", at=MOMENT, versions=("99", "2"))
    assert (app.selectbox(key="version-of-shown").value, app.selectbox(key="compare-of-shown").value) == (0, 0)
    assert asked(api) == []


def test_versions_for_own_points_are_in_the_link(server: StubServer, api: StubApi) -> None:
    app = opened("Live predict", version="3", compare="1")
    app.session_state["source"] = "Own points"
    app.run()
    assert app.multiselect(key="own-versions").value == [3, 1]
    app.multiselect(key="own-versions").set_value([1])
    app.button(key="own-predict").click().run()
    assert not app.exception
    assert asked(api)[-1:] == [1]
    assert app.query_params["version"] == "1"
    assert "compare" not in app.query_params


@pytest.mark.parametrize("source", ["Recorded", "Agent"])
def test_the_image_of_the_scene_lies_beneath_until_it_is_hidden(server: StubServer, api: StubApi, source: str) -> None:
    api.scenes.image = (IMAGE, b"")
    app = recorded(scene="second_half", at=MOMENT) if source == "Recorded" else opened("Live predict")
    assert "second_half?version=abc" in app.get("plotly_chart")[0].proto.spec
    app.toggle(key="image").set_value(False).run()
    assert "version=abc" not in app.get("plotly_chart")[0].proto.spec
