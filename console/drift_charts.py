"""Figures of the Drift page: how far each column had gone in each check, and one column against its reference. No Streamlit here."""

from collections.abc import Sequence
from datetime import UTC, timedelta

import numpy as np
import plotly.graph_objects as go

from console.drawing import finished, rgba
from console.palette import Palette
from console.viewmodels import drift_share
from console.wording import drift_mark
from trajops.contracts.drift import UNIT_RULE, DriftCheckOut, DriftColumn, column_title


def drift_heatmap(checks: Sequence[DriftCheckOut], palette: Palette, *, most: int = 60) -> go.Figure:
    """How far each column (rows) had gone towards its threshold in each check, oldest left; see `drift_share`. A cross marks drift."""
    ordered = sorted(checks, key=lambda c: c.at)[-most:]
    names = list(dict.fromkeys(column.column for check in reversed(ordered) for column in check.columns))
    found = [{column.column: column for column in check.columns} for check in ordered]
    cells = [[columns.get(name) for columns in found] for name in names]
    shown = range(0, len(ordered), max(1, -(-len(ordered) // 4)))
    is_long = bool(ordered) and ordered[-1].at - ordered[0].at > timedelta(hours=20)
    low, high = palette.surface, palette.bad
    figure = go.Figure(
        go.Heatmap(
            z=[[drift_share(cell) if cell else None for cell in row] for row in cells],
            x=list(range(len(ordered))),
            y=[column_title(name) for name in names],
            zmin=0.0,
            zmax=2.0,
            colorscale=[[0.0, low], [0.49, rgba(palette.info, 0.55)], [0.5, palette.warn], [1.0, high]],
            xgap=2 if len(ordered) <= 24 else 1,
            ygap=2,
            customdata=[[_hover(check, cell) for check, cell in zip(ordered, row, strict=True)] for row in cells],
            text=[["✕" if cell and cell.is_drifted else "" for cell in row] for row in cells],
            texttemplate="%{text}",
            textfont={"color": palette.surface},
            hoverongaps=False,
            colorbar={"title": {"text": "share of the threshold", "side": "right"}, "thickness": 10, "tickvals": [0, 0.5, 1, 1.5, 2],
                      "ticktext": ["0", "0.5", "1", "1.5", "≥ 2"]},
            hovertemplate="%{y}<br>%{customdata}<br>%{z:.2f} of the threshold<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(
        title_text="Time of the check (UTC)",
        tickvals=list(shown),
        ticktext=[ordered[k].at.astimezone(UTC).strftime("%d %b %H:%M" if is_long else "%H:%M") for k in shown],
        tickangle=0,
        showgrid=False,
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return finished(figure, palette, height=90 + 30 * max(3, len(names)))


def _hover(check: DriftCheckOut, column: DriftColumn | None) -> str:
    """When a cell was checked, and what was measured there against which threshold."""
    text = f"{check.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC · {drift_mark(check.verdict).word}"
    if column is None or column.score is None or column.threshold is None:
        return text
    if column.method != UNIT_RULE:
        return f"{text}<br>{column.column}: score {column.score:.3g}, threshold {column.threshold:.3g}"
    side = "above" if column.threshold < 1 else "below"
    return f"{text}<br>{column.column}: {column.score:.3g} × the reference, healthy {side} {column.threshold:.3g} ×"


def reference_against_current(column: DriftColumn, palette: Palette) -> go.Figure:
    """Share of agents in each bin, reference against current, in per cent, over the column's own unit."""
    edges = np.asarray(column.bins, dtype=float)
    centres = (edges[:-1] + edges[1:]) / 2
    widths = np.diff(edges)
    figure = go.Figure()
    for name, shares, colour, shape in (
        ("Reference", column.reference_share, palette.unknown, ""),
        ("Current", column.current_share, palette.series[0], "/"),
    ):
        n = min(len(centres), len(shares))
        figure.add_trace(
            go.Bar(
                x=centres[:n].tolist(),
                y=[100 * s for s in shares[:n]],
                width=widths[:n].tolist(),
                name=name,
                marker={"color": rgba(colour, 0.55), "line": {"color": colour, "width": 1}, "pattern": {"shape": shape, "fgcolor": colour}},
                hovertemplate=f"{name} %{{y:.1f}} %<extra></extra>",
            )
        )
    for mean, label, colour in ((column.reference_mean, "ref. mean", palette.unknown), (column.current_mean, "mean", palette.series[0])):
        if mean is not None:
            figure.add_vline(x=mean, line={"color": colour, "width": 1.5, "dash": "dash" if label == "mean" else "dot"})
    figure.update_xaxes(title_text=column_title(column.column))
    figure.update_yaxes(title_text="Share (%)", rangemode="tozero")
    figure.update_layout(barmode="overlay", bargap=0)
    return finished(figure, palette, height=300)
