"""Admin: who may come in and what they may do; for admins."""

import streamlit as st

from console import confirmation, frame, session
from console.admin import secret
from console.admin.dialogs import show_pending
from console.admin.sections import keys, users
from console.admin.words import admin_refusal

SECTIONS = ("Users", "API keys")


def live_part() -> None:
    """Everything that changes by itself."""
    if confirmation.is_waiting():
        st.rerun()  # The confirmation belongs to the page, where refreshes of this part do not reach it.
    me = session.user().value
    tabs = dict(zip(SECTIONS, st.tabs(list(SECTIONS), key="section", bind="query-params"), strict=True))
    if tabs["Users"].open:
        with tabs["Users"]:
            users("" if me is None else me.username)
    if tabs["API keys"].open:
        with tabs["API keys"]:
            keys()


def closed(refusal: str) -> None:
    """Why the page is closed."""
    frame.empty(
        f"{refusal} Users and API keys decide who may come in, so only admins see them.",
        "Ask an admin for what you need; your own password is changed below the navigation.",
        icon="lock",
    )


def render() -> None:
    """Draw the page."""
    st.title("Admin")
    me = session.user()
    if me.value is None:
        frame.freshness(me, key="admin")
        return
    refusal = admin_refusal(me.value.role)
    if refusal is not None:
        closed(refusal)
        return
    confirmation.show_notice()
    secret.show()
    show_pending()
    frame.live(live_part)


if __name__ == "__main__":
    render()
