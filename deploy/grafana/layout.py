"""What a dashboard consists of, and how Grafana's own SDK writes it."""

from typing import Literal, NamedTuple

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueColorMode, LegendDisplayMode, LegendPlacement, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    GridPos,
    Threshold,
    ThresholdsMode,
)

SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
WIDTH = 24
# Grafana's words for units.
Unit = Literal["reqps", "s", "percentunit", "short", "bytes", "dtdurations", "none", "ops"]


class Line(NamedTuple):
    """One query, and what its lines are called: a text, with labels in double braces."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """One figure.

    Attributes:
        title: what it shows.
        description: what it means, and what to do about it.
        unit: of all its lines.
        lines: what is drawn.
        steps: where its colour changes: (from which value on, colour); the first from None.
        is_number: one number instead of lines over time.
        width: of 24 columns.
    """

    title: str
    description: str
    unit: Unit
    lines: tuple[Line, ...]
    steps: tuple[tuple[float | None, str], ...] = ()
    is_number: bool = False
    width: int = 8


class Board(NamedTuple):
    """One dashboard: rows of panels, each row with a title."""

    uid: str
    title: str
    description: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


def as_json(board: Board) -> str:
    """A dashboard as Grafana reads it."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["trajops"])
        .readonly()
        .timezone("utc")
        .time("now-1h", "now")
        .refresh("5s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(dashboard.DashboardLink("TrajOps").type("dashboards").tags(["trajops"]).as_dropdown(True))  # type: ignore[arg-type]
    )
    top, number = 0, 1
    for title, panels in board.rows:
        made = made.with_row(dashboard.Row(title).id(number).grid_pos(GridPos(h=1, w=WIDTH, x=0, y=top)))
        top, left, height, number = top + 1, 0, 0, number + 1
        for panel in panels:
            if left + panel.width > WIDTH:
                top, left, height = top + height, 0, 0
            place = GridPos(h=4 if panel.is_number else 8, w=panel.width, x=left, y=top)
            made = made.with_panel(_panel(panel).id(number).grid_pos(place))
            left, height, number = left + panel.width, max(height, place.h), number + 1
        top += height
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel:
    made: stat.Panel | timeseries.Panel
    if panel.is_number:
        made = stat.Panel().color_mode(BigValueColorMode.VALUE)
    else:
        legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
        made = (
            timeseries.Panel()
            .legend(legend)
            .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
            .fill_opacity(8)
            .line_width(2)
        )
    made = made.title(panel.title).description(panel.description).datasource(SOURCE).unit(panel.unit)
    steps = panel.steps or ((None, "blue"),)
    colours = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(value, colour) for value, colour in steps])
    made = made.thresholds(colours)
    for letter, line in zip("ABCDEFGH", panel.lines, strict=False):
        query = prometheus.Dataquery().expr(line.expr).legend_format(line.legend).ref_id(letter).datasource(SOURCE)
        made = made.with_target(query.instant() if panel.is_number else query.range())
    return made
