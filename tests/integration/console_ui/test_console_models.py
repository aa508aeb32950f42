"""The Models page in Streamlit's own test harness: figures that compare, what each state allows, changes, refusals."""

import pytest
from console_app import opened, text
from console_stub import StubApi, StubServer
from streamlit.testing.v1 import AppTest

from console.change_dialog import Pending
from console.confirmation import PENDING
from tests.builders import an_adoption

pytestmark = pytest.mark.slow


def models_with(pending: Pending, user: str = "ada") -> AppTest:
    app = opened("Models", user)
    app.session_state[PENDING] = pending
    return app.run()


def confirm(app: AppTest, version: str, reason: str) -> AppTest:
    next(area for area in app.text_area if area.key.startswith("confirm-reason-")).set_value(reason)
    next(field for field in app.text_input if field.key and field.key.startswith("confirm-version-")).set_value(version)
    return app.button(key="confirm-submit").click().run()


PROMOTE = Pending("d1", "promote", 3, "dep-3", 3)


def test_models_offers_what_each_state_allows(server: StubServer, api: StubApi) -> None:
    assert "Its rollout promotes it" in next(b.help for b in opened("Models").button if b.key == "promote-3")
    api.rollouts.known = None
    app = opened("Models")
    keys = {b.key: b for b in app.button if b.key}
    assert {"stage-5", "delete-5", "delete-4", "canary-4", "promote-4", "stop-3", "promote-3", "stage-1", "rollback"} <= set(keys)
    assert not {"promote-2", "delete-2", "delete-3"} & set(keys), "what answers, or is compared"
    assert "kept for a rollback" in keys["delete-1"].help
    assert not keys["promote-3"].disabled
    assert keys["canary-4"].disabled
    assert "stop that first" in keys["canary-4"].help
    for card, version in (("champion-card", "v2"), ("challenger-card", "v3"), ("previous-card", "v1")):
        assert app.container(key=card).header[0].value.startswith(version)
    assert "Latency" not in app.container(key="champion-card").markdown[2].value, "the API's time is not comparable with a model's alone"


def test_a_shadow_leaves_everybody_to_the_champion(server: StubServer, api: StubApi) -> None:
    def badges() -> list[str]:
        app = opened("Models")
        return [app.container(key=f"{name}-card").markdown[1].value.partition(": ")[2] for name in ("champion", "challenger")]

    assert badges() == ["answers everybody else]", "20 % of agents enrolled]"]
    running = api.experiments.known["exp-running"]
    api.experiments.known["exp-running"] = running.model_copy(update={"plan": running.plan.model_copy(update={"mode": "shadow"})})
    assert badges() == ["answers everybody]", "in shadow, answers nobody]"]


def test_figures_of_other_tracks_are_muted_and_named(server: StubServer) -> None:
    app = opened("Models")
    shown = {v: [m.value for m in app.container(key=f"version-{v}").markdown] for v in (2, 4, 5)}
    assert shown[5][2] == ":gray[0.395]"
    assert "on my\\_tracks.csv, not the champion's data, so not comparable" in shown[5][0]
    for version, figure in ((2, "0.530"), (4, "0.440")):
        assert shown[version][2] == figure
        assert "on match first half]" in shown[version][0], "an adopted version is named by its windows' fingerprint"


def test_a_promotion_is_not_argued_for_with_figures_of_other_tracks(server: StubServer) -> None:
    shown = text(models_with(Pending("d1", "promote", 5, "dep-5", 3)))
    assert "Validation: not comparable" in shown
    assert "v2 on match first half" in shown
    assert "better" not in shown.partition("Validation: not comparable")[2][:200]


def test_viewer_sees_every_change_disabled_with_the_reason(server: StubServer) -> None:
    app = opened("Models", user="vera")
    changing = [b for b in app.button if b.key and b.key.split("-")[0] in {"stage", "canary", "promote", "stop", "rollback"}]
    assert len(changing) == 7
    assert all(b.disabled for b in changing)
    assert all("viewer" in b.help for b in changing)
    assert "You are signed in as a viewer" in text(app)


def test_button_opens_the_confirmation_with_the_difference_in_words(server: StubServer, api: StubApi) -> None:
    api.rollouts.known = None
    app = opened("Models")
    app.button(key="promote-3").click().run()
    shown = text(app)
    assert "Validation: 5 better." in shown
    assert "0.045 better (8 %)" in shown
    assert "agents drawn by lot: 5 better." in shown
    begun = api.releases.current.changed_at.isoformat()
    assert begun in [query["since"] for _, path, query in api.reads if path == "/v1/performance"], "both arms over the canary's own time"
    assert app.button(key="confirm-submit").label == "Promote"
    assert not [c for c in api.calls if c[0] == "POST"], "opening changes nothing"


def test_promotion_sends_what_was_seen_and_names_the_audit_entry(server: StubServer, api: StubApi) -> None:
    app = confirm(models_with(PROMOTE), "3", "lower FDE on live traffic for 40 minutes")
    assert not app.exception
    method, path, headers, body = next(c for c in api.calls if c[0] == "POST")
    assert (method, path) == ("POST", "/v1/deployments/dep-3/promote")
    assert body == {"expected_version": 3, "reason": "lower FDE on live traffic for 40 minutes"}
    assert len(headers["idempotency-key"]) == 32
    assert api.releases.current.champion.model_version == 3
    assert any("audit aud-0004" in t.value for t in app.toast)
    assert app.container(key="champion-card").header[0].value == "v3 · Gaussian MLP"
    assert PENDING not in app.session_state


def test_a_version_that_nobody_needs_is_deleted(server: StubServer, api: StubApi) -> None:
    app = models_with(Pending("d1", "delete", 5))
    assert "It cannot be brought back." in text(app)
    confirm(app, "5", "it was a first try, and is worse")
    assert not app.exception
    method, path, headers, body = next(c for c in api.calls if c[0] == "POST")
    assert (method, path, body) == ("POST", "/v1/models/5/delete", {"reason": "it was a first try, and is worse"})
    assert len(headers["idempotency-key"]) == 32
    assert any("Version 5 is deleted · audit audit-deleted" in t.value for t in app.toast)
    assert "stage-5" not in {b.key for b in app.button}


@pytest.mark.parametrize(
    ("version", "reason", "expected"),
    [("4", "a good enough reason", "Type 3 to confirm"), ("3", "too short", "at least 10 characters"), ("", "", "at least 10 characters")],
    ids=["wrong-version", "short-reason", "nothing"],
)
def test_confirmation_refuses_before_the_api_is_asked(server: StubServer, api: StubApi, version: str, reason: str, expected: str) -> None:
    app = confirm(models_with(PROMOTE), version, reason)
    assert any(expected in e.value for e in app.error)
    assert not [c for c in api.calls if c[0] == "POST"]


def test_conflict_is_explained_and_the_page_is_refreshed(server: StubServer, api: StubApi) -> None:
    """Ben promotes v4 while Ada confirms v3: she is told who did what and why, that hers was not done, and what to do."""
    api.rollouts.known = None
    app = opened("Models")
    app.button(key="promote-3").click().run()
    app = models_with(app.session_state[PENDING])  # AppTest cannot press inside a dialog that a click opened
    api.releases.conflict_next = True
    confirm(app, "3", "lower FDE on live traffic")
    [told] = [w.value.replace("\\", "") for w in app.warning]
    assert told.startswith("Nothing was done, because something changed while you were deciding: v3 went from canary to staged; v4 is the")
    assert "v4 is the champion, no longer v2; there is no challenger any more, it was v3" in told
    assert "(ben, " in told
    assert "“boosted model wins everywhere”" in told
    assert told.endswith("compare the versions as they stand now, and press “Promote” once more if it is still right.")
    assert not [word for word in ("dep-3", "stale_version", "epoch", "409") if word in told]
    assert PENDING not in app.session_state
    assert app.container(key="champion-card").header[0].value.startswith("v4")


def test_rollback_that_comes_too_late_says_what_is_gone(server: StubServer, api: StubApi) -> None:
    app = opened("Models")
    app.button(key="rollback").click().run()
    app = models_with(app.session_state[PENDING])
    api.releases.history[0] = api.releases.current.model_copy(update={"previous": None})
    confirm(app, "1", "the canary misbehaves badly")
    [told] = [w.value.replace("\\", "") for w in app.warning]
    assert "there is no previous champion any more, it was v1" in told


def test_same_confirmation_sent_twice_carries_the_same_key(server: StubServer, api: StubApi) -> None:
    keys = []
    for dialog in ("d1", "d1", "d2"):
        api.releases.states[3], api.releases.versions[3] = "canary", 3
        confirm(models_with(PROMOTE._replace(dialog_id=dialog)), "3", "lower FDE on live traffic")
        keys.append([c for c in api.calls if c[0] == "POST"][-1][2]["idempotency-key"])
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("pending", "path", "fields"),
    [
        (Pending("d", "stage", 5), "/v1/deployments", {"model_version": 5}),
        (Pending("d", "canary", 4, "dep-4", 3), "/v1/deployments/dep-4/canary", {"expected_version": 3, "coverage": 0.2}),
        (Pending("d", "stop", 3, "dep-3", 3), "/v1/deployments/dep-3/canary/stop", {"expected_version": 3}),
        (Pending("d", "rollback", 1, expected_epoch=3), "/v1/routes/rollback", {"expected_epoch": 3}),
    ],
    ids=["stage", "canary", "stop", "rollback"],
)
def test_every_change_reaches_its_route(server: StubServer, api: StubApi, pending: Pending, path: str, fields: dict[str, object]) -> None:
    app = confirm(models_with(pending), f"v{pending.model_version}", "because the operator decided so")
    assert not app.exception
    assert not app.error
    _, called, _, body = next(c for c in api.calls if c[0] == "POST")
    assert called == path
    assert body == {**fields, "reason": "because the operator decided so"}


def test_viewer_who_forces_the_dialog_is_refused_by_the_api(server: StubServer, api: StubApi) -> None:
    app = confirm(models_with(PROMOTE, user="vera"), "3", "I would like to promote this")
    assert any("a viewer may not change what is served" in e.value for e in app.error)
    assert api.releases.current.champion.model_version == 2


def test_versions_that_wait_or_were_refused_are_listed_with_the_reason_and_what_to_do(server: StubServer, api: StubApi) -> None:
    app = opened("Models")
    assert "Not adopted yet" not in text(app)
    api.releases.adoptions = [
        an_adoption(7, "waiting", None, "next in line"),
        an_adoption(6, "refused", "unsafe_model", "trajectory/6 runs code"),
    ]
    app.button(key="refresh-now").click().run()
    assert "Not adopted yet" in text(app)
    waiting, refused = (app.container(key=f"adoption-{number}") for number in (7, 6))
    assert "Waiting" in waiting.markdown[0].value
    assert "--adopt 7" in waiting.caption[0].value
    assert "Refused" in refused.markdown[0].value
    assert refused.markdown[1].value == "trajectory/6 runs code"
    assert "TRAJOPS_ALLOW_PICKLED_MODELS=true" in refused.caption[0].value
