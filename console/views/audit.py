"""Audit: who changed what, when and why; one entry with what was different before and after."""

from datetime import UTC, datetime

import streamlit as st

from console import frame
from console.audit.sections import CLEARED, as_file, clear, filters, go, listed, one_entry, read_page
from console.audit.words import AuditFilter, last_words


def live_part(chosen: AuditFilter) -> None:
    """Everything that changes by itself."""
    if st.session_state.pop(CLEARED, False):
        st.rerun()
    cursor = st.query_params.get("after")
    with frame.first_load(420):
        read = read_page(chosen, cursor)
    frame.freshness(read, key="audit")
    if read.value is None:
        if cursor is not None:
            newest_button()
        return
    page = read.value
    if not page.entries:
        nothing(chosen, cursor)
        return
    if chosen.is_empty and cursor is None:
        with st.container(border=True, key="audit-last"):
            st.markdown(f":gray[Last change:] **{frame.plain(last_words(page.entries[0], datetime.now(UTC)))}**")
    listed(page, chosen, cursor)


def nothing(chosen: AuditFilter, cursor: str | None) -> None:
    """Why the list is empty, and what to do about it."""
    if cursor is not None:
        frame.empty("There is nothing older.", "Go back to the newest entries below.", icon="hourglass_empty")
        newest_button()
    elif chosen.is_empty:
        frame.empty("Nothing has been changed yet.", "Stage or promote a version on the Models page.", page="views/models.py")
    else:
        frame.empty("No entry passes these filters.", "Take the filters away below.", icon="filter_alt_off")
        st.button("Clear filters", icon=":material/filter_alt_off:", key="audit-clear", on_click=clear)


def newest_button() -> None:
    """The way to the newest entries."""
    st.button("Newest", icon=":material/first_page:", key="audit-newest", on_click=go, args=(None,))


def render() -> None:
    """Draw the page."""
    st.session_state.pop(CLEARED, None)
    st.title("Audit")
    asked = st.query_params.get("entry")
    if asked:
        one_entry(asked)
        return
    chosen = filters(read_page(AuditFilter(), None).value)
    if st.session_state.get("audit_filter", chosen) != chosen:
        go(None)  # A place in one list is none in another.
    st.session_state["audit_filter"] = chosen
    as_file(chosen)
    frame.live(lambda: live_part(chosen))


if __name__ == "__main__":
    render()
