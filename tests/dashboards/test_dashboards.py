"""The dashboards as files: drift, layout, words, and that they ask for what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import promql_parser
import pytest
import yaml

from syncwatch.report.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parents[2] / "dashboards"
sys.path.insert(0, str(HERE))

from reading import (  # noqa: E402 - found by the path above
    Board,
    Shown,
    put_in,
    read,
    variables_of,
)

FILES = ("syncwatch-overview.json", "syncwatch-itself.json")
BOARDS = {name: read(HERE / name) for name in FILES}
PANELS = [
    pytest.param(board, panel, id=f"{board.uid} {panel.title}")
    for board in BOARDS.values()
    for panel in board.panels
]
ASKING = [one for one in PANELS if one.values[1].kind != "row"]

VALUES = {
    "harbor": ".*",
    "policy": "(to-cluster1|to-cluster2)",
    "destination": r"(cluster1|registry\\.example\\.com)",
    "window": "1h",
    "objective": "0.99",
    "__range": "86400s",
    "__rate_interval": "1m0s",
}
"""One choice of each variable, as Grafana puts it into a query; `__…` are its own."""

UNITS = {"s", "short", "percentunit", "reqps"}
OF_PROMETHEUS = {"up", "scrape_duration_seconds", "scrape_samples_scraped"}
TARGET = {"job", "instance"}
"""Labels that Prometheus gives to all it scrapes."""


def exposed() -> dict[str, set[str]]:
    """The labels of each series' name that syncwatch or Prometheus itself makes."""
    found = dict.fromkeys(OF_PROMETHEUS, TARGET)
    for family in FAMILIES:
        labels = {*family.labels, *TARGET}
        if family.type != "histogram":
            found[family.name] = labels
            continue
        found |= {f"{family.name}_{part}": labels for part in ("sum", "count")}
        found[f"{family.name}_bucket"] = labels | {"le"}
    return found


EXPOSED = exposed()


def expressions() -> Iterator[Any]:
    for board in BOARDS.values():
        for panel in board.panels:
            for query in panel.queries:
                yield pytest.param(query.expr, id=f"{board.uid} {panel.title} {query.ref}")
        for number, expr in enumerate(board.annotations):
            yield pytest.param(expr, id=f"{board.uid} annotation {number}")


def parts(node: Any) -> Iterator[Any]:
    """A parsed expression and all that it is made of."""
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector"):
        inner = getattr(node, name, None)
        if inner is not None:
            yield from parts(inner)
    for inner in getattr(node, "args", ()):
        yield from parts(inner)


def generated(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """The generator, run as people run it."""
    command = [sys.executable, str(HERE / "generate.py"), *arguments]
    return subprocess.run(command, capture_output=True, check=False)


def test_the_committed_dashboards_are_what_the_generator_writes(tmp_path: Path) -> None:
    found = generated("--check")
    assert (found.returncode, found.stderr.decode()) == (0, "")
    found = generated("--check", "--out", str(tmp_path))
    assert (found.returncode, list(tmp_path.iterdir())) == (1, [])
    assert b"syncwatch-itself.json" in found.stderr
    site = ["--docs", "https://docs.example.com/", "--page", "https://sync.example.com"]
    assert generated("--out", str(tmp_path), *site).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    constants = {one["name"]: one["query"] for one in read(tmp_path / FILES[0]).variables[-2:]}
    assert constants == {"page": "https://sync.example.com", "docs": "https://docs.example.com"}


@pytest.mark.parametrize("expr", list(expressions()))
def test_an_expression_asks_for_what_is_exposed_by_labels_that_it_has(expr: str) -> None:
    parsed = promql_parser.parse(put_in(expr, VALUES))
    selectors = [one for one in parts(parsed) if isinstance(one, promql_parser.VectorSelector)]
    assert selectors
    available = set()
    for selector in selectors:
        labels = EXPOSED[selector.name]
        asked = {one.name for one in selector.matchers.matchers}
        assert asked <= labels, (selector.name, asked - labels)
        assert "harbor" in asked or "harbor" not in labels, f"{selector.name} of all Harbors"
        available |= labels
    for one in parts(parsed):
        modifier = getattr(one, "modifier", None)
        if isinstance(one, promql_parser.AggregateExpr) and modifier is not None:
            assert set(modifier.labels) <= available, modifier.labels


@pytest.mark.parametrize(("board", "panel"), ASKING)
def test_a_legend_names_labels_that_its_series_keep(board: Board, panel: Shown) -> None:
    del board
    for query in panel.queries:
        wanted = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
        kept = _kept(promql_parser.parse(put_in(query.expr, VALUES)))
        assert wanted <= kept, (query.legend, kept)
        if panel.kind == "table":
            columns = panel.raw["transformations"][1]["options"]["indexByName"]
            assert kept <= set(columns), kept


def _kept(node: Any) -> set[str]:
    """The labels that the series of an expression may have."""
    match node:
        case promql_parser.AggregateExpr():
            inner = _kept(node.expr)
            if str(node.op).lower() in ("topk", "bottomk"):
                return inner
            return set(node.modifier.labels) & inner if node.modifier else set()
        case promql_parser.VectorSelector():
            return set(EXPOSED[node.name])
        case promql_parser.Call():
            kept = set().union(*(_kept(one) for one in node.args))
            return kept - {"le"} if node.func.name == "histogram_quantile" else kept
        case promql_parser.BinaryExpr():
            return _kept(node.lhs) or _kept(node.rhs)
        case promql_parser.MatrixSelector():
            return _kept(node.vector_selector)
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr():
            return _kept(node.expr)
    return set()


@pytest.mark.parametrize("board", list(BOARDS.values()), ids=FILES)
def test_panels_have_ids_of_their_own_and_a_place_of_their_own(board: Board) -> None:
    ids = Counter(panel.id for panel in board.panels)
    assert {one for one, count in ids.items() if count > 1 or one < 1} == set()
    cells: dict[tuple[int, int], str] = {}
    for panel in board.panels:
        x, y, width, height = panel.at
        assert 0 <= x < x + width <= 24, panel.title
        for cell in ((x + i, y + j) for i in range(width) for j in range(height)):
            assert cell not in cells, f"{panel.title} lies on {cells[cell]}"
            cells[cell] = panel.title
    last = max(y for _, y in cells)
    assert {y for _, y in cells} == set(range(last + 1)), "a gap between rows"
    free = {(x, y) for x in range(24) for y in range(last + 1)} - set(cells)
    assert free == set(), "a hole in the grid"


@pytest.mark.parametrize(("board", "panel"), ASKING)
def test_a_panel_says_what_it_means_and_in_which_unit(board: Board, panel: Shown) -> None:
    del board
    assert len(panel.description) > 40, panel.title
    assert panel.description.endswith(".")
    assert panel.title[0].isupper()
    if panel.kind in ("stat", "timeseries"):
        assert panel.defaults["unit"] in UNITS
    if panel.kind == "stat":
        assert panel.defaults["noValue"]
        assert len(panel.defaults["thresholds"]["steps"]) >= 1
    if panel.kind == "timeseries":
        assert all("{{" in one.legend or one.legend for one in panel.queries)
        assert "__auto" not in [one.legend for one in panel.queries]


def test_what_is_of_clusters_alone_says_so_where_there_is_none() -> None:
    of_clusters = [
        panel
        for board in BOARDS.values()
        for panel in board.panels
        if panel.queries and all(re.search(r"_(probes?|cluster)_", q.expr) for q in panel.queries)
    ]
    assert len(of_clusters) > 5
    assert [one.title for one in of_clusters if not one.defaults.get("noValue")] == []
    # Nor is nothing a bad colour.
    assert {one.kind for one in of_clusters} == {"timeseries", "state-timeline"}


@pytest.mark.parametrize("board", list(BOARDS.values()), ids=FILES)
def test_every_query_asks_the_prometheus_that_is_chosen(board: Board) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in board.panels:
        if panel.kind != "row":
            assert panel.raw["datasource"] == chosen, panel.title
        assert all(query.raw["datasource"] == chosen for query in panel.queries)
    for one in board.raw["annotations"]["list"]:
        assert one["datasource"] == chosen
    for one in board.variables:
        assert one["type"] != "query" or one["datasource"] == chosen
    assert board.raw["uid"] == board.uid
    assert "id" not in board.raw


@pytest.mark.parametrize("board", list(BOARDS.values()), ids=FILES)
def test_variables_are_declared_used_and_may_all_be_chosen(board: Board) -> None:
    declared = {one["name"]: one for one in board.variables}
    own = {name for name in VALUES if name.startswith("__")} | {"__data", "__all"}
    text = (HERE / f"{board.uid}.json").read_text(encoding="utf-8")
    used = variables_of(text) - own
    assert used == set(declared)
    assert next(iter(declared)) == "datasource"
    for one in declared.values():
        if one["type"] == "query":
            assert (one["multi"], one["includeAll"], one["allValue"]) == (True, True, ".*")
            metric, label = re.fullmatch(
                r"label_values\((\w+).*, (\w+)\)", one["definition"]
            ).groups()  # type: ignore[union-attr]
            assert label in EXPOSED[metric]


def test_the_overview_has_the_variables_that_it_promises() -> None:
    names = [one["name"] for one in BOARDS[FILES[0]].variables]
    assert names[:4] == ["datasource", "harbor", "policy", "destination"]


def test_every_metric_is_on_a_dashboard() -> None:
    shown = " ".join(
        [
            query.expr
            for board in BOARDS.values()
            for panel in board.panels
            for query in panel.queries
        ]
        + [expr for board in BOARDS.values() for expr in board.annotations]
        + [one.get("definition", "") for board in BOARDS.values() for one in board.variables]
    )
    assert [family.name for family in FAMILIES if family.name not in shown] == []


def test_links_lead_to_pages_that_are_there() -> None:
    docs = HERE.parent / "docs"
    for board in BOARDS.values():
        urls = [link["url"] for panel in board.panels for link in panel.raw.get("links") or ()]
        urls += [link["url"] for link in board.raw["links"] if link["type"] == "link"]
        for url in urls:
            base, _, rest = url.partition("}/")
            if base == "${docs:raw":
                name, _, anchor = rest.partition("#")
                page = (docs / name).read_text(encoding="utf-8")
                assert not anchor or anchor in _anchors(page), url


def _anchors(page: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def test_the_docs_have_a_line_for_each_row_and_each_variable() -> None:
    page = (HERE.parent / "docs" / "dashboards.md").read_text(encoding="utf-8")
    rows = [panel.title for board in BOARDS.values() for panel in board.panels if not panel.queries]
    assert len(rows) > 10
    assert [title for title in rows if f"| {title} |" not in page] == []
    told = " ".join(line for line in page.splitlines() if line.startswith("| "))
    labels = [
        one["label"] for board in BOARDS.values() for one in board.variables if "label" in one
    ]
    assert [label for label in labels if label not in told] == []
    (provisioning,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    (provider,) = yaml.safe_load(provisioning)["providers"]
    assert provider["options"]["path"]
    assert all(name in page for name in FILES)
