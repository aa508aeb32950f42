"""The look that every figure shares: colours and marks of series, axes of time, thinned lines, margins. No Streamlit here.

Every figure states its units on the axes, speaks UTC, carries at most MAX_POINTS points a trace, and tells series apart
by more than colour. Colours of lines come from a Palette; fonts and grid follow the theme of the page that shows them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import plotly.graph_objects as go
from tsdownsample import MinMaxLTTBDownsampler

from console.palette import Palette
from trajops.contracts.figures import THIN_SPACE

MAX_POINTS = 2_000
LEAST_SPAN = timedelta(minutes=1)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "star")
_DOWNSAMPLER: Any = MinMaxLTTBDownsampler()  # type: ignore[no-untyped-call]


def thin(x: np.ndarray, y: np.ndarray, most: int = MAX_POINTS) -> np.ndarray:
    """Indices of at most `most` points that keep the look of a line.

    Args:
        x: (N,) increasing numbers.
        y: (N,) finite values.
        most: largest count of indices; even, at least 4.

    Returns:
        (min(N, most),) increasing indices; extremes are kept (MinMaxLTTB).
    """
    if len(y) <= most:
        return np.arange(len(y))
    return np.asarray(_DOWNSAMPLER.downsample(np.ascontiguousarray(x), np.ascontiguousarray(y), n_out=most), dtype=np.int64)


def rgba(colour: str, alpha: float) -> str:
    """A `#RRGGBB` colour with opacity."""
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},{alpha})"


def pick(values: tuple[str, ...], i: int) -> str:
    """The colour, dash or symbol of series `i`; they come again where there are more series."""
    return values[i % len(values)]


def naive_utc(at: datetime) -> datetime:
    """A naive UTC time: Plotly has no time zones and would write the browser's otherwise."""
    return at.astimezone(UTC).replace(tzinfo=None)


def short(text: str, most: int = 80) -> str:
    """A text that fits beside a mark, without what Plotly would take for markup."""
    plain = text.replace("<", "‹").replace(">", "›")
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def time_axis(figure: go.Figure) -> None:
    """An axis of times, which says that they are UTC."""
    figure.update_xaxes(type="date", hoverformat="%Y-%m-%d %H:%M:%S UTC", title_text="Time (UTC)")


def at_least_a_minute(figure: go.Figure, times: Sequence[datetime]) -> None:
    """Widen the axis around the first points, which Plotly would otherwise label in fractions of a second."""
    if times and max(times) - min(times) < LEAST_SPAN:
        middle = min(times) + (max(times) - min(times)) / 2
        figure.update_xaxes(range=[naive_utc(middle - LEAST_SPAN / 2), naive_utc(middle + LEAST_SPAN / 2)], tickformat="%H:%M:%S")


def finished(figure: go.Figure, palette: Palette, *, height: int, unified: bool = False) -> go.Figure:
    """Margins, legend and grid that every figure shares."""
    options: dict[str, Any] = {"hovermode": "x unified"} if unified else {"hovermode": "closest"}
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 28, "b": 8},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "right", "x": 1.0, "title": None},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": palette.muted, "family": "Inter, system-ui, sans-serif", "size": 12},
        uirevision="keep",
        separators=f".{THIN_SPACE}",
        **options,
    )
    ink = {"color": palette.muted, "size": 12}
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(gridcolor=palette.grid, automargin=True, title_standoff=8, tickfont=ink, title_font=ink)
    return figure
