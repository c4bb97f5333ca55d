"""Every expression of the dashboards, asked of a Prometheus that scraped a run of every failure."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from every_failure import every_failure
from servers.prometheus import prometheus

if TYPE_CHECKING:
    from servers.prometheus import Prometheus

HERE = Path(__file__).resolve().parents[2] / "dashboards"
sys.path.insert(0, str(HERE))

from reading import put_in, read  # noqa: E402 - found by the path above

pytestmark = pytest.mark.real

BOARDS = [read(path) for path in sorted(HERE.glob("*.json"))]
EVERYTHING = {"harbor": ".*", "policy": ".*", "destination": ".*"}
SOME = {
    "harbor": "(main)",
    "policy": "(apps-to-cluster1|apps-to-cluster2)",
    "destination": "cluster1",
}
OTHERS = {"window": "1m", "objective": "0.99", "__rate_interval": "5s"}

MAY_BE_EMPTY: dict[str, str] = {}
"""Panels that have nothing to show after a run that went wrong in every way, and why: none."""

MORE_THAN_NOTHING = {
    "Owed now", "Overdue", "Oldest owed", "Failed", "Cannot tell", "Destinations silent",
    "False successes", "Lost", "Processes", "Series",
}  # fmt: skip
"""Figures that are above 0 after such a run."""


async def empty(server: Prometheus, start: float, choice: dict[str, str]) -> dict[str, str]:
    """Queries that had not one number over the time shown, with what was asked; none is refused."""
    end = time.time()
    values = {**choice, **OTHERS, "__range": f"{math.ceil(end - start)}s"}
    found = {}
    for board in BOARDS:
        asked = [(panel.title, q.ref, q.expr) for panel in board.panels for q in panel.queries]
        asked += [("annotation", str(n), expr) for n, expr in enumerate(board.annotations)]
        for title, ref, expr in asked:
            text = put_in(expr, values)
            series = await server.query_range(text, start, end)
            if not any(math.isfinite(value) for _, points in series for _, value in points):
                found[f"{board.uid}: {title} {ref}"] = text
    return found


async def test_every_expression_has_an_answer_after_a_run_with_every_failure(
    tmp_path: Path,
) -> None:
    start = time.time()
    async with every_failure(tmp_path) as run, prometheus(tmp_path, run.target) as server:
        await run.happen(longer=3)
        nothing = await empty(server, start, EVERYTHING)
        assert {name: text for name, text in nothing.items() if name not in MAY_BE_EMPTY} == {}
        assert set(MAY_BE_EMPTY) <= set(nothing), "these are not empty any more"
        await empty(server, start, SOME)
        values = {**EVERYTHING, **OTHERS, "__range": f"{math.ceil(time.time() - start)}s"}
        for board in BOARDS:
            for panel in board.panels:
                if panel.kind == "stat" and panel.title in MORE_THAN_NOTHING:
                    ((_, value),) = await server.query(put_in(panel.queries[0].expr, values))
                    assert value > 0, panel.title
