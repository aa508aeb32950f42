"""Scene map: all agents of a scene with their newest predictions, live or at a recorded moment."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import plotly.graph_objects as go
import streamlit as st

from console import frame, playing, session
from console.palette import Palette
from console.predicting import moments
from console.scenes.charts import View, replay, scene_map, values, view_of
from console.scenes.ground import about_ground, beneath, lay_image
from console.scenes.layers import Layers
from console.scenes.moving import follow
from console.scenes.reads import ground_of
from console.scenes.switches import choose_layers
from console.scenes.words import AgentNow, agents_at, agents_now, moments_s, news, rows, sentence
from console.viewmodels import REFRESHES
from console.wording import clock
from trajops.contracts.scenes import MAX_VIEW_M, SceneGround, SceneOut, SceneWindow

VIEWS = ("Live", "Recorded")
LIVE_S, TRAIL_S, FRAMES = 5.0, 4.0, 60
LENGTHS = {"20 s": 20, "1 min": 60, "2 min": 120}
FASTEST_S = 2.0


class Held(NamedTuple):
    """The live map as it was drawn first.

    Attributes:
        name: what it was drawn of and how.
        view: what it shows.
        figure: with what lies beneath.
        first: how many traces lie beneath the agents.
    """

    name: tuple[str, Palette, Layers, SceneGround | None]
    view: View
    figure: go.Figure
    first: int


def live() -> None:
    """Where agents are now; refreshes by itself at least every two seconds."""
    with frame.first_load(620):
        scenes = moments.recent_scenes()
    if scenes.value is None:
        frame.freshness(scenes, key="map")
        return
    known = moments.offered(scenes.value)
    if not known:
        nothing_heard()
        return
    left, right = st.columns([3, 9], gap="medium")
    with left:
        scene = moments.choose_scene(known)
    window = session.fetch(f"scene live:{scene.scene_id}", lambda c: c.scene_live(scene.scene_id, LIVE_S), max_age_s=0.5)
    with right:
        if window.value is None:
            frame.freshness(window, key="map")
            return
        told(window)
        agents = agents_now(window.value, TRAIL_S)
        if not agents:
            silent(scene)
            return
    with left:
        chosen = choose_agent(agents, window.value)
        about(agents, chosen, {"source": "Agent", "scene": scene.scene_id, "agent": chosen or ""})
    with right:
        held = held_map(scene.scene_id, agents, chosen)
        shown(held.figure, "scene-chart", scene.scene_id)
        hear("scene-chart", values(agents, frame.palette(), chosen, held.name[2]), held.first)
        table(agents)


def recorded() -> None:
    """A piece of a recording, to be played."""
    with frame.first_load(620):
        scenes = moments.recent_scenes()
    if scenes.value is None:
        frame.freshness(scenes, key="map")
        return
    known = moments.offered(scenes.value)
    if not known:
        nothing_heard()
        return
    left, right = st.columns([3, 9], gap="medium")
    with left:
        scene = moments.choose_scene(known)
        at = moments.choose_moment(scene)
        length = LENGTHS[st.selectbox("Length", list(LENGTHS), key="length", help="How much of the recording is played, around the moment")]
    half = timedelta(seconds=length / 2)
    key = f"scene map:{scene.scene_id}:{at.isoformat()}:{length}"
    window = session.fetch(key, lambda c: c.scene_window(scene.scene_id, at - half, at + half), max_age_s=60.0)
    with right:
        frame.freshness(window, key="map")
        if window.value is None:
            return
        times_s = moments_s(window.value, FRAMES)
        if not times_s:
            frame.empty("Nothing was received of this scene at that moment.", "Move the moment, or press Newest.", icon="history")
            return
        for sentence_ in window.value.cut:
            st.caption(f":material/content_cut: Left out: {sentence_}.")
        origin_s = at.timestamp() if times_s[0] <= at.timestamp() <= times_s[-1] else (times_s[0] + times_s[-1]) / 2
        played = [(t, agents_at(window.value, t, TRAIL_S)) for t in times_s]
        everybody = [agent for _, agents in played for agent in agents]
    with left:
        middle = min(played, key=lambda one: abs(one[0] - origin_s))[1]
        chosen = choose_agent(middle, window.value)
        link = {"source": "Recorded", "scene": scene.scene_id, "at": f"{at:%Y-%m-%dT%H:%M:%SZ}", "agent": chosen or ""}
        about(middle, chosen, link)
    with right:
        view = view_of(everybody)
        ground, layers = on_the_ground(scene.scene_id, view)
        film = replay(
            played,
            frame.palette(),
            view,
            chosen=chosen,
            scene_id=key,
            origin_s=origin_s,
            beneath=beneath(ground, view, frame.palette()),
            layers=layers,
        )
        lay_image(film.figure, ground)
        shown(film.figure, "replay-chart", scene.scene_id)
        playing.controls(film, "replay-chart", about=key, prefix="About the moment: ")
        hear("replay-chart")
        table(middle)


def told(window: session.Fetched[SceneWindow]) -> None:
    """The first answer: whether agents move, how many, and since when nothing is heard."""
    assert window.value is not None
    now = datetime.now(UTC)
    st.markdown(f"{frame.badge(news(window.value, now))} {sentence(window.value, now)}")
    frame.freshness(window, key="map")
    for cut in window.value.cut:
        st.caption(f":material/content_cut: Left out: {cut}.")


def silent(scene: SceneOut) -> None:
    """A scene from which nothing comes now."""
    frame.empty(
        f"Nothing was heard of this scene for {LIVE_S:.0f} s; the last of it came at {clock(scene.newest_at)} UTC.",
        "Choose “Recorded” above to see it then, or another scene.",
        icon="sensors_off",
    )


def nothing_heard() -> None:
    """No scene at all."""
    frame.empty("No scene was heard of in the last 24 hours.", "Post positions to `/observations`, or ask `/predict`.", icon="map")


def choose_agent(agents: list[AgentNow], window: SceneWindow) -> str | None:
    """The agent that is highlighted, by a click or from the list; it is in the URL."""
    names = [agent.agent_id for agent in agents]
    if "clicked-agent" in st.session_state:
        st.session_state["map-agent"] = st.session_state.pop("clicked-agent")
    held = st.session_state.get("map-agent", st.query_params.get("agent"))
    if held is not None and held not in names:
        names.append(held)  # It stays while the agent pauses.
    if "map-agent" not in st.session_state:
        st.session_state["map-agent"] = held
    chosen: str | None = st.selectbox(
        "Agent",
        names,
        key="map-agent",
        placeholder="none; click one",
        help="Highlighted on the map. A click on an agent chooses it, too.",
        index=None,
    )
    if chosen is None:
        st.query_params.pop("agent", None)
    else:
        st.query_params["agent"] = chosen
        if chosen not in {track.agent_id for track in window.tracks}:
            st.caption(f":material/help: Agent {frame.plain(chosen)} is not in this scene at this moment.")
    return chosen


def about(agents: list[AgentNow], chosen: str | None, link: dict[str, str]) -> None:
    """What is known of the highlighted agent, and the way to its prediction."""
    mine = next((agent for agent in agents if agent.agent_id == chosen), None)
    if mine is None:
        if chosen is None:
            st.caption("Click an agent, or choose one, to follow it.")
        return
    speed = "not known" if mine.speed_mps is None else f"{mine.speed_mps:.1f} m/s"
    x_m, y_m = mine.position
    lines = [("x", f"{x_m:.1f}\u00a0m".replace("-", "−")), ("y", f"{y_m:.1f}\u00a0m".replace("-", "−")), ("Speed", speed)]
    if mine.prediction is not None:
        lines += [
            ("Predicted by", f"v{mine.prediction.model_version}, {mine.prediction.variant}"),
            ("Likeliest mode", f"{100 * mine.prediction.modes[0].weight:.0f} %"),
        ]
    frame.facts([("Agent", mine.agent_id), *lines])
    st.page_link("views/live_predict.py", label="Open in Live predict", icon=":material/route:", help="", query_params=link)


def held_map(scene_id: str, agents: list[AgentNow], chosen: str | None) -> Held:
    """The map as it was drawn first.

    It is drawn anew for another scene, appearance, ground or layer, or when agents have left what is shown.
    """
    palette, seen = frame.palette(), view_of(agents)
    held: Held | None = st.session_state.get("map-drawn")
    view = (seen or View((-1.0, 1.0), (-1.0, 1.0))).widened()
    if held is not None and held.name[0] == scene_id:
        view = held.view if seen is None or held.view.holds(seen) else view.joined(held.view)
    ground, layers = on_the_ground(scene_id, view)
    name = (scene_id, palette, layers, ground)
    if held is None or (held.name, held.view) != (name, view):
        traces = beneath(ground, view, palette)
        figure = scene_map(agents, palette, view, chosen=chosen, scene_id=scene_id, beneath=traces, layers=layers)
        lay_image(figure, ground)
        held = st.session_state["map-drawn"] = Held(name, view, figure, len(traces))
    return held


def on_the_ground(scene_id: str, view: View | None) -> tuple[SceneGround | None, Layers]:
    """What lies beneath a view, without an image that is hidden, and the layers above it that are shown; says what it is."""
    is_shown = view is not None and max(high - low for low, high in view) <= MAX_VIEW_M
    ground = ground_of(scene_id, view) if is_shown else None
    layers, has_image = choose_layers(has_image=ground is not None and ground.image is not None)
    if ground is None:
        return None, layers
    said = about_ground(ground)
    if said is not None:
        st.caption(said)
    return ground if has_image else ground.model_copy(update={"image": None}), layers


def shown(figure: go.Figure, key: str, scene_id: str) -> None:
    """The map."""
    alt = "Agents of the scene with trails and predictions on a plane in metres; the table below holds the same"
    frame.chart(figure, key=key, alt=alt, about=scene_id)


def hear(key: str, traces: Sequence[dict[str, Any]] = (), first: int = 0) -> None:
    """Move a map's agents; a click on one highlights it."""
    agent = follow(key, traces, first)
    if agent is not None and agent != st.session_state.get("map-agent"):
        st.session_state["clicked-agent"] = agent
        st.rerun(scope="fragment" if traces else "app")


def table(agents: list[AgentNow]) -> None:
    """The map for those who read."""
    fold = st.expander("As a table", icon=":material/table_rows:", on_change="rerun", key="map-table")
    if fold.open:
        with fold:
            frame.table(rows(agents), alt="Position, speed and version of each agent")


def render() -> None:
    """Draw the page."""
    st.title("Scene map")
    view = st.radio("View", VIEWS, horizontal=True, key="view", bind="query-params", label_visibility="collapsed")
    if view == VIEWS[1]:
        recorded()
        return
    st.query_params.pop("at", None)
    every = REFRESHES.get(st.session_state.get("refresh") or "5s")
    st.fragment(live, run_every=None if every is None else min(every, FASTEST_S))()


if __name__ == "__main__":
    render()
