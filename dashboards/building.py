"""Panels and rows of the dashboards, each with what it means and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from grafana_foundation_sdk.builders import (
    common as common_builders,
)
from grafana_foundation_sdk.builders import (
    dashboard as build,
)
from grafana_foundation_sdk.builders import (
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import prometheus as asking

from queries import DATASOURCE, SEVERITIES, ranked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH = 24
"""Columns of Grafana's grid."""

DOCS = "${docs:raw}"

GREEN, YELLOW, ORANGE, RED = "green", "yellow", "orange", "red"
BLUE, PURPLE, GREY = "blue", "purple", "text"
DARK_RED, LIGHT_ORANGE = "dark-red", "light-orange"
COLORS = {
    "state": {"verified": GREEN, "pending": BLUE, "failed": RED, "unknown": PURPLE, "closed": GREY},
    "result": {
        "met": GREEN,
        "missed": RED,
        "excused": GREY,
        "pulled": GREEN,
        "missing": RED,
        "corrupt": DARK_RED,
        "unauthorized": ORANGE,
        "unreachable": YELLOW,
        "wrong_platform": LIGHT_ORANGE,
        "inconclusive": PURPLE,
    },
    "code": {
        "200": GREEN,
        "206": BLUE,
        "304": GREY,
        "404": YELLOW,
        "401": PURPLE,
        "403": PURPLE,
        "429": ORANGE,
        "500": RED,
        "502": RED,
        "503": RED,
        "error": RED,
    },
    "status": {
        "Succeed": GREEN,
        "Failed": RED,
        "Stopped": ORANGE,
        "200": GREEN,
        "404": GREY,
        "409": BLUE,
        "422": RED,
        "503": PURPLE,
    },
    "outcome": {
        "accepted": GREEN,
        "duplicate": BLUE,
        "ignored": GREY,
        "unauthorized": RED,
        "malformed": ORANGE,
        "too_large": YELLOW,
        "not_durable": PURPLE,
        "delivered": GREEN,
        "failed": ORANGE,
        "gave_up": RED,
        "dropped": PURPLE,
    },
}
"""The colour of a label's value, the same everywhere. What is unknown is neither green nor red."""

Panel = stat.Panel | timeseries.Panel | table.Panel | statetimeline.Panel
P = TypeVar("P", stat.Panel, timeseries.Panel, table.Panel, statetimeline.Panel)


@dataclass(frozen=True)
class Query:
    """An expression and how its series are called; a table's has a column instead."""

    expr: str
    legend: str = ""
    unit: str = ""
    """A table's column: its own unit."""
    colors: tuple[tuple[float | None, str], ...] = ()


@dataclass(frozen=True)
class Row:
    """A question, and the panels that answer it: lines of (panel, width) that fill the grid."""

    title: str
    height: int
    panels: Sequence[tuple[Panel, int]]


def datasource() -> common.DataSourceRef:
    """The Prometheus that is chosen above."""
    return common.DataSourceRef(type_val="prometheus", uid=f"${{{DATASOURCE}}}")


def number(
    title: str,
    description: str,
    expr: str,
    unit: str = "short",
    *,
    colors: Sequence[tuple[float | None, str]] = ((None, GREY),),
    legend: str = "",
    nothing: str = "0",
    decimals: int | None = None,
    docs: str = "",
) -> stat.Panel:
    """One number, coloured by thresholds; `nothing` stands where there is no sample."""
    panel = (
        stat.Panel()
        .unit(unit)
        .no_value(nothing)
        .thresholds(_thresholds(colors))
        .color_scheme(build.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .text_mode(common.BigValueTextMode.NAME if legend else common.BigValueTextMode.VALUE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_target(Query(expr, legend), 0, instant=True))
    )
    if decimals is not None:
        panel = panel.decimals(decimals)
    return _told(panel, title, description, docs)


def lines(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    stacked: bool = False,
    limits: Sequence[tuple[float | None, str]] = (),
    most: float | None = None,
    nothing: str = "",
    docs: str = "",
) -> timeseries.Panel:
    """Series over time; `stacked` are areas whose sum means something. `limits` are drawn."""
    panel = (
        timeseries.Panel()
        .unit(unit)
        .min(0)
        .line_width(1 if stacked else 2)
        .fill_opacity(35 if stacked else 5)
        .show_points(common.VisibilityMode.AUTO)
        .span_nulls(False)
        .legend(_legend())
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
    )
    if stacked:
        normal = common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A")
        panel = panel.stacking(normal).line_interpolation(common.LineInterpolation.STEP_AFTER)
    if limits:
        dashed = common_builders.GraphThresholdsStyleConfig().mode(
            common.GraphThresholdsStyleMode.DASHED
        )
        panel = panel.thresholds(_thresholds(limits)).thresholds_style(dashed)
    if most is not None:
        panel = panel.max(most)
    if nothing:
        panel = panel.no_value(nothing)
    for place, query in enumerate(queries):
        panel = panel.with_target(_target(query, place))
        words = COLORS.get(query.legend.strip("{}"), {})
        for word in words:
            panel = panel.override_by_name(word, [_fixed(words[word])])
    return _told(panel, title, description, docs)


def switches(
    title: str,
    description: str,
    *queries: Query,
    words: Mapping[str, tuple[str, str]],
    nothing: str = "",
    docs: str = "",
) -> statetimeline.Panel:
    """What was on and off, and when; `words` are (text, colour) by value."""
    mapped = {
        value: dashboard.ValueMappingResult(text=text, color=color, index=place)
        for place, (value, (text, color)) in enumerate(words.items())
    }
    panel = (
        statetimeline.Panel()
        .mappings([dashboard.ValueMap(options=mapped)])
        .color_scheme(build.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .thresholds(_thresholds([(None, GREY)]))
        .merge_values(True)
        .show_value(common.VisibilityMode.AUTO)
        .row_height(0.8)
        .fill_opacity(80)
        .legend(common_builders.VizLegendOptions().show_legend(False))
    )
    if nothing:
        panel = panel.no_value(nothing)
    for place, query in enumerate(queries):
        panel = panel.with_target(_target(query, place))
    return _told(panel, title, description, docs)


def rows(
    title: str,
    description: str,
    labels: Sequence[str],
    *columns: Query,
    first: str,
    down: bool = True,
    link: str = "",
    docs: str = "",
) -> table.Panel:
    """A table by `labels`: one column a query, called as its legend; sorted by column `first`."""
    names = {f"Value #{_letter(place)}": one.legend for place, one in enumerate(columns)}
    names = {"Value": columns[0].legend} if len(columns) == 1 else names
    order = {name: place for place, name in enumerate((*labels, *names))}
    organize = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": names}
    panel = (
        table.Panel()
        .no_value("-")
        .with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=organize))
        .sort_by([common_builders.TableSortByFieldState().display_name(first).desc(down)])
        .cell_height(common.TableCellHeight.SM)
    )
    for place, column in enumerate(columns):
        panel = panel.with_target(_target(column, place, instant=True, as_table=True))
        panel = panel.override_by_name(column.legend, _column(column))
    if "severity" in labels:
        panel = panel.override_by_name("severity", _severities())
    if link:
        told = {"title": "What it owes, on syncwatch's page", "url": link, "targetBlank": True}
        links = dashboard.DynamicConfigValue(id_val="links", value=[told])
        panel = panel.override_by_name(labels[0], [links])
    return _told(panel, title, description, docs)


def place(rows: Sequence[Row], board: build.Dashboard) -> build.Dashboard:
    """Put the rows below each other. A panel's id follows from its row and its place in it."""
    y = 0
    for number, row in enumerate(rows, 1):
        head = build.Row(row.title).id(number * 100)
        board = board.with_row(head.grid_pos(dashboard.GridPos(h=1, w=WIDTH, x=0, y=y)))
        x, y = 0, y + 1
        for position, (panel, width) in enumerate(row.panels, 1):
            if x + width > WIDTH:
                x, y = 0, y + row.height
            at = dashboard.GridPos(h=row.height, w=width, x=x, y=y)
            board = board.with_panel(panel.id(number * 100 + position).grid_pos(at))
            x += width
        y += row.height
    return board


def _told(panel: P, title: str, description: str, docs: str) -> P:
    """What every panel has."""
    panel = panel.title(title).description(description).datasource(datasource())
    if docs:
        link = build.DashboardLink("What this means").type(dashboard.DashboardLinkType.LINK)
        panel = panel.links([link.url(f"{DOCS}/{docs}").target_blank(True)])
    return panel


def _target(
    query: Query, place: int, *, instant: bool = False, as_table: bool = False
) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(_letter(place)).datasource(datasource())
    target = target.expr(query.expr).editor_mode(asking.QueryEditorMode.CODE)
    if as_table:
        return target.instant().format(asking.PromQueryFormat.TABLE)
    target = target.legend_format(query.legend or "__auto")
    return target.instant() if instant else target.range()


def _column(query: Query) -> list[dashboard.DynamicConfigValue]:
    """How a table shows one of its values."""
    told = [dashboard.DynamicConfigValue(id_val="noValue", value="-")]
    if query.unit:
        told.append(dashboard.DynamicConfigValue(id_val="unit", value=query.unit))
    if query.colors:
        steps = [{"value": value, "color": color} for value, color in query.colors]
        told += [
            dashboard.DynamicConfigValue(
                id_val="thresholds", value={"mode": "absolute", "steps": steps}
            ),
            dashboard.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}),
        ]
    return told


def _severities() -> list[dashboard.DynamicConfigValue]:
    """A severity in its colour, without the number that it is sorted by."""
    options = {
        ranked(word): {"text": word, "color": color, "index": place}
        for place, (word, color) in enumerate(zip(SEVERITIES, (RED, ORANGE, BLUE), strict=True))
    }
    return [
        dashboard.DynamicConfigValue(
            id_val="mappings", value=[{"type": "value", "options": options}]
        ),
        dashboard.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}),
    ]


def _thresholds(steps: Sequence[tuple[float | None, str]]) -> build.ThresholdsConfig:
    told = [dashboard.Threshold(value=value, color=color) for value, color in steps]
    return build.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(told)


def _legend() -> common_builders.VizLegendOptions:
    return (
        common_builders.VizLegendOptions()
        .show_legend(True)
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .calcs(["lastNotNull", "max"])
    )


def _fixed(color: str) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue(
        id_val="color", value={"mode": "fixed", "fixedColor": color}
    )


def _letter(place: int) -> str:
    return chr(ord("A") + place)
