"""A recorded scene and a moment in it: chosen by widgets, carried by the URL, and used by Live predict and Scene map alike."""

from datetime import UTC, datetime, timedelta

import streamlit as st

from console import frame, session
from console.viewmodels import SCRATCH_SCENE
from console.wording import clock
from trajops.contracts.scenes import SceneOut, ScenesOut

LOOK_BACK = timedelta(hours=24)
# The newest moment that is offered: truth of its predictions has come by then.
SETTLED = timedelta(seconds=12)
JUMPS = (-10, 10)


def recent_scenes() -> session.Fetched[ScenesOut]:
    """Scenes of the last day."""
    return session.fetch("scenes", lambda c: c.scenes(datetime.now(UTC) - LOOK_BACK), max_age_s=10.0)


def offered(scenes: ScenesOut) -> list[SceneOut]:
    """Scenes to choose from; the console's own tries are left out."""
    return [scene for scene in scenes.scenes if scene.scene_id != SCRATCH_SCENE]


def choose_scene(scenes: list[SceneOut]) -> SceneOut:
    """One of the scenes, which is in the URL; the one heard of last, if the URL names none that is known."""
    by_id = {scene.scene_id: scene for scene in scenes}
    asked = st.query_params.get("scene")
    if st.session_state.get("scene") not in by_id:
        if asked is not None and asked not in by_id:
            st.caption(f":material/help: Nothing was heard of scene {frame.plain(asked)} in the last 24 hours; this is another one.")
        st.session_state["scene"] = asked if asked in by_id else scenes[0].scene_id
    chosen = st.selectbox("Scene", list(by_id), key="scene", help="Scenes of the last 24 hours, the one heard of last first.")
    st.query_params["scene"] = chosen
    return by_id[chosen]


def choose_moment(scene: SceneOut) -> datetime:
    """A moment of the recording, UTC, which is in the URL as `at`."""
    first, newest = _span(scene)
    held = st.session_state.get("moment")
    asked = held if isinstance(held, datetime) else asked_moment()
    if asked is None or not first <= asked <= newest:
        if asked is not None and st.session_state.get("moment") is None:
            st.caption(f":material/help: The link's moment, {clock(asked)} UTC, is outside of this recording; this is its end.")
        asked = newest
    st.session_state["moment"] = asked
    if newest - first >= timedelta(seconds=1):
        st.slider(
            "Moment (UTC)",
            min_value=first,
            max_value=newest,
            step=timedelta(seconds=1),
            format="HH:mm:ss",
            key="moment",
            help="By the server's clock. The arrow keys move it by a second.",
        )
    with st.container(horizontal=True):
        for jump in JUMPS:
            st.button(f"{jump:+d} s".replace("-", "−"), key=f"jump{jump}", on_click=_move, args=(timedelta(seconds=jump), first, newest))
        st.button("Newest", key="jump-newest", on_click=_forget, help="Go to the end of what is recorded by now")
    at: datetime = st.session_state["moment"].replace(tzinfo=UTC)
    st.query_params["at"] = f"{at:%Y-%m-%dT%H:%M:%SZ}"
    return at


def asked_moment() -> datetime | None:
    """The moment that the URL names; None where it names none that can be read."""
    try:
        found = datetime.fromisoformat(st.query_params.get("at", ""))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _span(scene: SceneOut) -> tuple[datetime, datetime]:
    """Begin and end of what can be chosen, whole seconds; it stays while the scene grows, so that the slider does."""
    held, asked = st.session_state.get("moments"), asked_moment()
    if held is None or held[0] != scene.scene_id or (asked is not None and asked > held[2]):
        first = scene.first_at.astimezone(UTC).replace(microsecond=0)
        newest = max(first, scene.newest_at.astimezone(UTC).replace(microsecond=0) - SETTLED)
        if held is not None and held[0] != scene.scene_id:
            st.session_state.pop("moment", None)
            st.query_params.pop("at", None)
        held = st.session_state["moments"] = (scene.scene_id, first, newest)
    return held[1], held[2]


def _move(by: timedelta, first: datetime, newest: datetime) -> None:
    st.session_state["moment"] = min(newest, max(first, st.session_state["moment"].replace(tzinfo=UTC) + by))


def _forget() -> None:
    for name in ("moment", "moments"):
        st.session_state.pop(name, None)
    st.query_params.pop("at", None)
    session.expire()
