"""The confirmation of a risky change: what gets better or worse, a reason, the version typed; then the call."""

from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import streamlit as st

from console import confirmation, frame, session
from console.changes import (
    LABELS,
    ActionName,
    Difference,
    confirmation_problem,
    differences,
    differences_sentence,
    live_figures,
    reason_problem,
    validation_figures,
)
from console.conflicts import Standing, conflict_sentence, last_release_change
from console.measured import dataset_words, is_comparable
from console.wording import clock, share
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.deployments import ChangeOut, RouteOut
from trajops.contracts.models import DeletionOut, ModelsOut, ModelVersionOut

TITLES: dict[ActionName, str] = {
    "stage": "Stage version {v}",
    "canary": "Start a canary with version {v}",
    "pause": "Pause the comparison of version {v}",
    "resume": "Resume the comparison of version {v}",
    "stop": "Stop the comparison of version {v}",
    "promote": "Promote version {v}",
    "rollback": "Roll back to version {v}",
    "delete": "Delete version {v}",
}
DONE: dict[ActionName, str] = {
    "stage": "Version {v} is staged",
    "canary": "Canary of version {v} started",
    "pause": "The comparison of version {v} is paused",
    "resume": "The comparison of version {v} goes on",
    "stop": "The comparison of version {v} is stopped",
    "promote": "Version {v} is the champion",
    "rollback": "Version {v} is the champion again",
    "delete": "Version {v} is deleted",
}
EFFECTS: dict[ActionName, str] = {
    "stage": "The version is loaded and kept ready. It takes no traffic yet.",
    "canary": "Half of the enrolled agents are answered by this version; the other half, the control, by the champion.",
    "pause": "The champion answers every agent for now. The version stays warm, and who is enrolled again comes back to the same arm.",
    "resume": "Enrolled agents are answered, or in a shadow predicted for, as before the pause, each by the same version.",
    "stop": "The champion answers every agent. The version goes back to staged.",
    "promote": "This version answers every agent from now on. The champion so far stays warm for an instant rollback.",
    "rollback": "The previous champion answers every agent from now on.",
    "delete": "The version is listed and staged no more, and the workers remove it from MLflow. What it did stays on record. "
    "It cannot be brought back.",
}


class Pending(NamedTuple):
    """A change that waits for confirmation.

    Attributes:
        dialog_id: one opening of the dialog.
        action: which change.
        model_version: the version that it is about.
        deployment_id, expected_version: of the deployment, as the operator saw it.
        expected_epoch: the routing epoch that the operator saw, for a rollback.
        seen: how things stood when the button was drawn, to tell what changed if the change comes too late.
    """

    dialog_id: str
    action: ActionName
    model_version: int
    deployment_id: str | None = None
    expected_version: int | None = None
    expected_epoch: int | None = None
    seen: Standing | None = None


def show_pending(models: ModelsOut, route: RouteOut) -> None:
    """Show the confirmation when one is pending."""
    pending = confirmation.waiting(Pending)
    if pending is not None:
        confirmation.show(pending, TITLES[pending.action].format(v=pending.model_version), partial(body, pending, models, route))


def body(pending: Pending, models: ModelsOut, route: RouteOut) -> None:
    """What the change does, how the versions compare, and the form that confirms it."""
    st.markdown(EFFECTS[pending.action])
    comparison(pending, models, route)
    with st.form(f"confirm-form-{pending.dialog_id}", border=False):
        coverage = 20
        if pending.action in {"canary", "resume"}:
            coverage = st.slider(
                "Agents enrolled (%)",
                2,
                100,
                20,
                step=2,
                key=f"confirm-coverage-{pending.dialog_id}",
                help="Half of them get the challenger, half stay with the champion.",
            )
        reason = confirmation.reason_area(f"confirm-reason-{pending.dialog_id}")
        typed = st.text_input(f"Type {pending.model_version} to confirm", key=f"confirm-version-{pending.dialog_id}", autocomplete="off")
        is_sent = st.form_submit_button(
            LABELS[pending.action],
            key="confirm-submit",
            type="primary",
        )
    if is_sent and confirmation.is_complete(reason_problem(reason), confirmation_problem(typed, pending.model_version)):
        send(pending, reason.strip(), coverage / 100)


def comparison(pending: Pending, models: ModelsOut, route: RouteOut) -> None:
    """The version beside the champion, in better/worse words: on the same live traffic where both get it, and in validation."""
    if pending.action in {"stage", "delete"}:
        return
    if route.champion is None:
        st.caption("There is no champion to compare with.")
        return
    champion, version = route.champion.model_version, pending.model_version
    if route.challenger is not None and route.challenger.model_version == version and route.changed_at is not None:
        since = route.changed_at
        read = session.fetch(f"canary:{route.epoch}", lambda c: c.performance(since, datetime.now(UTC)))
        rows = read.value.rows if read.value is not None else []
        live = differences(live_figures(rows, version, "treatment"), live_figures(rows, champion, "control"))
        difference_table(live, f"Live since {clock(since)} UTC, agents drawn by lot", champion, version)
        if pending.action == "stop":
            st.caption(f"The canary enrols {share(route.coverage, 0)} of agents at the moment.")
    by_version: dict[int, ModelVersionOut] = {v.model_version: v for v in models.versions}
    candidate, baseline = by_version.get(version), by_version.get(champion)
    if candidate is not None and baseline is not None and not is_comparable(candidate, baseline):
        of = {v.model_version: frame.plain(dataset_words(v, models.versions)) for v in (candidate, baseline)}
        st.markdown(f"**Validation: not comparable**, because v{version} was measured on {of[version]}, v{champion} on {of[champion]}.")
        return
    difference_table(differences(validation_figures(candidate), validation_figures(baseline)), "Validation", champion, version)


def difference_table(rows: list[Difference], source: str, champion: int, version: int) -> None:
    """How two versions compare by one source of figures."""
    st.markdown(f"**{differences_sentence(rows, source)}**")
    lines = [
        f"| Metric | v{champion} now | v{version} | Difference |",
        "|:--|--:|--:|:--|",
        *(f"| {row.metric} | {row.baseline} | {row.candidate} | :{frame.COLOURS[row.tone]}[{row.words}] |" for row in rows),
    ]
    if rows:
        st.markdown("\n".join(lines))


def send(pending: Pending, reason: str, coverage: float) -> None:
    """Make the change, then draw the page anew from what the API holds."""
    key = confirmation.call_key(pending.dialog_id, pending.action, coverage, reason)
    try:
        change = call(pending, reason, coverage, key)
    except (ApiProblem, ApiUnavailable) as error:
        if isinstance(error, ApiProblem) and error.status == 409:
            confirmation.came_too_late(pending, too_late(pending, error.detail))
        confirmation.refused(error)
    else:
        epoch = f" · epoch {change.route.epoch}" if isinstance(change, ChangeOut) else ""
        session.flash(f"{DONE[pending.action].format(v=pending.model_version)}{epoch} · audit {change.audit_id}")
        confirmation.settle(pending)


def too_late(pending: Pending, detail: str) -> str:
    """What to say after a 409: the present state, read again, beside the one that the button was drawn with."""
    session.expire()
    models, routes = session.fetch("models", lambda c: c.models()), session.fetch("routes", lambda c: c.routes())
    audit = session.fetch("audit", lambda c: c.audit(limit=20))
    if pending.seen is None or routes.value is None:
        return f"Nothing was done: {detail}"
    present = Standing.of(models.value, routes.value.current, pending.model_version)
    last = last_release_change(audit.value.entries) if audit.value is not None else None
    return conflict_sentence(
        LABELS[pending.action], pending.model_version, pending.seen, present, last, detail=detail, now=datetime.now(UTC)
    )


def call(pending: Pending, reason: str, coverage: float, key: str) -> ChangeOut | DeletionOut:
    """The one API call that the change is."""
    client = session.client()
    if pending.action == "stage":
        return client.stage(pending.model_version, reason, idempotency_key=key)
    if pending.action == "delete":
        return client.delete_version(pending.model_version, reason, idempotency_key=key)
    if pending.action == "rollback":
        return client.rollback(pending.expected_epoch or 1, reason, idempotency_key=key)
    deployment_id, expected = pending.deployment_id or "", pending.expected_version or 1
    if pending.action in {"canary", "resume"}:
        return client.start_canary(deployment_id, expected, coverage, reason, idempotency_key=key)
    if pending.action == "pause":
        return client.pause_canary(deployment_id, expected, reason, idempotency_key=key)
    if pending.action == "stop":
        return client.stop_canary(deployment_id, expected, reason, idempotency_key=key)
    return client.promote(deployment_id, expected, reason, idempotency_key=key)
