"""The map of a scene: agents with trails and newest predictions on an equal-aspect plane, now or played. No Streamlit here."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from console.drawing import MAX_POINTS, finished, rgba
from console.palette import Palette
from console.played import Played, label
from console.scenes.layers import ALL, Layers
from console.scenes.words import BANDS, AgentNow, band

HEIGHT = 620
SYMBOLS = ("square", "circle", "triangle-up", "diamond")
Line = Sequence[tuple[float, float]]


class View(NamedTuple):
    """What of the plane is shown, metres."""

    x: tuple[float, float]
    y: tuple[float, float]

    def joined(self, other: "View") -> "View":
        """The smallest view that holds both."""
        (a, b), (c, d) = ((min(p[0], q[0]), max(p[1], q[1])) for p, q in zip(self, other, strict=True))
        return View((a, b), (c, d))

    def holds(self, other: "View") -> bool:
        """Whether all of another view is in this one."""
        return self.joined(other) == self

    def widened(self, share: float = 0.2) -> "View":
        """The same with room on all sides."""
        x, y = ((low - share * (high - low), high + share * (high - low)) for low, high in self)
        return View(x, y)


def view_of(agents: Iterable[AgentNow]) -> View | None:
    """Agents and what is predicted of them, with a margin; None without an agent."""
    points = [
        p for agent in agents for p in (*agent.trail, agent.position, *(agent.prediction.modes[0].positions if agent.prediction else ()))
    ]
    if not points:
        return None
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    margin = 0.06 * max(float((high - low).max()), 4.0)
    return View((float(low[0]) - margin, float(high[0]) + margin), (float(low[1]) - margin, float(high[1]) + margin))


def scene_map(
    agents: Sequence[AgentNow],
    palette: Palette,
    view: View | None,
    *,
    chosen: str | None,
    scene_id: str,
    beneath: Sequence[Any] = (),
    layers: Layers = ALL,
) -> go.Figure:
    """Agents at one moment.

    Args:
        agents: where they are.
        palette: colours.
        view: what is shown; None: what Plotly chooses.
        chosen: the agent that is highlighted.
        scene_id: zoom and pan stay while it does.
        beneath: traces drawn first.
        layers: what is shown of the agents.
    """
    figure = go.Figure([*beneath, *_traces(agents, palette, chosen, layers)])
    figure.update_xaxes(title_text="x (m)", zeroline=False, showgrid=True, range=None if view is None else list(view.x))
    figure.update_yaxes(title_text="y (m)", zeroline=False, scaleanchor="x", scaleratio=1, range=None if view is None else list(view.y))
    finished(figure, palette, height=HEIGHT)
    figure.update_layout(uirevision=scene_id, dragmode="pan", hoverlabel={"align": "left"})
    return figure


def values(agents: Sequence[AgentNow], palette: Palette, chosen: str | None, layers: Layers = ALL) -> list[dict[str, Any]]:
    """What changes from one moment to the next: x, y, text and customdata of each trace above those beneath."""
    traces = (trace.to_plotly_json() for trace in _traces(agents, palette, chosen, layers))
    return [{name: list(trace[name]) for name in ("x", "y", "text", "customdata") if trace.get(name) is not None} for trace in traces]


def replay(
    moments: Sequence[tuple[float, Sequence[AgentNow]]],
    palette: Palette,
    view: View | None,
    *,
    chosen: str | None,
    scene_id: str,
    origin_s: float,
    beneath: Sequence[Any] = (),
    layers: Layers = ALL,
) -> Played:
    """The same for moments one after another; the one next to `origin_s` is shown first.

    Args:
        moments: seconds of the scene's clock, and the agents then; at least one, evenly spaced.
        palette: colours.
        view: as for `scene_map`.
        chosen: as for `scene_map`.
        scene_id: as for `scene_map`.
        origin_s: times are told from here, seconds of the scene's clock.
        beneath: as for `scene_map`.
        layers: as for `scene_map`.
    """
    start = min(range(len(moments)), key=lambda i: abs(moments[i][0] - origin_s))
    figure = scene_map(moments[start][1], palette, view, chosen=chosen, scene_id=scene_id, beneath=beneath, layers=layers)
    numbers = list(range(len(beneath), len(figure.data)))
    labels = [label(round(at_s - origin_s, 1)) for at_s, _ in moments]
    figure.frames = [
        go.Frame(name=str(i), data=_traces(agents, palette, chosen, layers), traces=numbers) for i, (_, agents) in enumerate(moments)
    ]
    # Of a single moment, or several at once, there is nothing to play; a step of any length will do.
    step_s = (moments[-1][0] - moments[0][0]) / max(1, len(moments) - 1) or 1.0
    return Played(figure, labels, start, step_s, redraw=False)


def _traces(agents: Sequence[AgentNow], palette: Palette, chosen: str | None, layers: Layers) -> list[Any]:
    """Always as many traces, so that a refresh moves what is there instead of drawing anew; what is hidden is empty."""
    agents = layers.of(agents)
    futures = [(agent, mode) for agent in agents if agent.prediction for mode in agent.prediction.modes]
    likeliest = [[a.position, *a.prediction.modes[0].positions] for a in agents if a.prediction]
    others = [[a.position, *mode.positions] for a, mode in futures if a.prediction and mode is not a.prediction.modes[0]]
    mine = [a for a in agents if a.agent_id == chosen]
    colours = (palette.muted, palette.series[0], palette.series[1], palette.series[4])
    traces = [
        _lines("Trail", [a.trail for a in agents], {"color": rgba(palette.muted, 0.7), "width": 1.5}, is_named=layers.trails),
        _lines("Other modes", others, {"color": rgba(palette.series[2], 0.45), "width": 1, "dash": "dot"}, is_named=layers.predictions),
        _lines("Likeliest prediction", likeliest, {"color": palette.series[2], "width": 1.8}, is_named=layers.predictions),
        _lines(
            "Chosen agent",
            [a.prediction.modes[0].positions for a in mine if a.prediction],
            {"color": palette.text, "width": 3},
            is_named=False,
        ),
        go.Scatter(
            x=[a.position[0] for a in mine],
            y=[a.position[1] for a in mine],
            mode="markers+text",
            text=[a.agent_id for a in mine],
            textposition="top center",
            textfont={"color": palette.text, "size": 12},
            marker={"symbol": "circle-open", "size": 22, "color": palette.text, "line": {"width": 2}},
            showlegend=False,
            hoverinfo="skip",
        ),
    ]
    for i, (word, _) in enumerate(BANDS):
        inside = [a for a in agents if band(a.speed_mps) == i]
        traces.append(
            go.Scatter(
                x=[a.position[0] for a in inside],
                y=[a.position[1] for a in inside],
                mode="markers",
                name=word,
                customdata=[[a.agent_id, _told(a)] for a in inside],
                marker={"symbol": SYMBOLS[i], "size": 10, "color": colours[i], "line": {"color": palette.surface, "width": 1}},
                hovertemplate="<b>%{customdata[0]}</b><br>x %{x:.2f} m, y %{y:.2f} m<br>%{customdata[1]}<extra></extra>",
                showlegend=True,
            )
        )
    return traces


def _told(agent: AgentNow) -> str:
    speed = "speed not known" if agent.speed_mps is None else f"{agent.speed_mps:.1f} m/s"
    return speed if agent.prediction is None else f"{speed}, predicted by v{agent.prediction.model_version}"


def _lines(name: str, lines: Sequence[Line], line: dict[str, Any], *, is_named: bool) -> Any:
    """Many lines as one trace, thinned so that it draws no more than `MAX_POINTS`."""
    each = max(2, MAX_POINTS // max(1, len(lines)) - 1)
    x: list[float | None] = []
    y: list[float | None] = []
    for points in lines:
        keep = np.unique(np.linspace(0, len(points) - 1, min(each, len(points))).astype(int)) if points else []
        x += [*(points[k][0] for k in keep), None]
        y += [*(points[k][1] for k in keep), None]
    return go.Scatter(x=x, y=y, mode="lines", name=name, line=line, hoverinfo="skip", showlegend=is_named)
