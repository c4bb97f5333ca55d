"""A dashboard's file for those who check or draw it, and variables put in as Grafana does."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::(\w+))?\}|(\w+))")


@dataclass(frozen=True)
class Asked:
    """One query of a panel."""

    ref: str
    expr: str
    legend: str
    instant: bool
    raw: Mapping[str, Any]


@dataclass(frozen=True)
class Shown:
    """One panel: where it is on the grid, what it asks, and all that Grafana is told of it."""

    id: int
    kind: str
    title: str
    description: str
    at: tuple[int, int, int, int]
    """x, y, width, height."""
    queries: tuple[Asked, ...]
    raw: Mapping[str, Any]

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Unit, thresholds and so on of all its fields."""
        found: Mapping[str, Any] = self.raw.get("fieldConfig", {}).get("defaults", {})
        return found

    def override(self, name: str) -> dict[str, Any]:
        """What is said of one of its fields alone."""
        return {
            one["id"]: one.get("value")
            for override in self.raw.get("fieldConfig", {}).get("overrides", [])
            if override["matcher"].get("options") == name
            for one in override["properties"]
        }


@dataclass(frozen=True)
class Board:
    """A dashboard."""

    uid: str
    title: str
    panels: tuple[Shown, ...]
    variables: tuple[Mapping[str, Any], ...]
    annotations: tuple[str, ...]
    """The expressions."""
    raw: Mapping[str, Any]


def read(path: Path) -> Board:
    """A dashboard from its file."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    return Board(
        raw["uid"],
        raw["title"],
        tuple(_panel(one) for one in raw["panels"]),
        tuple(raw["templating"]["list"]),
        tuple(one["expr"] for one in raw["annotations"]["list"]),
        raw,
    )


def put_in(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables' values. Raises KeyError for a variable that has none."""
    return _VARIABLE.sub(lambda found: values[found[1] or found[3]], text)


def variables_of(text: str) -> set[str]:
    """The variables that a text uses."""
    return {found[1] or found[3] for found in _VARIABLE.finditer(text)}


def _panel(raw: Mapping[str, Any]) -> Shown:
    at = raw["gridPos"]
    queries = tuple(
        Asked(one["refId"], one["expr"], one.get("legendFormat", ""), one["instant"], one)
        for one in raw.get("targets", ())
    )
    return Shown(
        raw["id"],
        raw["type"],
        raw["title"],
        raw.get("description", ""),
        (at["x"], at["y"], at["w"], at["h"]),
        queries,
        raw,
    )
