"""Panels as HTML and SVG for the preview. It is not Grafana, only near enough to be looked at."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from figures import COLORS, PALETTE, color_at, ticks, written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reading import Shown

SHOWN = 6
"""Rows of a legend that fit below a graph."""


@dataclass
class Series:
    """What one series of an answer is called, and its points in time."""

    name: str
    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]
    ref: str = "A"
    color: str = ""
    base: dict[float, float] = field(default_factory=dict)
    """What lies below it, when stacked."""

    @property
    def last(self) -> float:
        """Its last number."""
        numbers = [value for _, value in self.points if math.isfinite(value)]
        return numbers[-1] if numbers else math.nan

    @property
    def most(self) -> float:
        """Its greatest number."""
        numbers = [value for _, value in self.points if math.isfinite(value)]
        return max(numbers) if numbers else math.nan


@dataclass(frozen=True)
class Frame:
    """The size of a panel's inside in pixels, and the time shown."""

    width: int
    height: int
    start: float
    end: float


def named(legend: str, labels: Mapping[str, str]) -> str:
    """A series' name by its query's legend."""
    if legend in ("", "__auto"):
        return "value"
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), legend)


def drawn(panel: Shown, found: Sequence[Series], frame: Frame) -> str:
    """The inside of a panel."""
    if not any(math.isfinite(value) for one in found for _, value in one.points):
        nothing = panel.defaults.get("noValue", "No data")
        return f'<div class="nothing">{escape(nothing)}</div>'
    match panel.kind:
        case "stat":
            return _stat(panel, found)
        case "table":
            return _table(panel, found)
        case "state-timeline":
            return _switches(panel, found, frame)
    return _graph(panel, found, frame)


def _stat(panel: Shown, found: Sequence[Series]) -> str:
    steps = panel.defaults["thresholds"]["steps"]
    told = []
    for one in found:
        by_name = panel.raw["options"]["textMode"] == "name"
        unit, decimals = panel.defaults["unit"], panel.defaults.get("decimals")
        text = one.name if by_name else written(one.last, unit, decimals)
        told.append(f'<div style="color:{color_at(one.last, steps)}">{escape(text)}</div>')
    return f'<div class="stat">{"".join(told)}</div>'


def _table(panel: Shown, found: Sequence[Series]) -> str:
    """Answers of several queries side by side, as the merge of Grafana does it."""
    options = panel.raw["transformations"][1]["options"]
    names = options["renameByName"]
    order = sorted(options["indexByName"], key=options["indexByName"].__getitem__)
    labels = [name for name in order if name not in names]
    by_ref = {ref.rpartition("#")[2]: name for ref, name in names.items()}
    by_ref = {"A": by_ref["Value"]} if "Value" in by_ref else by_ref
    lines: dict[tuple[str, ...], dict[str, float]] = {}
    for one in found:
        key = tuple(one.labels.get(label, "") for label in labels)
        lines.setdefault(key, {})[by_ref[one.ref]] = one.last
    sort = panel.raw["options"]["sortBy"][0]
    column, down = sort["displayName"], sort.get("desc", False)
    if column in labels:
        place = labels.index(column)
        rows = sorted(lines.items(), key=lambda row: row[0][place], reverse=down)
    else:
        rows = sorted(lines.items(), key=lambda row: _number(row[1].get(column)), reverse=down)
    head = "".join(f"<th>{escape(name)}</th>" for name in (*labels, *by_ref.values()))
    body = "".join(
        "<tr>"
        + "".join(_word_cell(panel, *one) for one in zip(labels, key, strict=True))
        + "".join(_cell(panel, name, values.get(name)) for name in by_ref.values())
        + "</tr>"
        for key, values in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _number(value: float | None) -> float:
    return -1.0 if value is None or math.isnan(value) else value


def _word_cell(panel: Shown, label: str, text: str) -> str:
    mappings = panel.override(label).get("mappings") or [{"options": {}}]
    shown = mappings[0]["options"].get(text, {})
    color = shown.get("color", "text")
    return f'<td style="color:{COLORS[color]}">{escape(shown.get("text", text))}</td>'


def _cell(panel: Shown, name: str, value: float | None) -> str:
    if value is None or math.isnan(value):
        return "<td>-</td>"
    told = panel.override(name)
    steps = told.get("thresholds", {}).get("steps", ())
    text = escape(written(value, told.get("unit", "short")))
    return f'<td style="color:{color_at(value, steps)}">{text}</td>'


def _switches(panel: Shown, found: Sequence[Series], frame: Frame) -> str:
    words = panel.defaults["mappings"][0]["options"]
    left, bottom = 110, 18
    height = (frame.height - bottom) / len(found)
    parts = []
    for place, one in enumerate(found):
        y = place * height
        parts.append(_text(left - 6, y + height / 2 + 4, one.name, "end"))
        for at, until, value in _stretches(one, frame.end):
            word: dict[str, Any] = words.get(f"{value:g}", {"text": f"{value:g}", "color": "text"})
            x, x2 = _x(frame, at, left), _x(frame, min(until, frame.end), left)
            parts.append(
                f'<rect x="{x:.1f}" y="{y + 3:.1f}" width="{max(x2 - x, 0.5) + 0.3:.1f}"'
                f' height="{height - 6:.1f}" fill="{COLORS[word["color"]]}" opacity=".75"/>'
            )
        parts.append(_word(one, words, _x(frame, one.points[-1][0], left), y + height / 2 + 4))
    return _svg(frame, "".join(parts) + _times(frame, left, frame.height - 4))


def _stretches(one: Series, end: float) -> list[tuple[float, float, float]]:
    """(from, to, value) of equal values that follow each other."""
    found: list[tuple[float, float, float]] = []
    nexts = [at for at, _ in one.points[1:]] + [end]
    for (at, value), until in zip(one.points, nexts, strict=True):
        if found and found[-1][2] == value:
            found[-1] = (found[-1][0], until, value)
        else:
            found.append((at, until, value))
    return found


def _word(one: Series, words: Mapping[str, Mapping[str, str]], x: float, y: float) -> str:
    """What the last of a row's values is called, inside of its bar."""
    text = words.get(f"{one.last:g}", {}).get("text", "")
    at = f'x="{x - 6:.0f}" y="{y:.0f}" text-anchor="end" style="fill:#111217"'
    return f"<text {at}>{escape(text)}</text>"


def _graph(panel: Shown, found: Sequence[Series], frame: Frame) -> str:
    """Lines or stacked areas over time, and a legend with the last and the greatest value."""
    custom = panel.defaults["custom"]
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    for place, one in enumerate(found):
        fixed = panel.override(one.name).get("color", {}).get("fixedColor")
        one.color = COLORS[fixed] if fixed else PALETTE[place % len(PALETTE)]
    top = _stack(found) if stacked else max(one.most for one in found if one.points)
    legend = _legend(found, panel.defaults["unit"])
    low = min(len(found), SHOWN) * 17 + 24
    inside = Frame(frame.width, frame.height - low, frame.start, frame.end)
    steps = panel.defaults.get("thresholds", {}).get("steps", ())
    limits = [one for one in steps if one.get("value") is not None]
    drawn_limits = limits if custom.get("thresholdsStyle") else []
    top = max([top, *(one["value"] * 1.05 for one in drawn_limits)])
    axis = ticks(min(top, panel.defaults.get("max", top)))
    parts = [_axis(inside, axis, panel.defaults["unit"])]
    for one in drawn_limits:
        y = _y(inside, one["value"], axis[-1])
        parts.append(
            f'<line x1="58" x2="{inside.width}" y1="{y:.1f}" y2="{y:.1f}"'
            f' stroke="{COLORS[one["color"]]}" stroke-dasharray="6 4"/>'
        )
    parts += [_line(inside, one, axis[-1], stacked=stacked) for one in found]
    return _svg(inside, "".join(parts)) + legend


def _stack(found: Sequence[Series]) -> float:
    """Lay each series on those before it; the height of all of them."""
    heap: dict[float, float] = {}
    for one in found:
        one.base = {at: heap.get(at, 0.0) for at, _ in one.points}
        for at, value in one.points:
            heap[at] = heap.get(at, 0.0) + (value if math.isfinite(value) else 0.0)
    return max(heap.values(), default=0.0)


def _line(frame: Frame, one: Series, top: float, *, stacked: bool) -> str:
    points = [(at, value) for at, value in one.points if math.isfinite(value)]
    if not points:
        return ""
    if not stacked:
        return "".join(_stroke(frame, part, top, one.color) for part in _unbroken(points))
    upper = _steps([(_x(frame, at), _y(frame, one.base[at] + v, top)) for at, v in points])
    lower = _steps([(_x(frame, at), _y(frame, one.base[at], top)) for at, _ in points])
    area = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*upper, *reversed(lower)])
    edge = " ".join(f"{x:.1f},{y:.1f}" for x, y in upper)
    return (
        f'<polygon points="{area}" fill="{one.color}" opacity=".35"/>'
        f'<polyline points="{edge}" fill="none" stroke="{one.color}"/>'
    )


def _unbroken(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Points that follow each other without a gap: nothing was there in between."""
    pauses = [later[0] - earlier[0] for earlier, later in pairwise(points)]
    step = min(pauses, default=0.0)
    parts = [[points[0]]]
    for pause, point in zip(pauses, points[1:], strict=True):
        if pause > 1.5 * step:
            parts.append([])
        parts[-1].append(point)
    return parts


def _stroke(frame: Frame, points: Sequence[tuple[float, float]], top: float, color: str) -> str:
    way = " ".join(f"{_x(frame, at):.1f},{_y(frame, value, top):.1f}" for at, value in points)
    if len(points) == 1:
        x, y = way.split(",")
        return f'<circle cx="{x}" cy="{y}" r="2.5" fill="{color}"/>'
    return f'<polyline points="{way}" fill="none" stroke="{color}" stroke-width="1.6"/>'


def _steps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each value stands until the next."""
    found = [points[0]]
    for x, y in points[1:]:
        found += [(x, found[-1][1]), (x, y)]
    return found


def _axis(frame: Frame, axis: Sequence[float], unit: str) -> str:
    parts = []
    for value in axis:
        y = _y(frame, value, axis[-1])
        line = f'<line x1="58" x2="{frame.width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#2c3035"/>'
        parts.append(line + _text(52, y + 4, written(value, unit), "end"))
    return "".join(parts) + _times(frame, 58, frame.height - 3)


def _times(frame: Frame, left: int, y: float) -> str:
    parts = []
    for part in (0.1, 0.37, 0.63, 0.9):
        at = frame.start + (frame.end - frame.start) * part
        text = datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")
        parts.append(_text(_x(frame, at, left), y, text, "middle"))
    return "".join(parts)


def _legend(found: Sequence[Series], unit: str) -> str:
    rows = [
        f'<tr><td><i style="background:{one.color}"></i>{escape(one.name)}</td>'
        f"<td>{written(one.last, unit)}</td><td>{written(one.most, unit)}</td></tr>"
        for one in found[: SHOWN if len(found) <= SHOWN else SHOWN - 1]
    ]
    if len(found) > SHOWN:
        rows.append(f'<tr><td colspan="3">and {len(found) - SHOWN + 1} more</td></tr>')
    return (
        '<table class="legend"><tr><th>Name</th><th>Last</th><th>Max</th></tr>'
        f"{''.join(rows)}</table>"
    )


def _x(frame: Frame, at: float, left: int = 58) -> float:
    return left + (frame.width - left) * (at - frame.start) / (frame.end - frame.start)


def _y(frame: Frame, value: float, top: float) -> float:
    return (frame.height - 20) - (frame.height - 28) * min(value, top) / top


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(frame: Frame, inside: str) -> str:
    return f'<svg width="{frame.width}" height="{frame.height}">{inside}</svg>'
