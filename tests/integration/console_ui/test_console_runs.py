"""The page of training runs in Streamlit's own test harness: links, roles, filters, comparison, registration, nothing there."""

from functools import partial
from typing import Any

import pytest
from console_app import opened as opened_page
from console_app import text
from console_stub import StubApi, StubServer
from streamlit.testing.v1 import AppTest

from console.confirmation import PENDING
from console.runs.dialog import Pending
from tests.run_builders import a_run, run_id

opened = partial(opened_page, "Experiments")
REASON = "the best on the front for months"
pytestmark = pytest.mark.slow


def buttons(app: AppTest) -> dict[str, Any]:
    return {one.key: one for one in app.button if one.key}


def table(app: AppTest, column: str) -> Any:
    return next(one.value for one in app.table if column in one.value.columns)


def link(*numbers: int) -> str:
    return ",".join(map(run_id, numbers))


def listed(app: AppTest) -> list[str]:
    return [one.key.removeprefix("pick-") for one in app.checkbox if one.key.startswith("pick-")]


def test_all_runs_are_listed_newest_first_with_the_best_on_top(server: StubServer) -> None:
    app = opened()
    assert listed(app) == [run_id(number) for number in (7, 6, 5, 4, 3, 2, 1)]
    shown = text(app)
    assert "7 runs, 3 of them registered. Best ADE on plaza: Kalman filter 060606, 0.380 m." in shown
    assert "No run is chosen." in shown
    assert "0 of at most 10 chosen to compare" in shown
    assert "Failed" in shown
    assert buttons(app)[f"register-{run_id(7)}"].disabled
    assert not buttons(app)[f"register-{run_id(5)}"].disabled
    assert f"register-{run_id(3)}" not in buttons(app)


def test_a_link_opens_a_comparison_with_its_baseline(server: StubServer) -> None:
    app = opened(runs=link(2, 3), baseline=run_id(3))
    assert [one.key for one in app.checkbox if one.value] == [f"pick-{run_id(3)}", f"pick-{run_id(2)}"]
    figures = table(app, "Figure")
    assert [name.replace("\\", "") for name in figures.columns] == ["Figure", "v2 Kalman filter", "v3 Gaussian MLP (baseline)"]
    ade = figures.iloc[0]
    assert ade.iloc[2] == "0.440"
    assert ade.iloc[1].startswith("0.460 :red[")
    assert "worse" in ade.iloc[1]
    assert app.selectbox(key="runs-baseline").value == run_id(3)
    assert {"Error against latency", "Runs", "Comparison", "Figures side by side", "Error by step of the horizon", "Calibration"} <= {
        header.value for header in app.header
    }


def test_ticking_changes_the_link_and_another_baseline_can_be_pinned(server: StubServer) -> None:
    app = opened(runs=link(2))
    app.checkbox(key=f"pick-{run_id(3)}").check().run()
    assert app.query_params["runs"] in (link(2, 3), [link(2, 3)])
    app.selectbox(key="runs-baseline").set_value(run_id(3)).run()
    assert app.query_params["baseline"] in (run_id(3), [run_id(3)])
    app.checkbox(key=f"pick-{run_id(3)}").uncheck().run()
    assert app.query_params["runs"] in (link(2), [link(2)])
    assert "baseline" not in app.query_params
    app.button(key="runs-none").click().run()
    assert "runs" not in app.query_params
    assert not app.exception


def test_the_page_of_the_list_is_in_the_link(server: StubServer, api: StubApi) -> None:
    for number in range(8, 14):
        api.runs.kept.add(a_run(number))
    assert listed(opened(runs_page="2")) == [run_id(number) for number in (5, 4, 3, 2, 1)]
    for odd in ("9", "-1", "<b>"):
        assert listed(opened(runs_page=odd)), odd


def test_only_differences_are_shown_until_all_is_asked_for(server: StubServer) -> None:
    app = opened(runs=link(2, 3))
    names = [name.split("  \n")[0].replace("\\", "") for name in table(app, "Parameter")["Parameter"]]
    assert names == ["Commit", "seed"]
    app.toggle(key="differences").set_value(False).run()
    names = [name.split("  \n")[0].replace("\\", "") for name in table(app, "Parameter")["Parameter"]]
    assert {"Data", "window.dt_s", "seed"} <= set(names)
    assert not app.exception


def test_runs_on_other_data_are_marked_and_not_judged(server: StubServer) -> None:
    app = opened(runs=link(2, 6))
    assert "validated on other data than the baseline v2 Kalman filter" in text(app)
    assert "other\u00a0data" in table(app, "Figure").iloc[0].iloc[2]
    assert "not comparable" in text(app)


def test_filters_stand_in_the_link_and_are_sent(server: StubServer, api: StubApi) -> None:
    app = opened(run_family="Kalman filter", run_status="Finished")
    assert listed(app) == [run_id(6), run_id(2)]
    sent = [query for _, path, query in api.reads if path == "/v1/runs" and "family" in query]
    assert sent[0]["family"] == "kalman"
    assert sent[0]["status"] == "finished"
    app.text_input(key="run_text").set_value("nothing like it").run()
    assert "No run matches these filters." in text(app)
    app.button(key="runs-clear").click().run()
    assert len(listed(app)) == 7
    assert not app.exception


@pytest.mark.parametrize("name", ["run_family", "run_status"])
def test_a_filter_that_nothing_has_is_no_error(server: StubServer, name: str) -> None:
    app = opened(**{name: "nonsense"})
    assert not app.exception
    assert "Clear" in [one.label for one in app.button]


def test_a_link_to_what_is_not_there_says_so_and_shows_the_rest(server: StubServer) -> None:
    app = opened(runs=f"{link(2)},{'f' * 32},<b>")
    assert "Run ffffffffffff cannot be shown" in text(app)
    assert table(app, "Figure").columns[1].replace("\\", "") == "v2 Kalman filter (baseline)"
    app.button(key=f"runs-leave-{'f' * 32}").click().run()
    assert app.query_params["runs"] in (link(2), [link(2)])


def test_ten_runs_are_compared_at_most(server: StubServer, api: StubApi) -> None:
    for number in range(8, 14):
        api.runs.kept.add(a_run(number))
    app = opened(runs=link(*range(1, 11)))
    assert "10 of at most 10 chosen" in text(app)
    assert app.checkbox(key=f"pick-{run_id(13)}").disabled
    assert not app.checkbox(key=f"pick-{run_id(10)}").disabled
    assert len(table(app, "Figure").columns) == 11


def test_forecasts_are_asked_of_registered_versions_and_it_is_said_why_not_of_others(server: StubServer, api: StubApi) -> None:
    app = opened(runs=link(2, 3, 4))
    assert "Only registered versions can be asked for a forecast, so not: gradient boosting 040404." in text(app)
    asked = [body["model_version"] for method, path, _, body in api.calls if path == "/predict"]
    assert asked == [2, 3]
    assert "v2 Kalman filter: ADE **" in text(app)
    assert "v3 Gaussian MLP: ADE **" in text(app)
    assert "None of the chosen runs is registered." in text(opened(runs=link(4)))


def test_a_track_and_its_two_versions_are_in_the_link(server: StubServer, api: StubApi) -> None:
    app = opened(runs=link(1, 2, 3))
    assert app.selectbox(key="sample-agent").value == "second_half / player-10", "the newest whose truth has come to its end"
    app.selectbox(key="sample-first").set_value(3).run()
    app.selectbox(key="sample-second").set_value(1).run()
    other = app.selectbox(key="sample-agent").options[-1]
    app.selectbox(key="sample-agent").set_value(other).run()
    shared = {name: value[0] if isinstance(value, list) else value for name, value in app.query_params.items()}
    assert (shared["first"], shared["second"]) == ("3", "1")
    api.calls.clear()
    again = opened(**{name: shared[name] for name in ("runs", "track", "first", "second")})
    assert not again.exception
    assert again.selectbox(key="sample-agent").value == other
    assert (again.selectbox(key="sample-first").value, again.selectbox(key="sample-second").value) == (3, 1)
    assert again.query_params["track"] in (shared["track"], [shared["track"]])


def test_a_link_to_no_track_or_version_shows_another_and_says_so(server: StubServer) -> None:
    app = opened(runs=link(2, 3), track="gone", first="9", second="<b>")
    assert not app.exception
    assert "The track of the link cannot be shown; this is another one." in text(app)
    assert (app.selectbox(key="sample-first").value, app.selectbox(key="sample-second").value) == (2, 3)
    assert app.query_params["track"] not in ("gone", ["gone"])


def test_errors_by_scene_and_speed_say_where_a_run_is_good(server: StubServer, api: StubApi) -> None:
    app = opened(runs=link(2, 3))
    assert {"Error by scene", "Error by speed"} <= {header.value for header in app.header}
    shown = text(app)
    assert "v2 Kalman filter: one scene, north.1 (0.560 m)." in shown
    assert "v3 Gaussian MLP: one scene, north.1 (0.540 m), better than the baseline." in shown
    assert "one speed band, walking (0.340 m)" in shown
    scenes = {f"scene.s{number:02d}.ade_m": 0.01 * number for number in range(1, 21)}
    api.runs.kept.add(a_run(9, metrics={"val_ade_m": 0.3, **scenes}))
    many = opened(runs=link(9))
    assert "12 of 20 scenes: those with the largest error of Kalman filter 090909." in text(many)
    many.toggle(key="all_scenes").set_value(True).run()
    assert "12 of 20 scenes" not in text(many)
    assert "12 of 20 scenes" not in text(opened(runs=link(9), all_scenes="true"))


def test_a_run_without_curves_says_so(server: StubServer, api: StubApi) -> None:
    api.runs.kept.add(a_run(9, metrics={"val_ade_m": 0.3}))
    assert "Without errors by step: Kalman filter 090909." in text(opened(runs=link(2, 9)))
    alone = text(opened(runs=link(9)))
    for what in ("errors by step", "a calibration curve", "errors by scene", "errors by speed band"):
        assert f"None of the chosen runs has logged {what}." in alone


def confirmed(app: AppTest, reason: str) -> AppTest:
    app.session_state[PENDING] = Pending("d1", run_id(5), "Gaussian MLP 050505")
    app.run()
    next(area for area in app.text_area if area.key.startswith("run-reason-")).set_value(reason)
    return app.button(key="run-submit").click().run()


def test_a_run_is_registered_with_a_reason_and_once(server: StubServer, api: StubApi) -> None:
    app = confirmed(opened(), "short")
    assert any("at least 10 characters" in error.value.replace("\\", "") for error in app.error)
    app = confirmed(opened(), REASON)
    assert not app.exception
    [(path, headers, body)] = [(path, headers, body) for method, path, headers, body in api.calls if method == "POST"]
    assert (path, body) == (f"/v1/runs/{run_id(5)}/register", {"reason": REASON})
    assert headers["idempotency-key"]
    assert any("Registered Gaussian MLP 050505 as v4" in one.value and "audit" in one.value for one in app.toast)
    assert f"register-{run_id(5)}" not in buttons(opened())


def test_a_run_that_cannot_be_registered_says_why_before_it_is_sent(server: StubServer, api: StubApi) -> None:
    api.runs.kept.add(a_run(5, "gaussian_mlp", model_ids=()))
    app = opened()
    app.session_state[PENDING] = Pending("d1", run_id(5), "Gaussian MLP 050505")
    app.run()
    assert "It cannot be registered: it logged no MLflow model" in text(app)
    assert app.button(key="run-submit").disabled


def test_viewers_compare_and_register_nothing(server: StubServer) -> None:
    app = opened("vera", runs=link(2, 3))
    assert len(table(app, "Figure").columns) == 3
    register = buttons(app)[f"register-{run_id(5)}"]
    assert register.disabled
    assert "viewer" in register.help


def test_nothing_trained_names_the_next_action(monkeypatch: pytest.MonkeyPatch) -> None:
    with StubServer(StubApi(is_empty=True)) as server:
        monkeypatch.setenv("TRAJOPS_API_URL", server.url)
        app = opened()
    assert "Nothing has been trained yet." in text(app)
    assert "python -m workers.training" in text(app)


def test_an_mlflow_that_is_away_leaves_the_last_values_and_offers_retry(server: StubServer, api: StubApi) -> None:
    app = opened(runs=link(2, 3))
    api.runs.registry.is_away = True
    app.button(key="refresh-now").click().run()
    assert "Stale" in text(app)
    assert "registry_unavailable" in text(app)
    assert "runs-retry" in buttons(app)
    assert len(table(app, "Figure").columns) == 3
    assert "registry_unavailable" in text(opened())


def test_an_api_of_the_version_before_is_no_crash(server: StubServer, api: StubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    from console_stub.refusal import Refused

    def unknown(path: str, query: dict[str, str]) -> Any:
        raise Refused(404, "not_found", f"no route {path}")

    monkeypatch.setattr(api.runs, "read", unknown)
    app = opened(runs=link(2))
    assert not app.exception
    assert "Nothing to show." in text(app)
