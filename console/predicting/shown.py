"""One prediction on the page: its figures, the plane or the player, and how to make the same call."""

import math
import uuid
from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

from console import frame, session
from console.plane import Drawn, plane
from console.predicting.player import player, step_rows
from console.settings import ConsoleSettings
from console.viewmodels import SCRATCH_SCENE, curl
from console.wording import clock, metres, milliseconds, number, share
from trajops.contracts.predictions import T_PRED, PredictIn, PredictionOut, PredictOut

ELLIPSES = "Ellipses hold 90 % of a mode's probability at 1.6, 3.2 and 4.8 s ahead. Line width shows the mode's probability."


class Choice(NamedTuple):
    """What is shown, and whether it stays, so that it can be played."""

    prediction: PredictionOut
    is_held: bool


def comparison(shown: PredictionOut, versions: Sequence[int]) -> PredictOut | None:
    """Let the operator choose another version, which is in the URL; what it says of the same history."""
    others = [v for v in versions if v != shown.prediction.model_version]
    asked = st.query_params.get("compare", "")
    if "compare-version" not in st.session_state and asked in map(str, others):
        st.session_state["compare-version"] = int(asked)
    other = st.selectbox(
        "Compare with",
        [None, *others],
        format_func=lambda v: "no other version" if v is None else f"v{v} on the same history",
        key="compare-version",
        help="Asks the other version to predict from the same 8 positions.",
    )
    if other is None:
        st.query_params.pop("compare", None)
        return None
    st.query_params["compare"] = str(other)
    body = request(shown.history, other)
    key = f"compare:{shown.prediction.prediction_id}:{other}"
    answer = session.fetch(key, lambda c: c.predict(body), max_age_s=math.inf)
    if answer.problem is not None:
        st.caption(f":material/error: v{other} cannot be compared: {frame.plain(answer.problem)}")
    return answer.value


def request(history: list[tuple[float, float]], version: int | None) -> PredictIn:
    """A request under an id of its own, so that tries never mix with an agent's real track."""
    return PredictIn(agent_id=f"console-{uuid.uuid4().hex[:12]}", scene_id=SCRATCH_SCENE, history=history, model_version=version)


def picture(choice: Choice, compared: PredictOut | None) -> None:
    """Figures above, the plane below; what stays can be played, and read step by step."""
    shown = choice.prediction
    numbers(shown, compared)
    drawn = [Drawn(f"v{shown.prediction.model_version}", shown.prediction)]
    if compared is not None:
        drawn.append(Drawn(f"v{compared.model_version}", compared))
    alt = "History, predicted modes with 90 % ellipses, and truth on a plane in metres"
    if not choice.is_held:
        frame.chart(plane(shown.history, drawn, shown.truth, frame.palette()), key="plane-chart", alt=alt)
        st.caption(ELLIPSES)
        return
    frame.chart(player(shown.history, drawn, shown.truth, frame.palette()), key="player-chart", alt=f"{alt}, step by step")
    st.caption(f"{ELLIPSES} ▶ plays the 7.6 s at one, two or four times their pace; the slider goes to any moment.")
    steps = st.expander("Step by step", icon=":material/table_rows:", on_change="rerun", key="steps")
    if steps.open:
        with steps:
            frame.table(step_rows(shown.prediction, shown.truth), alt="Predicted and observed position at each step, with the error")


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
