"""A secret that is shown once: beside its copy button, until the page is left, reloaded, or it is put away."""

from typing import NamedTuple

import streamlit as st

from console import frame

KEPT = "secret_shown_once"


class Secret(NamedTuple):
    """What is shown.

    Attributes:
        title: what it is.
        text: the secret itself.
        note: what to do with it.
    """

    title: str
    text: str
    note: str


def keep(title: str, text: str, note: str) -> None:
    """Show a secret on the page from now on."""
    st.session_state[KEPT] = Secret(title, text, note)


def forget() -> None:
    """Show it no more."""
    st.session_state.pop(KEPT, None)


def show() -> None:
    """The secret, where there is one."""
    kept: Secret | None = st.session_state.get(KEPT)
    if kept is None:
        return
    with st.container(border=True, gap="xsmall", key="secret-once"):
        st.markdown(f":orange[:material/key:] **{frame.plain(kept.title)}**")
        st.code(kept.text, language=None)
        st.caption(frame.plain(f"{kept.note} It is shown this once: nobody can read it again, also not here after you leave this page."))
        st.button("I have copied it", icon=":material/check:", key="secret-done", on_click=forget)
