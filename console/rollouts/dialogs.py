"""Confirmations of changes of rollouts: what will happen, a reason, the version typed; then the call."""

from functools import partial
from typing import NamedTuple

import streamlit as st

from console import confirmation, frame, session
from console.changes import Action, confirmation_problem, reason_problem
from console.rollouts.reads import read_policies
from console.rollouts.words import DONE, ICONS, LABELS, TITLES, ActionName, effect, gate_lines, policy_words
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.rollouts import RolloutChangeOut, RolloutOut


class PendingRollout(NamedTuple):
    """A change that waits for confirmation.

    Attributes:
        dialog_id: one opening of the dialog.
        name: which change.
        model_version: that it is about.
        seen: the rollout when the button was drawn; None before it has begun.
        deployment_id, expected_version: of the deployment, for the start.
    """

    dialog_id: str
    name: ActionName
    model_version: int
    seen: RolloutOut | None = None
    deployment_id: str = ""
    expected_version: int = 1


def change_button(action: Action[ActionName], pending: PendingRollout, *, key: str, is_first: bool = False) -> None:
    """A button that opens the confirmation, or that says why it is disabled."""
    confirmation.button(action.label, pending, key=key, refusal=action.refusal, icon=f":material/{ICONS[action.name]}:", is_first=is_first)


def show_pending() -> None:
    """Show the confirmation when one is pending."""
    pending = confirmation.waiting(PendingRollout)
    if pending is not None:
        confirmation.show(pending, TITLES[pending.name].format(v=pending.model_version), partial(body, pending))


def body(pending: PendingRollout) -> None:
    """What the change does, how the gates stand, and the form that confirms it."""
    st.markdown(effect(pending.name, pending.seen))
    if pending.seen is not None and pending.name == "approve":
        lines = ["| Gate | State | |", "|:--|:--|:--|"]
        lines += [f"|{name}|{mark.word}|{frame.plain(detail)}|" for name, mark, detail in gate_lines(pending.seen.gates)]
        st.markdown("\n".join(lines))
    policies = read_policies().value if pending.name == "start" else None
    with st.form(f"rollout-form-{pending.dialog_id}", border=False):
        policy = None
        if policies is not None:
            by_name = {one.name: one for one in policies.policies}
            policy = st.selectbox(
                "Policy",
                list(by_name),
                index=list(by_name).index(policies.default),
                format_func=lambda name: f"{name}: {policy_words(by_name[name])}",
                key=f"rollout-policy-{pending.dialog_id}",
            )
        reason = confirmation.reason_area(f"rollout-reason-{pending.dialog_id}")
        typed = st.text_input(f"Type {pending.model_version} to confirm", key=f"rollout-typed-{pending.dialog_id}", autocomplete="off")
        is_sent = st.form_submit_button(LABELS[pending.name], key="rollout-submit", type="primary")
    if is_sent and confirmation.is_complete(reason_problem(reason), confirmation_problem(typed, pending.model_version)):
        send(pending, reason.strip(), policy)


def send(pending: PendingRollout, reason: str, policy: str | None) -> None:
    """Make the change, then draw the page anew from what the API holds."""
    key = confirmation.call_key(pending.dialog_id, pending.name, policy, reason)
    try:
        with st.spinner("Sending…"):
            changed = call(pending, reason, policy, key)
    except (ApiProblem, ApiUnavailable) as error:
        if isinstance(error, ApiProblem) and error.status == 409:
            told = f"Nothing was done: {error.detail.removesuffix('.')}. The page has been read again: look at how things stand now."
            confirmation.came_too_late(pending, told)
        confirmation.refused(error)
    else:
        session.flash(f"{DONE[pending.name].format(v=pending.model_version)} · epoch {changed.epoch} · audit {changed.audit_id}")
        confirmation.settle(pending)


def call(pending: PendingRollout, reason: str, policy: str | None, key: str) -> RolloutChangeOut:
    """The one API call that the change is."""
    client, seen = session.client(), pending.seen
    if seen is None:
        return client.start_rollout(pending.deployment_id, pending.expected_version, reason, policy=policy, idempotency_key=key)
    calls = {
        "approve": client.approve_rollout,
        "pause": client.pause_rollout,
        "resume": client.resume_rollout,
        "stop": client.stop_rollout,
        "roll_back": client.roll_back_rollout,
    }
    return calls[pending.name](seen.rollout_id, seen.version, reason, idempotency_key=key)
