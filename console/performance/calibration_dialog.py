"""The confirmation of a change of the intervals: what it does to coverage, a reason, the version typed; then the call.

Opened from session state, as the dialog of releases, and sent once under one idempotency key.
"""

from functools import partial
from typing import Literal, NamedTuple

import streamlit as st

from console import confirmation, frame, session
from console.changes import confirmation_problem, reason_problem
from console.performance.words import calibration_sentence, factor_words
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.calibrations import CalibrationOut

ActionName = Literal["apply", "revert"]
LABELS: dict[ActionName, str] = {"apply": "Apply", "revert": "Revert"}
EFFECTS: dict[ActionName, str] = {
    "apply": "Every API process serves this version with these intervals within a second. Predicted positions do not change.",
    "revert": "The version is served as it was trained again, within a second, and new calibrations are only proposed until somebody "
    "applies one. Predicted positions do not change.",
}


class Pending(NamedTuple):
    """A change that waits for confirmation: one opening of the dialog, what to do, and the calibration as the operator saw it."""

    dialog_id: str
    action: ActionName
    calibration: CalibrationOut


def show_pending() -> None:
    """Show the confirmation when one is pending."""
    pending = confirmation.waiting(Pending)
    if pending is not None:
        title = f"{LABELS[pending.action]} calibration {pending.calibration.number} of version {pending.calibration.model_version}"
        confirmation.show(pending, title, partial(body, pending))


def body(pending: Pending) -> None:
    """What the change does, and the form that confirms it."""
    one = pending.calibration
    st.markdown(EFFECTS[pending.action])
    st.markdown(frame.plain(f"{calibration_sentence(one)} Its ellipses: {factor_words(one.factors)}."))
    with st.form(f"calibration-form-{pending.dialog_id}", border=False):
        reason = confirmation.reason_area(f"calibration-reason-{pending.dialog_id}")
        typed = st.text_input(f"Type {one.model_version} to confirm", key=f"calibration-version-{pending.dialog_id}", autocomplete="off")
        is_sent = st.form_submit_button(LABELS[pending.action], key="calibration-submit", type="primary")
    if is_sent and confirmation.is_complete(reason_problem(reason), confirmation_problem(typed, one.model_version)):
        send(pending, reason.strip())


def send(pending: Pending, reason: str) -> None:
    """Make the change, then draw the page anew from what the API holds."""
    one = pending.calibration
    key = confirmation.call_key(pending.dialog_id, pending.action, reason)
    client = session.client()
    try:
        if pending.action == "apply":
            done = client.apply_calibration(one.number, one.state, reason, idempotency_key=key)
        else:
            done = client.revert_calibration(one.number, one.state, reason, idempotency_key=key)
    except (ApiProblem, ApiUnavailable) as error:
        confirmation.refused(error)
        session.expire()
    else:
        said = "in force" if pending.action == "apply" else "reverted"
        session.flash(f"Calibration {one.number} of v{one.model_version} is {said} · audit {done.audit_id}")
        confirmation.settle(pending)
