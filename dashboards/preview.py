"""Draw the dashboards from a Prometheus, to look at them without a Grafana. It is not Grafana.

    python dashboards/preview.py --prometheus http://127.0.0.1:9090 --minutes 60 --out FOLDER

Writes NAME.html and NAME.png for each dashboard; Chromium takes the picture (--chromium PATH).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import urlopen

from playwright.sync_api import sync_playwright

from drawing import Frame, Series, drawn, named
from reading import Board, put_in, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reading import Asked, Shown

HERE = Path(__file__).resolve().parent
COLUMN, LINE, GAP = 60, 30, 8
"""Pixels: a column and a line of the grid, and what lies between panels."""
STEPS = 180
"""Points in time, at most, that are asked for."""

STYLE = """
* { box-sizing: border-box }
body { margin: 0; background: #111217; color: #ccccdc; font: 12px Inter, "DejaVu Sans", sans-serif }
header { padding: 10px 12px 0; height: 62px } h1 { font-size: 17px; margin: 0 0 4px }
header span { color: #8e8e99; margin-right: 14px } header b { font-weight: 500; color: #ccccdc }
main { position: relative }
section { position: absolute; background: #181b1f; border: 1px solid #2c3035; border-radius: 3px;
  padding: 6px 10px; overflow: hidden }
section.row { background: none; border: 0; font-size: 15px; padding: 6px 2px }
h2 { font-size: 12.5px; font-weight: 500; margin: 0 0 4px; white-space: nowrap }
.stat { display: flex; flex-direction: column; justify-content: center; align-items: center;
  height: calc(100% - 20px); font-size: 27px; font-weight: 500; text-align: center }
.nothing { display: flex; justify-content: center; align-items: center; color: #8e8e99;
  height: calc(100% - 20px); font-size: 15px }
table { border-collapse: collapse; width: 100% } th { text-align: left; color: #6e9fff;
  font-weight: 500; padding: 2px 6px } td { padding: 2px 6px; border-top: 1px solid #24272c }
.legend { font-size: 11px } .legend td, .legend th { padding: 0 4px; border: 0; line-height: 17px }
.legend td + td, .legend th + th { text-align: right; width: 64px; white-space: nowrap }
.legend td:first-child { white-space: nowrap; max-width: 0; overflow: hidden }
i { display: inline-block; width: 12px; height: 4px; border-radius: 2px; margin: 0 6px 2px 0 }
svg { display: block } text { fill: #9fa7b3; font-size: 10.5px }
"""


@dataclass(frozen=True)
class Source:
    """A Prometheus, the time shown in Unix seconds, and what the variables are."""

    url: str
    start: float
    end: float
    values: Mapping[str, str]

    def series(self, query: Asked) -> Iterator[Series]:
        """What a query finds."""
        step = max((self.end - self.start) / STEPS, 1.0)
        expr = put_in(query.expr, self.values)
        if query.instant:
            told = self._ask("query", query=expr, time=self.end)
        else:
            told = self._ask("query_range", query=expr, start=self.start, end=self.end, step=step)
        for one in told["result"]:
            points = one["values"] if "values" in one else [one["value"]]
            numbers = [(float(at), float(value)) for at, value in points]
            labels = one["metric"]
            yield Series(named(query.legend, labels), labels, numbers, query.ref)

    def _ask(self, path: str, **query: Any) -> Any:
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(query)}", timeout=30) as answer:  # noqa: S310 - http, from the command line
            return json.load(answer)["data"]


def page(board: Board, source: Source) -> str:
    """A dashboard as HTML, each panel at its place on the grid."""
    parts = [_panel(panel, source) for panel in board.panels]
    bottom = max(panel.at[1] + panel.at[3] for panel in board.panels)
    shown = "".join(
        f"<span>{escape(name)} <b>{escape('All' if value == '.*' else value)}</b></span>"
        for name, value in source.values.items()
        if not name.startswith("__") and f"${name}" in json.dumps(board.raw["panels"])
    )
    note = "drawn by dashboards/preview.py from a Prometheus; it is not Grafana"
    return (
        f"<!doctype html><meta charset=utf-8><title>{escape(board.title)}</title>"
        f"<style>{STYLE}</style><body style='width:{24 * COLUMN + GAP}px'>"
        f"<header><h1>{escape(board.title)}</h1>{shown}<span>({note})</span></header>"
        f"<main style='height:{bottom * (LINE + GAP)}px'>{''.join(parts)}</main>"
    )


def _panel(panel: Shown, source: Source) -> str:
    x, y, width, height = panel.at
    wide, high = width * COLUMN - GAP, height * (LINE + GAP) - GAP
    at = f"left:{x * COLUMN + GAP}px;top:{y * (LINE + GAP)}px;width:{wide}px;height:{high}px"
    title = escape(re.sub(r"\$(\w+)", lambda found: source.values.get(found[1], ""), panel.title))
    if panel.kind == "row":
        return f'<section class=row style="{at}">{title}</section>'
    found = [one for query in panel.queries for one in source.series(query)]
    inside = drawn(panel, found, Frame(wide - 22, high - 36, source.start, source.end))
    return f'<section style="{at}"><h2>{title}</h2>{inside}</section>'


def picture(files: list[tuple[Path, Path]], chromium: str) -> None:
    """Have Chromium draw each page (HTML, PNG) as high as it is."""
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-lcd-text"]
        )
        shown = browser.new_page(viewport={"width": 24 * COLUMN + GAP, "height": 800})
        for html, png in files:
            shown.goto(html.as_uri())
            shown.screenshot(path=str(png), full_page=True)
        browser.close()


def main() -> int:
    """Draw all of them."""
    parser = argparse.ArgumentParser(description="Draw the dashboards from a Prometheus.")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090")
    parser.add_argument("--minutes", type=float, default=60.0, help="the time shown, up to now")
    parser.add_argument("--window", default="5m", help="what counts are taken over")
    parser.add_argument("--rate", default="1m", help="what rates are taken over")
    parser.add_argument("--out", type=Path, default=Path.cwd())
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="empty: HTML only")
    given = parser.parse_args()
    end = time.time()
    values = {
        "harbor": ".*",
        "policy": ".*",
        "destination": ".*",
        "window": given.window,
        "objective": "0.99",
        "__range": f"{round(given.minutes * 60)}s",
        "__rate_interval": given.rate,
    }
    source = Source(given.prometheus.rstrip("/"), end - given.minutes * 60, end, values)
    files = []
    for path in sorted(HERE.glob("syncwatch-*.json")):
        html = (given.out / f"{path.stem}.html").resolve()
        html.write_text(page(read(path), source), encoding="utf-8")
        files.append((html, html.with_suffix(".png")))
    if given.chromium:
        picture(files, given.chromium)
    return 0


if __name__ == "__main__":
    sys.exit(main())
