"""The own password of whoever is signed in: the button below the navigation, and the dialog."""

from functools import partial
from typing import NamedTuple

import streamlit as st

from console import confirmation, frame, session
from console.admin.words import own_password_problem
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.session import Me


class PendingPassword(NamedTuple):
    """A change of the own password that waits for what is to be typed.

    Attributes:
        dialog_id: one opening of the dialog.
    """

    dialog_id: str = ""


def offer(me: session.Fetched[Me]) -> None:
    """The button; not for who has no password here."""
    if me.value is None or me.value.username.startswith(("key:", "jwt:")):
        return
    with st.sidebar:
        st.button(
            "Change password",
            icon=":material/password:",
            type="tertiary",
            key="own-password",
            on_click=confirmation.open_dialog,
            args=(PendingPassword(),),
        )


def show_pending() -> None:
    """Show the dialog when it is open."""
    pending = confirmation.waiting(PendingPassword)
    if pending is not None:
        confirmation.show(pending, "Change your password", partial(body, pending))


def body(pending: PendingPassword) -> None:
    """The password so far, and the new one twice."""
    with st.form(f"own-password-form-{pending.dialog_id}", border=False):
        fields = {}
        for name, label, known_as in (
            ("old", "Password so far", "current-password"),
            ("new", "New password", "new-password"),
            ("again", "New password again", "new-password"),
        ):
            fields[name] = st.text_input(
                label, type="password", key=f"own-{name}-{pending.dialog_id}", max_chars=256, autocomplete=known_as
            )
        is_sent = st.form_submit_button("Change password", key="own-password-submit", type="primary")
    if not is_sent or not confirmation.is_complete(own_password_problem(fields["old"], fields["new"], fields["again"])):
        return
    try:
        with st.spinner("Sending…"):
            changed = session.client().change_own_password(fields["old"], fields["new"])
    except (ApiProblem, ApiUnavailable) as error:
        frame.refused(error, "When it is back, try to sign in with the new password first: it may have been changed.")
    else:
        session.flash(f"Your password is changed · audit {changed.audit_id}")
        confirmation.settle(pending)
