"""The confirmation of a validation: a reason, then the call. Opened from session state and sent once under one idempotency key."""

from functools import partial
from typing import NamedTuple

import streamlit as st

from console import confirmation, session
from console.changes import reason_problem
from console.names import job_title
from trajops.client import ApiProblem, ApiUnavailable


class Pending(NamedTuple):
    """One opening of the dialog, and the version that it is about."""

    dialog_id: str
    model_version: int


def show_pending() -> None:
    """Show the confirmation when one is pending."""
    pending = confirmation.waiting(Pending)
    if pending is not None:
        confirmation.show(pending, f"Validate version {pending.model_version}", partial(body, pending))


def body(pending: Pending) -> None:
    """What is run, and the form that asks for it."""
    st.markdown(
        f"The job “{job_title('validate_versions')}” loads the version and runs the battery over it within a minute; traffic does not "
        "notice. Until then the present result counts."
    )
    with st.form(f"validation-form-{pending.dialog_id}", border=False):
        reason = confirmation.reason_area(f"validation-reason-{pending.dialog_id}")
        is_sent = st.form_submit_button("Validate", key="validation-submit", type="primary")
    if is_sent and confirmation.is_complete(reason_problem(reason)):
        send(pending, reason.strip())


def send(pending: Pending, reason: str) -> None:
    """Ask, then draw the page anew from what the API holds."""
    key = confirmation.call_key(pending.dialog_id, reason)
    try:
        session.client().validate(pending.model_version, reason, idempotency_key=key)
    except (ApiProblem, ApiUnavailable) as error:
        confirmation.refused(error)
        session.expire()
    else:
        session.flash(f"A validation of v{pending.model_version} is asked for; its result appears here by itself")
        confirmation.settle(pending)
