"""Write the Grafana dashboards: `python dashboards/generate.py`.

`--check` writes nothing and fails when a file is not what would be written. `--page` and `--docs`
are the addresses that links lead to, `--out` is a folder for the files.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

import causes
import itself
import promise
from building import Row, datasource, place
from queries import DATASOURCE

HERE = Path(__file__).resolve().parent
SITE = "https://syncwatch.example.com"
TAG = "syncwatch"
POLICY_CHANGES = (
    'sum by (harbor, change) (increase(syncwatch_policy_changes_total{harbor=~"$harbor"}[2m])) > 0'
)


def dashboards(page: str = SITE, docs: str = f"{SITE}/docs") -> dict[str, str]:
    """The JSON of each dashboard, by its file's name."""
    told = {
        "syncwatch-overview": ("Are images where they should be?", _overview()),
        "syncwatch-itself": ("Does syncwatch itself run well?", itself.all_rows()),
    }
    found = {}
    for uid, (description, rows) in told.items():
        title = f"syncwatch / {uid.partition('-')[2]}"
        board = _board(title, uid, description, page, docs, objective=uid.endswith("overview"))
        found[f"{uid}.json"] = _json(place(rows, board).build())
    return found


def _overview() -> list[Row]:
    first = [promise.now_row(), promise.objective_row(), promise.time_row()]
    return [*first, causes.owed_row(), causes.truth_row(), causes.told_row(), causes.each_row()]


def _board(
    title: str, uid: str, description: str, page: str, docs: str, *, objective: bool
) -> build.Dashboard:
    """A dashboard without panels."""
    board = (
        build.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .editable()
        .time("now-24h" if objective else "now-3h", "now")
        .timezone("browser")
        .refresh("1m")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .annotation(_policy_changes())
        .with_variable(_datasource())
        .with_variable(_labels("harbor", "syncwatch_harbor_up"))
    )
    if objective:
        board = board.with_variable(_labels("policy", "syncwatch_policy_info", 'harbor=~"$harbor"'))
    board = board.with_variable(
        _labels("destination", "syncwatch_evidence_oldest_seconds", 'harbor=~"$harbor"')
    )
    board = board.with_variable(_window())
    if objective:
        board = board.with_variable(_objective())
    board = board.with_variable(_constant("page", page)).with_variable(_constant("docs", docs))
    return _links(board)


def _datasource() -> build.DatasourceVariable:
    return build.DatasourceVariable(DATASOURCE).label("Prometheus").type("prometheus")


def _labels(name: str, metric: str, chosen: str = "") -> build.QueryVariable:
    """A label's values, any of them or all; "all" is every value, those that come later too."""
    query = (
        f"label_values({metric}{{{chosen}}}, {name})"
        if chosen
        else f"label_values({metric}, {name})"
    )
    return (
        build.QueryVariable(name)
        .label(name.capitalize())
        .datasource(datasource())
        .query({"query": query, "refId": f"variable-{name}"})
        .definition(query)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _window() -> build.CustomVariable:
    """Over how long counts and quantiles are taken."""
    return _choice("window", "Window", ("5m", "15m", "1h", "6h", "1d"), "1h")


def _objective() -> build.CustomVariable:
    """The share of images that is promised to be in time; as in the alerts."""
    return _choice("objective", "Objective", ("0.9", "0.95", "0.99", "0.995", "0.999"), "0.99")


def _choice(name: str, label: str, values: tuple[str, ...], chosen: str) -> build.CustomVariable:
    options = [
        dashboard.VariableOption(selected=one == chosen, text=one, value=one) for one in values
    ]
    return (
        build.CustomVariable(name)
        .label(label)
        .values(",".join(values))
        .options(options)
        .current(dashboard.VariableOption(selected=True, text=chosen, value=chosen))
    )


def _constant(name: str, value: str) -> build.ConstantVariable:
    return build.ConstantVariable(name).value(value)


def _policy_changes() -> build.AnnotationQuery:
    return (
        build.AnnotationQuery()
        .name("Policy changes")
        .datasource(datasource())
        .enable(True)
        .icon_color("purple")
        .expr(POLICY_CHANGES)
        .step("2m")
        .title_format("A replication policy was {{change}}")
        .tag_keys("harbor,change")
    )


def _links(board: build.Dashboard) -> build.Dashboard:
    """To the other dashboard, to the page with the images, to the docs."""
    others = build.DashboardLink("Dashboards").type(dashboard.DashboardLinkType.DASHBOARDS)
    board = board.link(others.tags([TAG]).include_vars(True).keep_time(True).as_dropdown(False))
    for title, url, icon in (
        ("The images", "${page:raw}/", "external link"),
        ("How to read this", "${docs:raw}/dashboards.md", "doc"),
    ):
        link = build.DashboardLink(title).type(dashboard.DashboardLinkType.LINK)
        board = board.link(link.url(url).icon(icon).target_blank(True))
    return board


def _json(board: dashboard.Dashboard) -> str:
    """One form only, so that a change shows as what it is."""
    told = _plain(json.loads(JSONEncoder().encode(board)))
    return json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _plain(told: Any) -> Any:
    """Without what the SDK says of every link and annotation: that it belongs into a menu."""
    if isinstance(told, list):
        return [_plain(one) for one in told]
    if isinstance(told, dict):
        return {
            name: _plain(one)
            for name, one in told.items()
            if (name, one) != ("placement", "inControlsMenu")
        }
    return told


def main() -> int:
    """0 when the files are as they should be, else 1."""
    parser = argparse.ArgumentParser(description="Write the Grafana dashboards.")
    parser.add_argument("--check", action="store_true", help="only say whether files differ")
    parser.add_argument("--page", default=SITE, help="where syncwatch's page is")
    parser.add_argument("--docs", default=f"{SITE}/docs", help="where these docs are")
    parser.add_argument("--out", type=Path, default=HERE, help="the folder to write to")
    given = parser.parse_args()
    stale = []
    for name, text in dashboards(given.page.rstrip("/"), given.docs.rstrip("/")).items():
        path = given.out / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not given.check:
            path.write_text(text, encoding="utf-8")
    if given.check and stale:
        sys.stderr.write(f"not as generated: {', '.join(stale)}; run dashboards/generate.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
