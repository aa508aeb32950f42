"""One agent on the plane: its history, what was predicted of it with ellipses, and what came. No Streamlit here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from console.drawing import DASHES, SYMBOLS, finished, pick, rgba
from console.palette import Palette
from trajops.contracts.predictions import PredictOut

CHI2_2_90 = 4.605170185988092  # 90 % quantile of χ² with two degrees of freedom: −2 ln(1 − 0.9)
Points = Sequence[tuple[float, float] | None]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One forecast on the plane, and how it is called in the legend."""

    label: str
    prediction: PredictOut


def ellipse(mean: tuple[float, float], covariance: tuple[float, float, float], chi2: float = CHI2_2_90, n: int = 48) -> np.ndarray:
    """Outline of the region that holds the nominal share of a bivariate Gaussian.

    Args:
        mean: centre, metres.
        covariance: xx, xy, yy, square metres.
        chi2: quantile of χ² with two degrees of freedom; default for 90 %.
        n: points of the closed outline.

    Returns:
        (n, 2) metres; Mahalanobis distance² of every point is `chi2`.
    """
    xx, xy, yy = covariance
    values, vectors = np.linalg.eigh(np.array([[xx, xy], [xy, yy]]))
    angle = np.linspace(0.0, 2.0 * math.pi, n)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    outline: np.ndarray = np.asarray(mean) + (circle * np.sqrt(np.maximum(values, 0.0) * chi2)) @ vectors.T
    return outline


def plane(
    history: Points, forecasts: Sequence[Drawn], truth: Points, palette: Palette, *, ellipse_steps: Sequence[int] = (3, 7, 11)
) -> go.Figure:
    """History, forecasts and truth on an equal-aspect plane, metres.

    The likeliest mode has the widest line; modes differ by dash and are labelled with their probability. Ellipses hold
    90 % of a mode's probability at the given steps (0–11); only modes of at least 15 % draw them.
    """
    figure = go.Figure()
    past = [p for p in history if p is not None]
    for drawn in forecasts:
        i = drawn.prediction.model_version - 1
        colour = pick(palette.series, i)
        for rank, mode in enumerate(drawn.prediction.modes[:6]):
            path = [past[-1], *mode.positions] if past else list(mode.positions)
            if mode.weight >= 0.15:
                _add_ellipses(figure, mode.positions, mode.covariance, ellipse_steps, colour, first=rank == 0)
            figure.add_trace(
                go.Scatter(
                    x=[p[0] for p in path],
                    y=[p[1] for p in path],
                    mode="lines+markers+text",
                    text=[""] * (len(path) - 1) + [f"{100 * mode.weight:.0f} %" if len(drawn.prediction.modes) > 1 else ""],
                    textposition="top right",
                    textfont={"color": colour, "size": 11},
                    name=drawn.label if rank == 0 else f"{drawn.label}, mode {rank + 1} ({100 * mode.weight:.0f} %)",
                    legendgroup=f"{i}-{rank}",
                    line={"color": colour, "dash": pick(DASHES, rank), "width": 1.2 + 2.4 * mode.weight},
                    marker={"symbol": pick(SYMBOLS, i), "size": 5 if rank == 0 else 4},
                    opacity=1.0 if rank == 0 else 0.75,
                    hovertemplate=f"{drawn.label}<br>x %{{x:.2f}} m, y %{{y:.2f}} m<extra></extra>",
                )
            )
    seen = [p for p in truth if p is not None]
    if seen:
        figure.add_trace(
            go.Scatter(
                x=[p[0] for p in seen],
                y=[p[1] for p in seen],
                mode="markers+lines",
                name="Truth",
                line={"color": palette.ok, "width": 1.5, "dash": "dot"},
                marker={"symbol": "x-thin", "size": 9, "line": {"color": palette.ok, "width": 2}},
                hovertemplate="Truth<br>x %{x:.2f} m, y %{y:.2f} m<extra></extra>",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=[p[0] for p in past],
            y=[p[1] for p in past],
            mode="lines+markers",
            name="History",
            line={"color": palette.muted, "width": 2},
            marker={"symbol": "circle-open", "size": 7, "color": palette.muted},
            hovertemplate="History<br>x %{x:.2f} m, y %{y:.2f} m<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="x (m)", zeroline=False, showgrid=True)
    figure.update_yaxes(title_text="y (m)", scaleanchor="x", scaleratio=1, zeroline=False)
    return finished(figure, palette, height=520)


def _add_ellipses(
    figure: go.Figure,
    positions: Sequence[tuple[float, float]],
    covariance: Sequence[tuple[float, float, float]],
    steps: Sequence[int],
    colour: str,
    *,
    first: bool,
) -> None:
    for step in steps:
        if step >= len(positions):
            continue
        outline = ellipse(positions[step], covariance[step])
        figure.add_trace(
            go.Scatter(
                x=outline[:, 0].tolist(),
                y=outline[:, 1].tolist(),
                mode="lines",
                fill="toself",
                fillcolor=rgba(colour, 0.1 if first else 0.04),
                line={"color": rgba(colour, 0.55), "width": 1, "dash": "solid" if first else "dot"},
                name="90 % ellipse",
                showlegend=False,
                hoverinfo="skip",
            )
        )
