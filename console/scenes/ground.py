"""Beneath the map: the image of a scene; coast, a grid in degrees and a scale bar, where it lies on the Earth. No Streamlit here."""

import math
from typing import Any
from urllib.parse import quote

import plotly.graph_objects as go

from console.palette import Palette
from console.scenes.charts import View
from console.signin import IMAGES
from trajops.contracts.scenes import GeographicOrigin, SceneGround

STEPS_DEG = (10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
LINES = 4
# So faded that lines and marks of either appearance can be told even from black or white ground.
OPACITY = 0.3


def beneath(ground: SceneGround | None, view: View | None, palette: Palette) -> list[Any]:
    """Traces to draw first; none where nobody has said where the scene lies."""
    if ground is None or ground.origin is None or view is None:
        return []
    return [_coast(ground, palette), *_grid(ground.origin, view, palette), *_scale_bar(view, palette)]


def lay_image(figure: go.Figure, ground: SceneGround | None) -> None:
    """Lay the image of a scene under everything else, where its metres are; it comes from the console, once for each browser."""
    if ground is None or ground.image is None:
        return
    edges = ground.image.bounds
    figure.add_layout_image(
        source=f"{IMAGES}{quote(ground.scene_id, safe='')}?version={ground.image.version}",
        xref="x",
        yref="y",
        x=edges.x_min_m,
        y=edges.y_max_m,
        sizex=edges.x_max_m - edges.x_min_m,
        sizey=edges.y_max_m - edges.y_min_m,
        sizing="stretch",
        layer="below",
        opacity=OPACITY,
    )


def about_ground(ground: SceneGround) -> str | None:
    """What the map shows beneath, in words."""
    if ground.origin is None:
        return None
    if not ground.coast:
        return "No coastline lies in this view; the grid shows degrees."
    return "Coast: Natural Earth, 1 : 10 000 000, for orientation and not for navigation. The grid shows degrees."


def grid_step_deg(span_deg: float) -> float:
    """Distance of grid lines, so that at least `LINES` of them are in a span where that is possible."""
    return next((step for step in STEPS_DEG if span_deg / step >= LINES), STEPS_DEG[-1])


def degrees_words(value_deg: float, step_deg: float, positive: str, negative: str) -> str:
    """A longitude or latitude with as many digits as its grid needs."""
    digits = max(0, math.ceil(-math.log10(step_deg)))
    side = positive if value_deg > 0 else negative if value_deg < 0 else ""
    return f"{abs(value_deg):.{digits}f}° {side}".strip()


def scale_m(width_m: float) -> float:
    """A round length of about a sixth of the view, metres."""
    power = 10.0 ** math.floor(math.log10(width_m / 6))
    return max(step * power for step in (1, 2, 5) if step * power <= width_m / 6)


def _coast(ground: SceneGround, palette: Palette) -> Any:
    x: list[float | None] = []
    y: list[float | None] = []
    for line in ground.coast:
        x += [*(p[0] for p in line), None]
        y += [*(p[1] for p in line), None]
    return go.Scatter(
        x=x, y=y, mode="lines", name="Coast", line={"color": palette.info, "width": 1.2}, hoverinfo="skip", showlegend=bool(ground.coast)
    )


def _grid(origin: GeographicOrigin, view: View, palette: Palette) -> list[Any]:
    x: list[float | None] = []
    y: list[float | None] = []
    marks: list[tuple[float, float, str]] = []
    for axis, a_degree_m, zero_deg in ((0, origin.east_m, origin.longitude_deg), (1, origin.north_m, origin.latitude_deg)):
        low_m, high_m = view[axis]
        step = grid_step_deg((high_m - low_m) / a_degree_m)
        first, last = math.ceil((zero_deg + low_m / a_degree_m) / step), math.floor((zero_deg + high_m / a_degree_m) / step)
        for number in range(first, min(last, first + 40) + 1):
            at_m = (number * step - zero_deg) * a_degree_m
            if axis == 0:
                x += [at_m, at_m, None]
                y += [*view.y, None]
                east_deg = (number * step + 180.0) % 360.0 - 180.0
                marks.append((at_m, view.y[0], degrees_words(round(east_deg, 6), step, "E", "W")))
            else:
                x += [*view.x, None]
                y += [at_m, at_m, None]
                marks.append((view.x[0], at_m, degrees_words(round(number * step, 6), step, "N", "S")))
    line = {"color": palette.grid, "width": 1, "dash": "dot"}
    return [
        go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False),
        go.Scatter(
            x=[m[0] for m in marks],
            y=[m[1] for m in marks],
            mode="text",
            text=[m[2] for m in marks],
            textposition="top right",
            textfont={"color": palette.muted, "size": 11},
            hoverinfo="skip",
            showlegend=False,
        ),
    ]


def _scale_bar(view: View, palette: Palette) -> list[Any]:
    width_m, height_m = view.x[1] - view.x[0], view.y[1] - view.y[0]
    length_m = scale_m(width_m)
    right, bottom = view.x[1] - 0.04 * width_m, view.y[0] + 0.05 * height_m
    words = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    return [
        go.Scatter(
            x=[right - length_m, right - length_m / 2, right],
            y=[bottom] * 3,
            mode="lines+text",
            text=["", words, ""],
            textposition="top center",
            textfont={"color": palette.text, "size": 12},
            line={"color": palette.text, "width": 3},
            hoverinfo="skip",
            showlegend=False,
        )
    ]
