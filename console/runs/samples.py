"""Forecasts of two versions over the same recorded track, beside what came."""

import math
import uuid
from collections.abc import Mapping, Sequence

import streamlit as st

from console import frame, session
from console.plane import Drawn, plane
from console.runs.words import label
from console.viewmodels import SCRATCH_SCENE, agent_label, live_agents
from console.wording import metres
from trajops.contracts.predictions import T_PRED, PredictIn, PredictionOut, PredictOut
from trajops.contracts.runs import RunOut

# So many that, of some agents, all of the truth has come.
NEWEST, OF_ONE = 400, 40
# A recorded track stays as it is.
TRACKS_AGE_S = 300.0


def samples(runs: Sequence[RunOut]) -> None:
    """Choose a track and two of the runs, and see what their versions make of it."""
    st.header("Forecasts of the same track")
    names = {run.model_versions[-1]: label(run) for run in runs if run.model_versions}
    without = [label(run) for run in runs if not run.model_versions]
    if without:
        st.caption(frame.plain(f"Only registered versions can be asked for a forecast, so not: {', '.join(without)}."))
    if not names:
        frame.empty("None of the chosen runs is registered.", "Register one in the list above.", icon="route")
        return
    recent = session.fetch("runs:tracks", lambda c: c.predictions(limit=NEWEST), max_age_s=TRACKS_AGE_S)
    if recent.value is None:
        frame.freshness(recent, key="tracks")
        return
    linked = linked_track()
    agents = offered(linked, recent.value.predictions)
    if not agents:
        frame.empty("No agent has been recorded lately.", "Start the replay with `make demo`, then press Refresh.", icon="directions_walk")
        return
    left, right = st.columns([3, 8], gap="medium")
    with left:
        if st.session_state.get("sample-agent") not in agents:
            st.session_state["sample-agent"] = agents[0]
        agent = st.selectbox("Recorded agent", agents, key="sample-agent", help="Agents of the newest predictions.")
        first = version("First", list(names), names, "first")
        rest = [one for one in names if one != first]
        second = version("Second", rest, names, "second") if rest else None
        if not rest:
            st.query_params.pop("second", None)
            st.caption("Choose a second registered run above to compare.")
        shown = linked if linked is not None and agent_label(linked) == agent else track(agent)
    if shown is None:
        with right:
            frame.empty(
                "The truth of this agent has not come to its end.", "Choose another agent, or press Refresh.", icon="hourglass_empty"
            )
        return
    st.query_params["track"] = shown.prediction.prediction_id
    answers = {one: answer for one in (first, second) if one is not None and (answer := ask(shown, one)) is not None}
    with left:
        for one, answer in answers.items():
            st.markdown(f"{frame.plain(names[one])}: ADE **{frame.unbroken(metres(ade_m(answer, shown)))}**")
    with right:
        figure = plane(shown.history, drawn(answers, names), shown.truth, frame.palette())
        frame.chart(
            figure,
            key="sample-plane",
            alt="History, forecasts of the chosen versions with ellipses of 90 %, and truth, metres",
            about=shown.prediction.prediction_id,
        )


def offered(linked: PredictionOut | None, recent: Sequence[PredictionOut]) -> list[str]:
    """Agents to choose from: that of the link, those whose truth has come to its end, the others."""
    first = [] if linked is None else [agent_label(linked)]
    return list(dict.fromkeys([*first, *live_agents([one for one in recent if is_complete(one)]), *live_agents(recent)]))


def linked_track() -> PredictionOut | None:
    """The recorded track that the URL names; None where it names none that can be shown."""
    asked = st.query_params.get("track")
    if asked is None:
        return None
    read = session.fetch(f"prediction:{asked}", lambda c: c.prediction(asked), max_age_s=TRACKS_AGE_S)
    if read.value is not None and is_complete(read.value):
        return read.value
    why = read.problem or "its truth has not come to its end."
    st.caption(frame.plain(f"The track of the link cannot be shown; this is another one. {why[:1].upper()}{why[1:]}"))
    st.query_params.pop("track", None)
    return None


def version(title: str, known: Sequence[int], names: Mapping[int, str], param: str) -> int:
    """One of the registered versions, which is in the URL under `param`; the first of them, if the URL names none of them."""
    key, asked = f"sample-{param}", st.query_params.get(param, "")
    if st.session_state.get(key) not in known:
        st.session_state[key] = next((one for one in known if str(one) == asked), known[0])
    chosen: int = st.selectbox(title, known, key=key, format_func=lambda one: names.get(one, f"v{one}"))
    st.query_params[param] = str(chosen)
    return chosen


def track(agent: str) -> PredictionOut | None:
    """The newest prediction of an agent whose truth is there to the last step; it stays the same while it is looked at."""
    scene_id, _, agent_id = agent.partition(" / ")
    call = {"limit": OF_ONE, "scene_id": scene_id, "agent_id": agent_id}
    own = session.fetch(f"runs:track:{agent}", lambda c: c.predictions(**call), max_age_s=TRACKS_AGE_S)
    return next((one for one in own.value.predictions if is_complete(one)), None) if own.value is not None else None


def is_complete(one: PredictionOut) -> bool:
    """Whether all of its truth has come."""
    return len(one.truth) == T_PRED and all(point is not None for point in one.truth)


def ask(shown: PredictionOut, model_version: int) -> PredictOut | None:
    """What a version predicts from the track's history; asked once a track and version."""
    body = PredictIn(
        agent_id=f"console-{uuid.uuid4().hex[:12]}", scene_id=SCRATCH_SCENE, history=shown.history, model_version=model_version
    )
    key = f"sample:{shown.prediction.prediction_id}:{model_version}"
    answer = session.fetch(key, lambda c: c.predict(body), max_age_s=TRACKS_AGE_S)
    if answer.value is None:
        st.caption(frame.plain(f"v{model_version} cannot be asked: {answer.problem}"))
    return answer.value


def ade_m(answer: PredictOut, shown: PredictionOut) -> float | None:
    """Mean distance between the likeliest mode and the truth, metres."""
    pairs = [(p, q) for p, q in zip(answer.modes[0].positions, shown.truth, strict=False) if q is not None]
    return sum(math.dist(p, q) for p, q in pairs) / len(pairs) if pairs else None


def drawn(answers: Mapping[int, PredictOut], names: Mapping[int, str]) -> list[Drawn]:
    """The answers as the plane takes them."""
    return [Drawn(names[version], answer) for version, answer in answers.items()]
