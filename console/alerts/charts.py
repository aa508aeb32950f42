"""Figures of the Alerts page. No Streamlit here."""

from collections.abc import Sequence
from datetime import UTC, datetime

import plotly.graph_objects as go

from console.alerts.history import AlertSpan
from console.drawing import finished, naive_utc, rgba, short, time_axis
from console.palette import Palette
from console.wording import severity_mark


def alert_timeline(spans: Sequence[AlertSpan], begin: datetime, end: datetime, palette: Palette) -> go.Figure:
    """When each alert was firing, as bars over time in UTC: a lane for a rule and its labels, a colour and a pattern for a severity."""
    figure = go.Figure()
    lanes = list(dict.fromkeys(span.lane for span in sorted(spans, key=lambda s: s.since, reverse=True)))
    styles = {"critical": (palette.bad, ""), "warning": (palette.warn, "/"), "info": (palette.info, ".")}
    for severity, (colour, shape) in styles.items():
        mine = [span for span in spans if span.severity == severity]
        if not mine:
            continue
        figure.add_trace(
            go.Bar(
                x=[max(1.0, (span.until - span.since).total_seconds()) * 1000 for span in mine],
                base=[naive_utc(span.since) for span in mine],
                y=[span.lane for span in mine],
                orientation="h",
                width=0.5,
                name=severity_mark(severity).word,
                marker={
                    "color": [rgba(colour, 0.55 if span.is_over else 1.0) for span in mine],
                    "line": {"color": colour, "width": 1},
                    "pattern": {"shape": shape, "fgcolor": palette.surface, "size": 6, "solidity": 0.25},
                },
                customdata=[
                    [
                        f"{span.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} – "
                        + (f"{span.until.astimezone(UTC):%H:%M:%S} UTC" if span.is_over else "now"),
                        short(span.text),
                    ]
                    for span in mine
                ],
                hovertemplate="<b>%{y}</b><br>%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
            )
        )
    time_axis(figure)
    figure.update_xaxes(range=[naive_utc(begin), naive_utc(end)])
    figure.update_yaxes(
        categoryorder="array", categoryarray=lanes[::-1], showgrid=False, tickvals=lanes, ticktext=[short(name, 34) for name in lanes]
    )
    figure.update_layout(barmode="overlay", showlegend=True)
    return finished(figure, palette, height=110 + 26 * max(1, len(lanes)))
