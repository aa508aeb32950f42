"""Live predict: one agent's forecasts as truth arrives, two versions on one history, or the operator's own points."""

import math
import uuid

import pandas as pd
import streamlit as st

from console import frame, session
from console.plane import Drawn, plane
from console.settings import ConsoleSettings
from console.viewmodels import SCRATCH_SCENE, agent_label, curl, live_agents, prediction_label
from console.wording import clock, metres, milliseconds, number, share
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.predictions import T_OBS, T_PRED, PredictIn, PredictionOut, PredictOut

SOURCES = ("Agent", "Prediction", "Own points")
WHICH = ("Latest scored", "Newest")
DT_S = 0.4


def watching() -> None:
    """A prediction from the live traffic; refreshes by itself."""
    with frame.first_load(520):
        recent = session.fetch("predictions", lambda c: c.predictions(limit=100))
        models = session.fetch("models", lambda c: c.models(), max_age_s=10.0)
    frame.freshness(recent, key="live")
    if recent.value is None:
        return
    if not recent.value.predictions:
        frame.empty("No prediction has been answered yet.", "Choose “Own points” above and make one.", icon="route")
        return
    versions = [v.model_version for v in models.value.versions] if models.value is not None else []
    left, right = st.columns([3, 8], gap="medium")
    with left:
        if st.session_state.get("source") == SOURCES[1]:
            shown = one_prediction(recent.value.predictions)
        else:
            shown = followed(recent.value.predictions)
        if shown is None:
            return
        other = st.selectbox(
            "Compare with",
            [None, *(v for v in versions if v != shown.prediction.model_version)],
            format_func=lambda v: "no other version" if v is None else f"v{v} on the same history",
            key="compare-version",
            help="Asks the other version to predict from the same 8 positions.",
        )
        compared = compare(shown, other) if other is not None else None
        details(shown)
    with right:
        numbers(shown, compared)
        drawn = [Drawn(f"v{shown.prediction.model_version}", shown.prediction)]
        if compared is not None:
            drawn.append(Drawn(f"v{compared.model_version}", compared))
        frame.chart(
            plane(shown.history, drawn, shown.truth, frame.palette()),
            key="plane-chart",
            alt="History, predicted modes with 90 % ellipses, and truth on a plane in metres",
        )
        st.caption("Ellipses hold 90 % of a mode's probability at 1.6, 3.2 and 4.8 s ahead. Line width shows the mode's probability.")


def followed(predictions: list[PredictionOut]) -> PredictionOut | None:
    """The chosen agent's newest prediction, or the newest that truth has scored."""
    agents = live_agents(predictions)
    held = st.session_state.get("agent")
    if held is not None and held not in agents:
        agents.append(held)  # The choice stays when the agent pauses.
    if not agents:
        frame.empty("No live agent at the moment.", "Start the replay with `make demo`.", icon="directions_walk")
        return None
    label = st.selectbox("Agent", agents, key="agent", help="Agents in the newest 100 predictions, most recent first.")
    which = st.radio("Show", WHICH, horizontal=True, key="which")
    scene_id, _, agent_id = label.partition(" / ")
    own = session.fetch(f"predictions:{label}", lambda c: c.predictions(limit=40, scene_id=scene_id, agent_id=agent_id))
    mine = own.value.predictions if own.value is not None else [p for p in predictions if agent_label(p) == label]
    if not mine:
        st.caption("This agent has no prediction in memory. Choose another one.")
        return None
    if which == WHICH[0]:
        scored = next((p for p in mine if p.outcome is not None and p.outcome.is_complete), None) or next(
            (p for p in mine if p.outcome is not None), None
        )
        if scored is None:
            st.caption("No truth for this agent yet; this is the newest prediction.")
        return scored or mine[0]
    return mine[0]


def one_prediction(predictions: list[PredictionOut]) -> PredictionOut | None:
    """One prediction by its id, which is in the URL; truth fills in as it arrives."""
    by_id = {p.prediction.prediction_id: p for p in predictions}
    asked = st.query_params.get("prediction")
    held = st.session_state.get("prediction-id") or asked
    if held is not None:
        read = session.fetch(f"prediction:{held}", lambda c: c.prediction(held))
        if read.value is not None:
            by_id[held] = read.value
        else:
            st.caption(f"Prediction {frame.plain(held)} cannot be read: {read.problem}")
    ids = list(by_id)
    if not ids:
        return None
    chosen = st.selectbox(
        "Prediction",
        ids,
        index=ids.index(asked) if asked in by_id else 0,
        format_func=lambda i: prediction_label(by_id[i]),
        key="prediction-id",
    )
    st.query_params["prediction"] = chosen
    return by_id[chosen]


def compare(shown: PredictionOut, version: int) -> PredictOut | None:
    """What another version predicts from the same history; asked once a history and version."""
    body = request(shown.history, version)
    answer = session.fetch(f"compare:{shown.prediction.prediction_id}:{version}", lambda c: c.predict(body), max_age_s=math.inf)
    if answer.problem is not None:
        st.caption(f":material/error: v{version} cannot be compared: {answer.problem}")
    return answer.value


def request(history: list[tuple[float, float]], version: int | None) -> PredictIn:
    """A request under an id of its own, so that tries never mix with an agent's real track."""
    return PredictIn(agent_id=f"console-{uuid.uuid4().hex[:12]}", scene_id=SCRATCH_SCENE, history=history, model_version=version)


def numbers(shown: PredictionOut, compared: PredictOut | None) -> None:
    """How well the prediction does so far, and who made it."""
    p, outcome = shown.prediction, shown.outcome
    tiles = [
        ("ADE so far", metres(outcome.ade_m if outcome else None)),
        ("FDE", metres(outcome.fde_m if outcome else None)),
        ("Steps scored", f"{outcome.steps_scored if outcome else 0} of {T_PRED}"),
        ("In 90 % ellipse", share(outcome.inside_share if outcome else None, 0)),
    ]
    with st.grid(5, min_column_width=100):
        for label, value in tiles:
            st.metric(label, value, border=True, height="stretch")
        st.metric("Version", f"v{p.model_version}", delta=p.variant, delta_color="blue", delta_arrow="off", border=True, height="stretch")
    if compared is not None:
        seen = [(t, q) for t, q in zip(shown.truth, compared.modes[0].positions, strict=False) if t is not None]
        if seen:
            other = sum(math.dist(t, q) for t, q in seen) / len(seen)
            mine = [(t, q) for t, q in zip(shown.truth, p.modes[0].positions, strict=False) if t is not None]
            own = sum(math.dist(t, q) for t, q in mine) / len(mine)
            word = "better" if other < own else "worse"
            colour = "green" if other < own else "red"
            st.markdown(
                f"On the {len(seen)} steps with truth, likeliest modes: v{compared.model_version} ADE {metres(other)} against "
                f"v{p.model_version} ADE {metres(own)}, :{colour}[{metres(abs(other - own))} {word}]."
            )
        else:
            st.caption(f"v{compared.model_version} is drawn beside; no truth yet to judge by.")


def details(shown: PredictionOut) -> None:
    """Where the prediction comes from, and how to make the same call."""
    p = shown.prediction
    st.caption(
        f"Answered {clock(shown.received_at)} UTC · {frame.plain(p.model_name)} v{p.model_version} · epoch {p.epoch} · "
        f"model time {milliseconds(p.model_ms)}"
    )
    st.caption("Prediction id")
    st.code(p.prediction_id, language=None, wrap_lines=True)
    if shown.outcome is not None:
        st.caption(f"NLL {number(shown.outcome.nll)} nats · truth came {shown.outcome.truth_delay_s:.1f} s after the last scored step")
    as_curl = st.expander("As curl", icon=":material/terminal:", on_change="rerun", key="as-curl")
    if as_curl.open:
        with as_curl:
            st.code(
                curl(request(shown.history, p.model_version), ConsoleSettings.from_environment().api_url), language="bash", wrap_lines=True
            )
            st.caption("Set TRAJOPS_TOKEN to a token from `POST /v1/token` first.")


def walk() -> pd.DataFrame:
    """Eight points of a body that walks in a gentle bend, metres, 0.4 s apart."""
    angle = [0.12 * i for i in range(T_OBS)]
    return pd.DataFrame(
        {"x (m)": [round(4.5 * math.sin(a), 2) for a in angle], "y (m)": [round(4.5 * (1 - math.cos(a)), 2) for a in angle]}
    )


def own_points() -> None:
    """A history of the operator's own, and what the chosen versions make of it."""
    models = session.fetch("models", lambda c: c.models(), max_age_s=10.0)
    frame.freshness(models, key="points")
    versions = [v.model_version for v in models.value.versions] if models.value is not None else []
    left, right = st.columns([3, 8], gap="medium")
    with left, st.form("points-form", border=False):
        st.caption(f"Eight positions, oldest first, {DT_S} s apart")
        times = [f"\u2212{(T_OBS - 1 - i) * DT_S:.1f} s" for i in range(T_OBS - 1)] + ["now"]
        table = st.data_editor(
            walk().assign(t=times)[["t", "x (m)", "y (m)"]],
            key="own-points",
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
            "Versions", versions, max_selections=2, format_func=lambda v: f"v{v}", placeholder="the routed version", key="own-versions"
        )
        if st.form_submit_button("Predict", type="primary", icon=":material/play_arrow:", key="own-predict"):
            ask(table, chosen)
    with right:
        answers: list[tuple[PredictIn, PredictOut]] = st.session_state.get("own-answers", [])
        if not answers:
            frame.empty("Nothing predicted yet.", "Edit the points if you like, then press Predict.", icon="route")
            return
        drawn = [Drawn(f"v{answer.model_version}", answer) for _, answer in answers]
        frame.chart(
            plane(answers[0][0].history or [], drawn, [], frame.palette()),
            key="own-plane-chart",
            alt="Own history and predicted modes with 90 % ellipses on a plane in metres",
        )
        for _, answer in answers:
            st.caption(
                f"v{answer.model_version} · {answer.variant} · {len(answer.modes)} mode{'s' if len(answer.modes) > 1 else ''} · "
                f"model time {milliseconds(answer.model_ms)}"
            )
            st.code(answer.prediction_id, language=None)
        with st.expander("As curl", icon=":material/terminal:"):
            st.code(curl(answers[0][0], ConsoleSettings.from_environment().api_url), language="bash", wrap_lines=True)


def ask(table: pd.DataFrame, versions: list[int]) -> None:
    """Predict from the points in the table; says so when they cannot be used."""
    points = [(float(x), float(y)) for x, y in table[["x (m)", "y (m)"]].astype(float).to_numpy()]
    if not all(math.isfinite(v) for point in points for v in point):
        st.error("Fill in all 16 numbers; every position needs x and y.", icon=":material/error:")
        return
    try:
        answers = []
        for version in versions or [None]:
            body = request(points, version)
            answers.append((body, session.client().predict(body)))
    except (ApiProblem, ApiUnavailable) as error:
        frame.refused(error)
    else:
        st.session_state["own-answers"] = answers


def render() -> None:
    """Draw the page."""
    st.title("Live predict")
    source = st.radio("Source", SOURCES, horizontal=True, key="source", bind="query-params", label_visibility="collapsed")
    if source == SOURCES[2]:
        own_points()
    else:
        frame.live(watching)


if __name__ == "__main__":
    render()
