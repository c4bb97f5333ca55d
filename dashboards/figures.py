"""How the preview writes values and picks colours, close to how Grafana does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COLORS = {
    "green": "#73bf69",
    "yellow": "#f2cc0c",
    "orange": "#ff9830",
    "red": "#f2495c",
    "dark-red": "#c4162a",
    "light-orange": "#ffb357",
    "blue": "#5794f2",
    "purple": "#b877d9",
    "text": "#ccccdc",
}
PALETTE = (
    "#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#a352cc",
    "#37872d", "#fade2a", "#447ebc", "#c15c17",
)  # fmt: skip
"""For series without a colour of their own, in their order."""

_LENGTHS = ((86400 * 7, "week"), (86400, "d"), (3600, "h"), (60, "min"))


def written(value: float, unit: str, decimals: int | None = None) -> str:
    """A value with its unit, in three digits or as many decimals as are wanted."""
    if math.isnan(value):
        return "-"
    if unit == "percentunit":
        return f"{_plain(value * 100, 1 if decimals is None else decimals)}%"
    if unit == "s":
        return _length(value)
    size, suffix = next(
        ((s, t) for s, t in ((1e9, " Bil"), (1e6, " Mil"), (1e3, " K")) if abs(value) >= s),
        (1.0, ""),
    )
    text = _plain(value / size, decimals) + suffix
    return f"{text} req/s" if unit == "reqps" else text


def color_at(value: float, steps: Sequence[Mapping[str, Any]]) -> str:
    """The colour of the last threshold that the value reaches."""
    reached = [one for one in steps if one.get("value") is None or value >= one["value"]]
    return COLORS[reached[-1]["color"]] if reached else COLORS["text"]


def ticks(most: float, wanted: int = 4) -> list[float]:
    """Round values from 0 up to at least `most`."""
    if most <= 0:
        return [0.0, 1.0]
    rough = most / wanted
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * one for one in (1, 2, 2.5, 5, 10) if size * one >= rough * 0.999)
    return [step * number for number in range(math.ceil(most / step * 0.999) + 1)]


def _length(seconds: float) -> str:
    for size, name in _LENGTHS:
        if abs(seconds) >= size:
            return f"{_plain(seconds / size)} {name}"
    if 0 < abs(seconds) < 1:
        return f"{_plain(seconds * 1000)} ms"
    return f"{_plain(seconds)} s"


def _plain(value: float, decimals: int | None = None) -> str:
    if decimals is None:
        digits = len(str(int(abs(value))))
        decimals = max(0, 3 - digits) if value != round(value) else 0
        text = f"{value:.{decimals}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals and value == round(value) else text
