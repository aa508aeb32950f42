"""The figures of a training run: pure functions from arrays to plotly figures, and one page that holds them all."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.io import to_html
from plotly.subplots import make_subplots

from trajops.metrics import chi_square_quantile
from trajops.trajectories import FloatArray
from workers.training.evaluate import Samples

INK, MUTED, HISTORY, TRUTH, FORECAST = "#1f2933", "#7b8794", "#52606d", "#0b7a5b", "#2457c5"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font-family:system-ui,sans-serif;color:#1f2933;max-width:1000px;margin:24px auto;padding:0 16px}}</style></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""


def error_by_step(step_error_m: Mapping[str, FloatArray], dt_s: float) -> go.Figure:
    """Mean displacement over the horizon, one line a model.

    Args:
        step_error_m: (t_pred,) metres by model name.
        dt_s: time step, seconds.
    """
    figure = go.Figure()
    for name, error_m in step_error_m.items():
        ahead_s = (np.arange(len(error_m)) + 1) * dt_s
        figure.add_scatter(x=ahead_s.tolist(), y=np.asarray(error_m).tolist(), mode="lines+markers", name=name)
    figure.update_layout(**_layout("Error by horizon step"))
    figure.update_xaxes(title="seconds ahead", rangemode="tozero")
    figure.update_yaxes(title="mean displacement, metres", rangemode="tozero")
    return figure


def calibration_curve(nominal: Sequence[float], observed: FloatArray) -> go.Figure:
    """Observed share of the truth inside the ellipse against its nominal probability; the diagonal is honest."""
    figure = go.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="honest", line={"dash": "dot", "color": MUTED})
    figure.add_scatter(x=list(nominal), y=np.asarray(observed).tolist(), mode="lines+markers", name="observed", line={"color": FORECAST})
    figure.update_layout(**_layout("Calibration"))
    figure.update_xaxes(title="nominal probability of the ellipse", range=[0, 1])
    figure.update_yaxes(title="observed share inside", range=[0, 1])
    return figure


def sample_forecasts(samples: Samples, level: float = 0.9) -> go.Figure:
    """Observed, predicted and true positions of a few agents, with the ellipse of every third step."""
    count = len(samples.history_m)
    columns = min(3, count)
    figure = make_subplots(rows=-(-count // columns), cols=columns)
    for index in range(count):
        place = {"row": index // columns + 1, "col": index % columns + 1}
        mean_m, covariance_m2 = samples.forecast.mean_m[index], samples.forecast.covariance_m2[index]
        origin_m = samples.history_m[index, -1:]
        for mode in range(len(mean_m)):
            for step in range(2, mean_m.shape[1], 3):
                outline_m = ellipse(mean_m[mode, step], covariance_m2[mode, step], level)
                _line(
                    figure, outline_m, f"{level:.0%} ellipse", FORECAST, place, width=1, opacity=0.35, shown=index + mode == 0 and step == 2
                )
            _line(figure, np.concatenate([origin_m, mean_m[mode]]), "forecast", FORECAST, place, shown=index + mode == 0)
        _line(figure, samples.history_m[index], "observed", HISTORY, place, shown=index == 0)
        _line(figure, np.concatenate([origin_m, samples.truth_m[index]]), "truth", TRUTH, place, shown=index == 0)
        axis = "" if index == 0 else str(index + 1)
        figure.update_yaxes(scaleanchor=f"x{axis}", scaleratio=1, **place)
    figure.update_layout(**_layout("Sample forecasts, metres"))
    figure.update_layout(height=340 * -(-count // columns))
    return figure


def ellipse(mean_m: FloatArray, covariance_m2: FloatArray, level: float, points: int = 48) -> FloatArray:
    """Outline of the region that holds `level` of a bivariate Gaussian.

    Args:
        mean_m: (2,) metres.
        covariance_m2: (2, 2) symmetric positive definite.
        level: probability inside.
        points: of the closed outline.

    Returns:
        (points, 2) metres; the last equals the first.
    """
    angle_rad = np.linspace(0.0, 2 * np.pi, points)
    circle = np.stack([np.cos(angle_rad), np.sin(angle_rad)], axis=-1) * np.sqrt(chi_square_quantile(level))
    outline_m: FloatArray = mean_m + circle @ np.linalg.cholesky(covariance_m2).T
    return outline_m


def report(title: str, figures: Sequence[go.Figure]) -> str:
    """One page with all figures that needs nothing from outside: the script is in it, once."""
    parts = [to_html(figure, include_plotlyjs=index == 0, full_html=False) for index, figure in enumerate(figures)]
    return PAGE.format(title=escape(title), body="\n".join(parts))


def _line(
    figure: go.Figure,
    positions_m: FloatArray,
    name: str,
    color: str,
    place: Mapping[str, int],
    *,
    width: float = 2,
    opacity: float = 1.0,
    shown: bool = False,
) -> None:
    x, y = np.round(positions_m, 3).T.tolist()
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        name=name,
        legendgroup=name,
        showlegend=shown,
        opacity=opacity,
        line={"color": color, "width": width},
        **place,
    )


def _layout(title: str) -> dict[str, Any]:
    return {
        "title": title,
        "template": "plotly_white",
        "font": {"color": INK},
        "margin": {"l": 56, "r": 16, "t": 56, "b": 48},
        "legend": {"orientation": "h", "y": -0.15},
    }
