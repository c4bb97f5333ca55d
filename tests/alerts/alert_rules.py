"""The rule file as data, what its expressions mean by their labels, and promtool."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml
from servers import needs

from syncwatch.report.families import BY_NAME

TOP = Path(__file__).parents[2]
RULES = TOP / "deploy/prometheus/syncwatch.rules.yml"
ALERTMANAGER = TOP / "deploy/alertmanager/alertmanager.example.yml"
PROMETHEUS = TOP / "deploy/prometheus/prometheus.example.yml"
UNITS = sorted((TOP / "tests/alerts/units").glob("*.yml"))
PAGE = TOP / "docs/alerts.md"

TARGET = {"job", "instance"}
"""Labels that Prometheus adds to what it scrapes."""

OF_ALERTS = {"alertname", "alertstate", "severity", "harbor", "destination"}
"""Labels of the series in which Prometheus keeps what fires, as far as rules read it."""

GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
RECORDS = [rule for group in GROUPS for rule in group["rules"] if "record" in rule]
ALERTS = [rule for group in GROUPS for rule in group["rules"] if "alert" in rule]
NAMES = list(dict.fromkeys(rule["alert"] for rule in ALERTS))


def run(program: str, *arguments: str | Path) -> str:
    """What a program says; it has to end well."""
    told = subprocess.run(
        [needs(program), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def hurried(folder: Path, *, window: str = "15s", hold: str = "2s") -> Path:
    """A copy of the rules for tests with real servers, who have no hour.

    `for:` is at most `hold`, nothing is kept firing, what is counted over an hour in order to
    alert (lost, false success) is counted over `window`, and the groups that have an interval of
    their own lose it. Expressions and texts are the file's.
    """
    text = RULES.read_text()
    text = re.sub(r"\b(for: )(?!0s)\S+", rf"\g<1>{hold}", text)
    text = re.sub(r"^ +(keep_firing_for|interval): .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=_total)\[1h\](?=\)\n)", f"[{window}]", text)
    text = text.replace("[1d] offset 1h", f"[1h] offset {window}")
    path = folder / "hurried.rules.yml"
    path.write_text(text)
    return path


class Labels:
    """The labels that an expression's result may have, and a failure where it names others."""

    def __init__(self) -> None:
        self._recorded: dict[str, set[str]] = {}
        for rule in RECORDS:
            self._recorded[rule["record"]] = self.of(rule["expr"])

    def of(self, expression: str) -> set[str]:
        return self._of(promql.parse(expression))

    def _of(self, node: Any) -> set[str]:
        if isinstance(node, promql.VectorSelector):
            return self._selected(node)
        if isinstance(node, promql.MatrixSelector):
            return self._selected(node.vector_selector)
        if isinstance(node, promql.ParenExpr | promql.SubqueryExpr | promql.UnaryExpr):
            return self._of(node.expr)
        if isinstance(node, promql.AggregateExpr):
            return self._aggregated(node)
        if isinstance(node, promql.BinaryExpr):
            return self._combined(node)
        if isinstance(node, promql.Call):
            found = [self._of(one) for one in node.args]
            return (
                set() if node.func.name in ("scalar", "absent", "vector") else set().union(*found)
            )
        assert isinstance(node, promql.NumberLiteral | promql.StringLiteral), type(node)
        return set()

    def _selected(self, node: Any) -> set[str]:
        if node.name in self._recorded:
            known = self._recorded[node.name]
        elif node.name == "up":
            known = TARGET
        elif node.name == "ALERTS":
            known = OF_ALERTS
        else:
            known = {*BY_NAME[node.name].labels, *TARGET}
        named = {one.name for one in node.matchers.matchers}
        assert named <= known, f"{node.name} has no {named - known}"
        return known

    def _aggregated(self, node: Any) -> set[str]:
        inside = self._of(node.expr)
        assert node.modifier is not None, node.prettify()
        assert node.modifier.type == promql.AggModifierType.By, "the target's labels would stay"
        named = set(node.modifier.labels)
        assert named <= inside, f"{node.prettify()}: no {named - inside}"
        return named

    def _combined(self, node: Any) -> set[str]:
        left, right = self._of(node.lhs), self._of(node.rhs)
        if isinstance(node.lhs, promql.Call) and node.lhs.func.name == "time":
            return right
        matching = node.modifier and node.modifier.matching
        if matching:
            assert set(matching.labels) <= left & right, node.prettify()
        elif left and right:
            assert left == right, f"{node.prettify()}: {left ^ right} on one side only"
        return left
