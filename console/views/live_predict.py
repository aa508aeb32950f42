"""Live predict: an agent's forecasts as truth arrives, a recorded moment played again, two versions on one history, or own points."""

import streamlit as st

from console import frame, session
from console.predicting.own import own_points
from console.predicting.recorded import recorded
from console.predicting.shown import Choice, choose_versions, details, picture
from console.viewmodels import agent_label, live_agents, prediction_label
from trajops.contracts.predictions import PredictionOut

SOURCES = ("Agent", "Recorded", "Prediction", "Own points")
WHICH = ("Latest scored", "Newest")
# What each source keeps in the URL.
CARRIED = {"Agent": {"scene", "agent"}, "Recorded": {"scene", "agent", "at"}, "Prediction": {"prediction"}}


def watching() -> None:
    """A prediction from the traffic; refreshes by itself."""
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
        choice = chosen(recent.value.predictions)
        if choice is None:
            return
        drawn = choose_versions(choice.prediction, versions)
        details(choice.prediction)
    with right:
        picture(choice, drawn)


def chosen(predictions: list[PredictionOut]) -> Choice | None:
    """What the source in force shows."""
    source = st.session_state.get("source")
    if source == SOURCES[1]:
        return recorded()
    if source == SOURCES[2]:
        one = one_prediction(predictions)
        return None if one is None else Choice(one, is_held=True)
    return followed(predictions)


def followed(predictions: list[PredictionOut]) -> Choice | None:
    """The chosen agent's newest prediction, or the newest that truth has scored; or one that is held, to be played."""
    agents = live_agents(predictions)
    held, asked = st.session_state.get("agent"), asked_agent()
    if held is None and asked is not None:
        held = st.session_state["agent"] = asked
    if held is not None and held not in agents:
        agents.append(held)  # The choice stays when the agent pauses.
    if not agents:
        frame.empty("No live agent at the moment.", "Start the replay with `make demo`.", icon="directions_walk")
        return None
    label = st.selectbox("Agent", agents, key="agent", help="Agents in the newest 100 predictions, most recent first.")
    scene_id, _, agent_id = label.partition(" / ")
    st.query_params.update({"scene": scene_id, "agent": agent_id})
    which = st.radio("Show", WHICH, horizontal=True, key="which")
    is_held = st.toggle("Hold and play", key="hold", help="Keeps this prediction, so that it can be played and scrubbed.")
    own = session.fetch(f"predictions:{label}", lambda c: c.predictions(limit=40, scene_id=scene_id, agent_id=agent_id))
    mine = own.value.predictions if own.value is not None else [p for p in predictions if agent_label(p) == label]
    if not mine:
        st.caption("This agent has no prediction in memory. Choose another one.")
        return None
    found = mine[0]
    if which == WHICH[0]:
        complete = next((p for p in mine if p.outcome is not None and p.outcome.is_complete), None)
        scored = complete or next((p for p in mine if p.outcome is not None), None)
        if scored is None:
            st.caption("No truth for this agent yet; this is the newest prediction.")
        found = scored or found
    if not is_held:
        st.session_state.pop("held", None)
        return Choice(found, is_held=False)
    key = (label, which)
    kept = st.session_state.get("held")
    if kept is None or kept[0] != key:
        kept = st.session_state["held"] = (key, found.prediction.prediction_id)
    read = session.fetch(f"prediction:{kept[1]}", lambda c: c.prediction(kept[1]))
    return Choice(read.value or found, is_held=True)


def asked_agent() -> str | None:
    """The agent that the URL names."""
    scene_id, agent_id = st.query_params.get("scene"), st.query_params.get("agent")
    return f"{scene_id} / {agent_id}" if scene_id and agent_id else None


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
            st.caption(f"Prediction {frame.plain(held)} cannot be read: {frame.plain(read.problem or '')}")
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


def render() -> None:
    """Draw the page."""
    st.title("Live predict")
    source = st.radio("Source", SOURCES, horizontal=True, key="source", bind="query-params", label_visibility="collapsed")
    for name in {"scene", "agent", "at", "prediction"} - CARRIED.get(source, set()):
        st.query_params.pop(name, None)
    if source == SOURCES[3]:
        own_points()
    else:
        frame.live(watching)


if __name__ == "__main__":
    render()
