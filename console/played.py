"""What can be played: a figure with frames, and what they are called. No Streamlit here."""

from typing import NamedTuple

import plotly.graph_objects as go


class Played(NamedTuple):
    """A figure whose frames are called 0, 1, 2 …, and shows that of the start.

    Attributes:
        figure: with its frames.
        labels: of the frames, seconds about some moment.
        start: number of the frame that is shown first.
        step_s: from one frame to the next.
        redraw: whether a frame changes more than where things are.
    """

    figure: go.Figure
    labels: list[str]
    start: int
    step_s: float
    redraw: bool


def label(seconds: float) -> str:
    """A time about a moment."""
    return "0.0" if abs(seconds) < 1e-9 else f"{'+' if seconds > 0 else '−'}{abs(seconds):.1f}"
