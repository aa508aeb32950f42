"""One prediction on the page: its figures, the plane or the player, and how to make the same call."""

import math
import uuid
from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

from console import frame, playing, session
from console.plane import Drawn, plane
from console.predicting.judged import as_scored, judged
from console.predicting.player import player, step_rows
from console.predicting.versions import asked_version, carry_version
from console.scenes.ground import lay_image
from console.scenes.reads import ground_of
from console.scenes.switches import choose_image
from console.settings import ConsoleSettings
from console.viewmodels import SCRATCH_SCENE, curl
from console.wording import clock, metres, milliseconds, number, share
from trajops.contracts.predictions import T_PRED, PredictIn, PredictionOut, PredictOut

ELLIPSES = "Ellipses hold 90 % of a mode's probability at 1.6, 3.2 and 4.8 s ahead. Line width shows the mode's probability."
# No version: they are counted from 1.
NONE = 0


class Choice(NamedTuple):
    """What is shown, and whether it stays, so that it can be played."""

    prediction: PredictionOut
    is_held: bool


class Versions(NamedTuple):
    """What is drawn: a prediction, and another version's beside it.

    Attributes:
        first: the one that was answered, or what a chosen version says of the same history.
        second: None where none is compared.
    """

    first: PredictOut
    second: PredictOut | None


def choose_versions(shown: PredictionOut, versions: Sequence[int]) -> Versions:
    """Let the operator choose one version or two, which are in the URL, for the history of a prediction."""
    answered = shown.prediction.model_version
    mine = _choose("version", "Version", [v for v in versions if v != answered], f"v{answered}, as it was answered")
    other = _choose("compare", "Compare with", [v for v in versions if v != (mine or answered)], "no other version")
    first = None if mine is None else _asked(shown, mine)
    return Versions(first or shown.prediction, None if other is None else _asked(shown, other))


def _choose(name: str, label: str, offered: list[int], otherwise: str) -> int | None:
    key = f"{name}-of-shown"
    if st.session_state.get(key) not in offered:
        st.session_state[key] = asked_version(name, offered) or NONE if key not in st.session_state else NONE
    picked: int = st.selectbox(
        label,
        [NONE, *offered],
        format_func=lambda v: otherwise if v == NONE else f"v{v} on the same history",
        key=key,
        help="Asks that version to predict from the same 8 positions.",
    )
    chosen = None if picked == NONE else picked
    carry_version(name, chosen)
    return chosen


def _asked(shown: PredictionOut, version: int) -> PredictOut | None:
    """What a version says of a prediction's history; None, which is said, where it cannot be asked."""
    body = request(shown.history, version)
    answer = session.fetch(f"compare:{shown.prediction.prediction_id}:{version}", lambda c: c.predict(body), max_age_s=math.inf)
    if answer.problem is not None:
        st.caption(f":material/error: v{version} cannot be asked: {frame.plain(answer.problem)}")
    return answer.value


def request(history: list[tuple[float, float]], version: int | None) -> PredictIn:
    """A request under an id of its own, so that tries never mix with an agent's real track."""
    return PredictIn(agent_id=f"console-{uuid.uuid4().hex[:12]}", scene_id=SCRATCH_SCENE, history=history, model_version=version)


def picture(choice: Choice, versions: Versions) -> None:
    """Figures above, the plane below; what stays can be played, and read step by step."""
    shown, first = choice.prediction, versions.first
    numbers(shown, versions)
    drawn = [Drawn(f"v{one.model_version}", one) for one in versions if one is not None]
    ground = ground_of(shown.prediction.scene_id)
    if ground is not None and ground.image is not None and not choose_image():
        ground = None
    alt = "History, predicted modes with 90 % ellipses, and truth on a plane in metres"
    about = shown.prediction.prediction_id
    if not choice.is_held:
        figure = plane(shown.history, drawn, shown.truth, frame.palette())
        lay_image(figure, ground)
        frame.chart(figure, key="plane-chart", alt=alt, about=about)
        st.caption(ELLIPSES)
        return
    film = player(shown.history, drawn, shown.truth, frame.palette())
    lay_image(film.figure, ground)
    frame.chart(film.figure, key="player-chart", alt=f"{alt}, step by step", about=about)
    playing.controls(film, "player-chart", about=about)
    st.caption(
        f"{ELLIPSES} Play shows the 7.6 s at one, two or four times their pace; the slider goes to any moment, the arrow keys by a step."
    )
    steps = st.expander("Step by step", icon=":material/table_rows:", on_change="rerun", key="steps")
    if steps.open:
        with steps:
            frame.table(step_rows(first, shown.truth), alt="Predicted and observed position at each step, with the error")


def numbers(shown: PredictionOut, versions: Versions) -> None:
    """How well the first version does so far, and who made it; how the second one compares."""
    p, second = versions.first, versions.second
    own = as_scored(shown) if p is shown.prediction else judged(p, shown.truth)
    tiles = [
        ("ADE so far", metres(own.ade_m)),
        ("FDE", metres(own.fde_m)),
        ("Steps scored", f"{own.steps} of {T_PRED}"),
        ("In 90 % ellipse", share(own.inside_share, 0)),
    ]
    with st.grid(5, min_column_width=100):
        for label, value in tiles:
            st.metric(label, value, border=True, height="stretch")
        who = p.variant if p is shown.prediction else "asked now"
        st.metric("Version", f"v{p.model_version}", delta=who, delta_color="blue", delta_arrow="off", border=True, height="stretch")
    if second is None:
        return
    mine, other = judged(p, shown.truth), judged(second, shown.truth)
    if mine.ade_m is None or other.ade_m is None:
        st.caption(f"v{second.model_version} is drawn beside; no truth yet to judge by.")
        return
    word, colour = ("better", "green") if other.ade_m < mine.ade_m else ("worse", "red")
    st.markdown(
        f"On the {mine.steps} steps with truth, likeliest modes: v{second.model_version} ADE {metres(other.ade_m)} against "
        f"v{p.model_version} ADE {metres(mine.ade_m)}, :{colour}[{metres(abs(other.ade_m - mine.ade_m))} {word}]."
    )


def details(shown: PredictionOut) -> None:
    """Where the prediction comes from, and how to make the same call."""
    p = shown.prediction
    st.caption(
        f"Answered {clock(shown.received_at)} UTC · {frame.plain(p.model_name)} v{p.model_version} · epoch {p.epoch} · "
        f"model time {milliseconds(p.model_ms)}"
    )
    st.caption("Prediction id")
    st.code(p.prediction_id, language=None, wrap_lines=True)
    if shown.request_id is not None:
        st.caption("Request id, as in the logs of the API")
        st.code(shown.request_id, language=None, wrap_lines=True)
    if shown.outcome is not None:
        st.caption(f"NLL {number(shown.outcome.nll)} nats · truth came {shown.outcome.truth_delay_s:.1f} s after the last scored step")
    as_curl(shown.history, p.model_version)


def as_curl(history: list[tuple[float, float]], version: int | None) -> None:
    """The same call for a shell, behind a fold."""
    fold = st.expander("As curl", icon=":material/terminal:", on_change="rerun", key="as-curl")
    if fold.open:
        with fold:
            st.code(curl(request(history, version), ConsoleSettings.from_environment().api_url), language="bash", wrap_lines=True)
            st.caption("Set TRAJOPS_TOKEN to a token from `POST /v1/token` first.")
