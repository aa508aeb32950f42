"""The chain of one version, as cards from left to right."""

from datetime import UTC, datetime

import streamlit as st

from console import frame, session
from console.ab.reads import read_experiments
from console.drawing import short
from console.lineage.words import chain
from console.viewmodels import live_spans
from trajops.contracts.models import ModelsOut, ModelVersionOut

VERSION = "version"
CHOSEN = "validation-version"
_TAKEN = "version-taken"


def asked_version(models: ModelsOut) -> int | None:
    """The version that the URL names; None without one, or where there is no such version."""
    asked = st.query_params.get(VERSION, "")
    number = int(asked) if asked.isdecimal() and len(asked) < 10 else 0
    return next((one.model_version for one in models.versions if one.model_version == number), None)


def take_link(models: ModelsOut) -> bool:
    """Choose the version that a link names, once, and say so where there is none; whether the page was opened by such a link."""
    asked = st.query_params.get(VERSION)
    if asked is None:
        return False
    found = asked_version(models)
    if found is None:
        st.warning(
            frame.plain(f"There is no version {asked[:20]}: it was deleted, or never registered. Choose one below."),
            icon=":material/search_off:",
        )
        return False
    if st.session_state.get(_TAKEN) != asked:
        st.session_state[_TAKEN] = asked
        st.session_state[CHOSEN] = found
        if st.query_params.get("card"):
            st.session_state["model-card"] = True
        st.session_state["version-linked"] = asked
    return st.session_state.get("version-linked") is not None


def remember() -> None:
    """Put the version that was chosen into the URL."""
    chosen = str(st.session_state[CHOSEN])
    st.session_state[_TAKEN] = chosen
    st.query_params[VERSION] = chosen


def lineage(version: ModelVersionOut, models: ModelsOut) -> None:
    """Data → run → version → deployments → A/B tests."""
    routes = session.fetch("routes", lambda c: c.routes())
    experiments = read_experiments()
    spans = [] if routes.value is None else live_spans(routes.value.history or [routes.value.current], datetime.now(UTC))
    known = experiments.value.experiments if experiments.value is not None else []
    with st.grid(5, min_column_width=190, border=True, gap="small") as grid:
        for n, step in enumerate(chain(version, models.versions, spans, known)):
            with grid.cell(), st.container(gap="xsmall", key=f"lineage-{n}"):
                arrow = ":material/arrow_forward: " if n else ""
                st.markdown(f"**{arrow}{step.title}**")
                for line in step.lines:
                    st.caption(frame.plain(line))
                for link in step.links:
                    st.page_link(
                        link.view, label=frame.plain(short(link.label, 40)), query_params=link.query, icon=":material/link:", help=""
                    )
