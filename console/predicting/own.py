"""Live predict's own points: drawn on a board or typed into a table, predicted by the chosen versions."""

import math
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from console import frame, playing, session
from console.plane import Drawn
from console.predicting.board import WIDTHS, board
from console.predicting.player import player
from console.predicting.shown import ELLIPSES, request
from console.predicting.strokes import DT_S, as_drawn, evenly
from console.predicting.versions import asked_versions, carry_versions
from console.settings import ConsoleSettings
from console.viewmodels import curl
from console.wording import milliseconds
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.predictions import T_OBS, PredictIn, PredictOut

PACES = ("As drawn", "At one speed")
POINTS, SAID, ANSWERS, VERSIONS = "own-track", "own-said", "own-answers", "own-versions"
WALKS_MPS = 1.4
Track = list[tuple[float, float]]


def walk() -> Track:
    """Eight points of a body that walks in a gentle bend, metres, 0.4 s apart."""
    angles = [0.12 * i for i in range(T_OBS)]
    return [(round(4.5 * math.sin(a), 2), round(4.5 * (1 - math.cos(a)), 2)) for a in angles]


def own_points() -> None:
    """A history of the operator's own, and what the chosen versions make of it."""
    models = session.fetch("models", lambda c: c.models(), max_age_s=10.0)
    frame.freshness(models, key="points")
    versions = [v.model_version for v in models.value.versions] if models.value is not None else []
    left, right = st.columns([4, 8], gap="medium")
    with left:
        drawing()
        typing(versions)
    with right:
        answered()


def drawing() -> None:
    """The board. What is drawn becomes the table's points and is predicted at once."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        width = st.selectbox("Board", list(WIDTHS), key="board-width", width=110, help="How wide the board is")
        pace = st.selectbox(
            "Speed",
            PACES,
            key="board-pace",
            width=150,
            help="As drawn: your hand's speed over the last 2.8 s. At one speed: evenly along the line, whoever drew it.",
        )
        speed = WALKS_MPS
        if pace == PACES[1]:
            speed = st.number_input("Metres a second", 0.1, 100.0, WALKS_MPS, 0.1, format="%.1f", key="board-speed", width=140)
    stroke = board(st.session_state.get(POINTS) or walk(), width)
    if stroke is not None:
        sampled = as_drawn(stroke) if pace == PACES[0] else evenly(stroke, speed)
        st.session_state[POINTS], st.session_state[SAID] = sampled
        st.session_state["own-table"] = st.session_state.get("own-table", 0) + 1  # a fresh table, with these points in it
        if ask(sampled.points, st.session_state.get(VERSIONS, [])):
            st.rerun()
    st.caption(st.session_state.get(SAID) or "Draw with mouse, pen or finger, or type into the table; the newest position comes last.")


def typing(versions: Sequence[int]) -> None:
    """The same points as a table, and the versions that are asked."""
    points = st.session_state.get(POINTS) or walk()
    if versions and VERSIONS not in st.session_state:
        st.session_state[VERSIONS] = asked_versions(versions)
    times = [f"\u2212{(T_OBS - 1 - i) * DT_S:.1f} s" for i in range(T_OBS - 1)] + ["now"]
    with st.form("points-form", border=False):
        table = st.data_editor(
            pd.DataFrame({"t": times, "x (m)": [p[0] for p in points], "y (m)": [p[1] for p in points]}),
            key=f"own-points-{st.session_state.get('own-table', 0)}",
            hide_index=True,
            disabled=["t"],
            num_rows="fixed",
            column_config={
                "t": st.column_config.TextColumn("Time", width="small"),
                "x (m)": st.column_config.NumberColumn(format="%.2f", required=True, min_value=-1e6, max_value=1e6),
                "y (m)": st.column_config.NumberColumn(format="%.2f", required=True, min_value=-1e6, max_value=1e6),
            },
        )
        chosen = st.multiselect(
            "Versions", versions, max_selections=2, format_func=lambda v: f"v{v}", placeholder="the routed version", key=VERSIONS
        )
        if versions:
            carry_versions(chosen)
        if st.form_submit_button("Predict", type="primary", icon=":material/play_arrow:", key="own-predict"):
            typed = [(float(x), float(y)) for x, y in table[["x (m)", "y (m)"]].astype(float).to_numpy()]
            if not all(math.isfinite(v) for point in typed for v in point):
                st.error("Fill in all 16 numbers; every position needs x and y.", icon=":material/error:")
            else:
                ask(typed, chosen)


def answered() -> None:
    """The newest answers, on one plane that can be played."""
    answers: list[tuple[PredictIn, PredictOut]] = st.session_state.get(ANSWERS, [])
    if not answers:
        frame.empty("Nothing predicted yet.", "Draw a track on the board, or press Predict.", icon="route")
        return
    history = answers[0][0].history or []
    drawn = [Drawn(f"v{answer.model_version}", answer) for _, answer in answers]
    alt = "Own history and predicted modes with 90 % ellipses on a plane in metres"
    film = player(history, drawn, [], frame.palette())
    about = ", ".join(answer.prediction_id for _, answer in answers)
    frame.chart(film.figure, key="own-plane-chart", alt=alt, about=about)
    playing.controls(film, "own-plane-chart", about=about)
    st.caption(ELLIPSES)
    for _, answer in answers:
        st.caption(
            f"v{answer.model_version} · {answer.variant} · {len(answer.modes)} mode{'s' if len(answer.modes) > 1 else ''} · "
            f"model time {milliseconds(answer.model_ms)} · prediction id"
        )
        st.code(answer.prediction_id, language=None)
    with st.expander("As curl", icon=":material/terminal:"):
        st.code(curl(answers[0][0], ConsoleSettings.from_environment().api_url), language="bash", wrap_lines=True)


def ask(points: Track, versions: Sequence[int]) -> bool:
    """Predict from these points, once for each version; whether it was answered. Says so when it was not."""
    try:
        answers = []
        for version in versions or [None]:
            body = request(points, version)
            answers.append((body, session.client().predict(body)))
    except (ApiProblem, ApiUnavailable) as error:
        frame.refused(error)
        return False
    st.session_state[ANSWERS] = answers
    return True
