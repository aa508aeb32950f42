"""Live predict's recorded source: a scene, a moment, an agent; all of it in the URL."""

from datetime import datetime, timedelta

import streamlit as st

from console import frame, session
from console.predicting import moments
from console.predicting.shown import Choice
from trajops.contracts.scenes import ScenePrediction, SceneWindow

AROUND = timedelta(seconds=6)


def recorded() -> Choice | None:
    """The prediction of the chosen agent that lies next to the chosen moment; None where there is nothing to show."""
    scenes = moments.recent_scenes()
    if scenes.value is None:
        frame.freshness(scenes, key="scenes")
        return None
    known = moments.offered(scenes.value)
    if not known:
        frame.empty("No scene was heard of in the last 24 hours.", "Choose “Own points” above and draw a track.", icon="map")
        return None
    scene = moments.choose_scene(known)
    at = moments.choose_moment(scene)
    asked = st.session_state.get("recorded-agent") or st.query_params.get("agent")
    window = session.fetch(
        f"scene:{scene.scene_id}:{at.isoformat()}",
        lambda c: c.scene_window(scene.scene_id, at - AROUND, at + AROUND, agent_id=asked),
        max_age_s=60.0,
    )
    if window.value is None or window.is_stale:
        frame.freshness(window, key="scene-window")
    if window.value is None:
        return None
    nearest = nearest_predictions(window.value, at)
    if not nearest:
        frame.empty("Nothing was predicted in this scene at that moment.", "Move the moment, or press Newest.", icon="history")
        return None
    prediction = nearest[_choose_agent(list(nearest), asked, longest_known(window.value, nearest))]
    read = session.fetch(f"prediction:{prediction.prediction_id}", lambda c: c.prediction(prediction.prediction_id), max_age_s=2.0)
    if read.value is None or read.is_stale:
        frame.freshness(read, key="recorded")
    return None if read.value is None else Choice(read.value, is_held=True)


def nearest_predictions(window: SceneWindow, at: datetime) -> dict[str, ScenePrediction]:
    """Of each agent the prediction whose track ends next to a moment, by name.

    The window is laid around the moment by the server's clock, and predictions carry the agents' own: its middle is taken for the moment.
    """
    times_s = [p.observed_at_s for p in window.predictions]
    if not times_s:
        return {}
    clock_s = at.timestamp()
    middle_s = clock_s if min(times_s) <= clock_s <= max(times_s) else (min(times_s) + max(times_s)) / 2
    found: dict[str, ScenePrediction] = {}
    for p in sorted(window.predictions, key=lambda p: (p.agent_id, abs(p.observed_at_s - middle_s), -p.observed_at_s)):
        found.setdefault(p.agent_id, p)
    return found


def longest_known(window: SceneWindow, nearest: dict[str, ScenePrediction]) -> str:
    """The agent whose track goes on longest after its prediction, because truth has arrived for it."""
    last_s = {track.agent_id: track.times_s[-1] for track in window.tracks if track.times_s}
    return max(nearest, key=lambda agent: last_s.get(agent, 0.0) - nearest[agent].observed_at_s)


def _choose_agent(agents: list[str], asked: str | None, otherwise: str) -> str:
    if st.session_state.get("recorded-agent") not in agents:
        if asked is not None and asked not in agents:
            st.caption(f":material/help: Agent {frame.plain(asked)} was not predicted at that moment; this is another one.")
        st.session_state["recorded-agent"] = asked if asked in agents else otherwise
    chosen: str = st.selectbox("Agent", agents, key="recorded-agent", help="Agents with a prediction within 6 s of the moment.")
    st.query_params["agent"] = chosen
    return chosen
