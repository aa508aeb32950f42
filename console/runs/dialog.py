"""The confirmation of a registration: what follows from it, a reason, then the call."""

from functools import partial
from typing import NamedTuple

import streamlit as st

from console import confirmation, frame, session
from console.changes import reason_problem
from trajops.client import ApiProblem, ApiUnavailable


class Pending(NamedTuple):
    """One opening of the dialog, and the run that it is about.

    Attributes:
        dialog_id: one opening; empty before.
        run_id: of the run.
        label: what the run is called.
    """

    dialog_id: str
    run_id: str
    label: str


def show_pending() -> None:
    """Show the confirmation when one is pending."""
    pending = confirmation.waiting(Pending)
    if pending is not None:
        confirmation.show(pending, "Register a run", partial(body, pending))


def body(pending: Pending) -> None:
    """What is registered and what follows, and the form that asks for it."""
    found = session.fetch(f"run:{pending.run_id}", lambda c: c.run(pending.run_id), max_age_s=5.0)
    st.markdown(
        f"The model of **{frame.plain(pending.label)}** becomes the next version. The workers load it, measure it on their own tracks and "
        "validate it, which takes some minutes; then it stands on the Models page. Traffic does not notice."
    )
    refusal = found.value.refusal if found.value is not None else found.problem
    if refusal is not None:
        st.warning(frame.plain(f"It cannot be registered: {refusal.removesuffix('.')}."), icon=":material/block:")
    with st.form(f"run-form-{pending.dialog_id}", border=False):
        reason = confirmation.reason_area(f"run-reason-{pending.dialog_id}")
        is_sent = st.form_submit_button("Register", key="run-submit", type="primary", disabled=refusal is not None)
    if is_sent and confirmation.is_complete(reason_problem(reason)):
        send(pending, reason.strip())


def send(pending: Pending, reason: str) -> None:
    """Register, then draw the page anew from what the API holds."""
    key = confirmation.call_key(pending.dialog_id, reason)
    try:
        with st.spinner("Registering…"):
            done = session.client().register_run(pending.run_id, reason, idempotency_key=key)
    except (ApiProblem, ApiUnavailable) as error:
        confirmation.refused(error)
        session.expire()
    else:
        session.flash(f"Registered {pending.label} as v{done.model_version}; the workers measure it now · audit {done.audit_id}")
        confirmation.settle(pending)
