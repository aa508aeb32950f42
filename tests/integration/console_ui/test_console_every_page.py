"""Every page against all that may come to it: who opens it, an empty product, an API that is away, its links, odd addresses.

A page that is added to the console fails here until it says what it shows and what may be pressed on it.
"""

import ast
import re
from typing import NamedTuple

import pytest
from console_app import APP, PAGES, WHO, opened, text
from console_stub import StubApi, StubServer
from console_stub.tasks import RUNS
from streamlit.testing.v1 import AppTest

from tests.run_builders import run_id

pytestmark = pytest.mark.slow


class View(NamedTuple):
    """What a link opens.

    Attributes:
        query: of the address.
        said: by what it is known.
    """

    query: dict[str, str]
    said: str


class Expected(NamedTuple):
    """What one page is.

    Attributes:
        next_action: that it names while the product is empty.
        changes: keys of the buttons that an operator may press, and a viewer may not.
        parameters: of its address, beside time range and refresh.
        views: that links open.
        kept: what stays on the page when the API goes away, where it is neither a figure nor a table.
    """

    next_action: str
    changes: set[str]
    parameters: set[str]
    views: list[View]
    kept: str = ""


EXPECTED = {
    "Overview": Expected("Start the workers", {"acknowledge-drift-1", "acknowledge-late-1"}, set(), []),
    "Experiments": Expected(
        "Train with `python -m workers.training`",
        {f"register-{run_id(number)}" for number in (4, 5, 6)},
        {"runs", "baseline", "differences", "run_family", "run_data", "run_status", "run_text", "runs_page", "track", "first", "second"},
        [
            View({"runs": f"{run_id(1)},{run_id(3)}", "baseline": run_id(3)}, "2 of at most 10 chosen to compare"),
            View({"run_family": "kalman"}, "Kalman"),
        ],
    ),
    "Models": Expected(
        "Train one with",
        {
            *("rollback", "validate", "rollout-pause", "rollout-stop", "rollout-roll_back", "stage-5", "delete-5", "promote-4", "delete-4"),
            *("pause-3", "stop-3", "stage-1"),
        },
        {"version", "card"},
        [View({"version": "4"}, "v4"), View({"version": "2", "card": "1"}, "Model card: trajectory v2")],
    ),
    "A/B tests": Expected(
        "Press “Plan an experiment” above.",
        {"ab-switch", "ab-cover", "ab-pause", "ab-stop", "ab-override"},
        {"experiment", "plan"},
        [View({"experiment": "exp-worse"}, "B worse, rolled back."), View({"plan": "new"}, "A, the control, is the champion")],
    ),
    "Live predict": Expected(
        "Choose “Own points” above",
        set(),
        {"source", "scene", "agent", "at", "prediction", "version", "compare", "image"},
        [
            View({"source": "Agent", "scene": "second_half", "agent": "player-08"}, "epoch 3"),
            View({"source": "Recorded", "scene": "second_half"}, "shows the 7.6 s"),
            View({"source": "Prediction", "prediction": "01JD8Z5K000000000000000009"}, "epoch 3"),
            View({"source": "Own points"}, "Draw"),
        ],
    ),
    "Scene map": Expected(
        "Post positions to",
        set(),
        {"view", "scene", "agent", "at", "trails", "predictions", "image"},
        [View({"view": "Recorded", "scene": "second_half"}, "Updated "), View({"agent": "player-07"}, "Predicted by")],
    ),
    "Performance": Expected(
        "Press “Recalibrate now” above",
        {"recalibrate", "revert-calibration-2", "apply-calibration-3", "revert-calibration-3"},
        set(),
        [],
    ),
    "Drift": Expected(
        "Run one now with the button above",
        {"run-drift", "FormSubmitter:drift-reference-Choose this reference", "FormSubmitter:drift-mute-Mute the column"},
        {"scene"},
        [View({"scene": "north hall"}, "The hall has changed.")],
    ),
    "Alerts": Expected(
        "What is watched stands under Rules.",
        {f"{name}-{alert}" for name in ("acknowledge", "assign", "resolve", "silence") for alert in ("drift-1", "late-1", "mem-1")}
        | {"acknowledge-late-2", "assign-late-2", "resolve-late-2", "assign-slow-1", "resolve-slow-1", "silence-slow-1"},
        {"alert", "section", "state", "severity", "rule", "text"},
        [
            View({"alert": "drift-1"}, "4 of 6 columns drifted"),
            View({"section": "Answers"}, "41 of 60 agents"),
            View({"section": "Silences"}, 'severity=~"info|warning"'),
            View({"section": "Notifications"}, "Given up after many tries"),
            View({"section": "Receivers"}, "ops@example.org"),
            View({"section": "Rules"}, "Read from"),
            View({"severity": "Info"}, "Memory of node-2"),
        ],
    ),
    "Services": Expected(
        "the job Probe the API asks every 5 s",
        {"run-job", "pause-submit-compact_lake-False"},
        {"job"},
        [View({"job": "check_drift"}, "0 % of the last 12")],
    ),
    "Jobs": Expected(
        "Start one above",
        {"start-job", f"cancel-{RUNS}"},
        {"task", "kind", "job_state"},
        [View({"task": RUNS}, "positions of 22 agents in 1 scene"), View({"kind": "Training"}, "Training, training days")],
        kept="Forecast 22 of 22 agents.",
    ),
    "Audit": Expected(
        "Stage or promote a version on the Models page.",
        set(),
        {"entry", "who", "what", "about", "words", "when", "from", "to", "after"},
        [View({"entry": "aud-0001"}, "The entry itself"), View({"what": "deployment.canary"}, "Started the canary of v3")],
        kept="Promoted v2",
    ),
    "Admin": Expected(
        "Press “Add a user” above.",
        set(),
        {"section", "ended"},
        [View({"section": "API keys"}, "2 API keys are valid"), View({"section": "API keys", "ended": "true"}, "old robot")],
        kept="**vera**",
    ),
}
every_page = pytest.mark.parametrize("title", EXPECTED)
every_view = pytest.mark.parametrize(
    ("title", "view"), [pytest.param(title, view, id=f"{title}-{view.said}") for title, page in EXPECTED.items() for view in page.views]
)
# What may be in an address: a way out of a path, far too much, and what is not there and is markup.
LINK = "[click](https://evil.example)"
ODD = ["..", "9" * 5000, f"<script>alert(1)</script>{LINK}"]
ODD_OF = {
    "at": ["9999-12-31T23:59:59-14:00", "2026-02-30"],
    "from": ["0001-01-01"],
    "to": ["9999-12-31"],
    "runs": [",,,", ",".join(map(run_id, range(20)))],
    "version": ["²"],
    "compare": ["²"],
    "prediction": [""],
}
# Pressing them changes nothing at the API.
HARMLESS = re.compile(
    r"(refresh-now|own-password|.*-reach|overview-.*|details-.*|look-at-proposals|all-.*|jump.*|ab-plan|plan-close|ab-show-.*|ab-csv|follow-job"
    r"|audit-.*|runs-.*|own-.*|answered-.*|matcher-.*|points-.*)"
)


def who(title: str) -> str:
    return WHO.get(title, "ada")


def pressable(app: AppTest) -> set[str]:
    return {str(button.key) for button in app.button if not button.disabled}


def test_no_page_is_left_out() -> None:
    calls = [node for node in ast.walk(ast.parse(APP.read_text())) if isinstance(node, ast.Call) and ast.unparse(node.func) == "st.Page"]
    titles = [ast.literal_eval(found.value) for call in calls for found in call.keywords if found.arg == "title"]
    assert len(titles) == len(calls)
    assert set(titles) == set(PAGES) == set(EXPECTED)


def test_no_parameter_of_an_address_is_left_out() -> None:
    """Those that pages read, and those that widgets are bound to; `next` is of the sign-in form."""
    known = {"range", "refresh", "next", *(name for page in EXPECTED.values() for name in page.parameters)}
    found = set()
    for file in APP.parent.rglob("*.py"):
        source = file.read_text()
        found |= set(re.findall(r'query_params(?:\.get\(|\.pop\(|\[)"(\w+)"', source))
        found |= set(re.findall(r'key="([\w-]+)"[^()]*bind="query-params"', source))
    assert found - known == set()


@every_page
def test_nobody_signed_in_sees_only_the_gate(server: StubServer, api: StubApi, title: str) -> None:
    app = opened(title, user=None)
    assert [t.value for t in app.title] == ["Sign in"]
    assert 'href="/session/sign-in?next=' in app.html[0].value
    assert not api.calls, "the API must not be asked for anything"


@every_page
def test_refused_token_leads_back_to_the_gate(server: StubServer, title: str) -> None:
    app = opened(title, user="mallory")
    assert [t.value for t in app.title] == ["Sign in"]
    assert "Your session has ended" in text(app)


@every_page
def test_each_role_sees_the_page_and_a_viewer_may_press_nothing_that_changes(server: StubServer, title: str) -> None:
    seen = {role: opened(title, user) for user, role in (("vera", "viewer"), ("ada", "operator"), ("root", "admin"))}
    for role, app in seen.items():
        assert [t.value for t in app.title] == [title]
        shown = text(app)
        assert "DEMO" in shown
        assert role in shown
        assert not app.error
        assert "{'" not in shown, "raw data on the page"
        if title not in WHO or role == "admin":
            assert "Updated " in shown
            assert " UTC" in shown
    allowed = pressable(seen["viewer"])
    assert not [key for key in allowed if not HARMLESS.fullmatch(key)]
    assert pressable(seen["operator"]) - allowed == EXPECTED[title].changes
    for button in seen["viewer"].button:
        if button.key in EXPECTED[title].changes:
            assert "viewer" in button.help, button.key


@every_page
def test_empty_product_names_one_next_action(monkeypatch: pytest.MonkeyPatch, title: str) -> None:
    with StubServer(StubApi(is_empty=True)) as running:
        monkeypatch.setenv("TRAJOPS_API_URL", running.url)
        app = opened(title, who(title))
        assert EXPECTED[title].next_action in text(app) + "".join(link.value for link in app.page_link)


@every_page
def test_backend_down_before_the_first_value(monkeypatch: pytest.MonkeyPatch, title: str) -> None:
    with StubServer(StubApi()) as gone:
        monkeypatch.setenv("TRAJOPS_API_URL", gone.url)
    app = opened(title)
    assert [t.value for t in app.title] == [title]
    assert any("does not answer" in e.value for e in app.error)
    assert any(b.label == "Retry" for b in app.button)


@every_page
def test_backend_down_later_keeps_last_values_marked_stale_until_it_is_back(
    api: StubApi, monkeypatch: pytest.MonkeyPatch, title: str
) -> None:
    with StubServer(api) as running:
        port = running.server.server_address[1]
        monkeypatch.setenv("TRAJOPS_API_URL", running.url)
        app = opened(title, who(title))
        assert not app.warning
    app.button(key="refresh-now").click().run()
    assert not app.exception
    assert any(w.value.startswith("Stale: values of ") for w in app.warning)
    kept = EXPECTED[title].kept
    assert kept in text(app), "the last known values stay on the page"
    assert kept or len(app.metric) + len(app.dataframe) + len(app.get("plotly_chart")) > 0
    with StubServer(api, port):
        next(b for b in app.button if b.label == "Retry").click().run()
        assert not app.exception
        assert not app.warning


@every_view
def test_a_link_opens_its_view_and_lets_a_viewer_press_nothing_that_changes(server: StubServer, title: str, view: View) -> None:
    app = opened(title, who(title), **view.query)
    assert [t.value for t in app.title] == [title]
    assert view.said in text(app)
    assert not app.warning
    assert not [key for key in pressable(opened(title, "vera", **view.query)) if not HARMLESS.fullmatch(key)]


@every_view
def test_a_link_opened_while_the_backend_is_down_says_so_and_offers_retry(
    api: StubApi, monkeypatch: pytest.MonkeyPatch, title: str, view: View
) -> None:
    with StubServer(api) as gone:
        port = gone.server.server_address[1]
        monkeypatch.setenv("TRAJOPS_API_URL", gone.url)
    app = opened(title, who(title), **view.query)
    assert [t.value for t in app.title] == [title]
    assert "does not answer" in text(app)
    with StubServer(api, port):
        next(b for b in app.button if b.label == "Retry").click().run()
        assert not app.exception
        assert view.said in text(app)


@pytest.mark.parametrize("name", sorted({(title, name) for title, page in EXPECTED.items() for name in page.parameters}), ids="-".join)
def test_odd_addresses_are_no_error_and_no_markup(server: StubServer, name: tuple[str, str]) -> None:
    title, parameter = name
    for value in (*ODD, *ODD_OF.get(parameter, [])):
        app = opened(title, who(title), **{**companions(parameter, title), parameter: value})
        assert [t.value for t in app.title] == [title], value
        for element in (*app.markdown, *app.caption, *app.warning, *app.error, *app.info):
            assert LINK not in element.value
        assert not any("<script" in element.value for element in app.html)
        assert not any(LINK in button.label for button in app.button)


def companions(parameter: str, title: str) -> dict[str, str]:
    """What else must be in the address for a parameter to mean anything."""
    if title == "Live predict" and parameter != "source":
        return {
            "source": {"prediction": "Prediction", "at": "Recorded"}.get(parameter, "Agent"),
            "scene": "second_half",
            "agent": "player-08",
        }
    if parameter in {"from", "to"}:
        return {"when": "Between days"}
    if title == "Scene map" and parameter == "at":
        return {"view": "Recorded"}
    if parameter in {"track", "first", "second"}:
        return {"runs": f"{run_id(1)},{run_id(3)}"}
    return {"version": "2"} if parameter == "card" else {}
