"""A run of every failure, scraped by Prometheus: each expression, each rule."""

from __future__ import annotations

import asyncio
import json
import math
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from alerts.alert_rules import ALERTS, RECORDS, hurried
from alerts.by_shell import by_shell
from every_failure import (
    CLOSED,
    FAILED,
    GATE,
    NOTIFIED,
    OUTCOMES,
    POLICIES,
    SEVERITIES,
    STATUSES,
    UNKNOWN,
    EveryFailure,
    every_failure,
)
from nodes_that_pull import RESULTS, UNAUTHORIZED, nodes_that_pull, probed
from prometheus_client.parser import text_string_to_metric_families
from servers import needs
from servers.prometheus import Prometheus, prometheus

from syncwatch.report.families import FAMILIES, POLICY_CHANGES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HERE = Path(__file__).resolve().parents[2] / "dashboards"
sys.path.insert(0, str(HERE))

from reading import put_in, read  # noqa: E402 - found by the path above

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

BOARDS = [read(path) for path in sorted(HERE.glob("*.json"))]
CHOICES = {
    "everything": {"harbor": ".*", "policy": ".*", "destination": ".*"},
    "some": {
        "harbor": "(main)",
        "policy": "(apps-to-cluster1|apps-to-cluster2)",
        "destination": "cluster1",
    },
}
OTHERS = {"window": "1m", "objective": "0.99", "__rate_interval": "5s"}

MAY_BE_EMPTY: dict[str, str] = {}
"""Queries without an answer after a run that went wrong in every way, and why: none."""

FIRED = {
    "SyncwatchImagesOverdue", "SyncwatchLost", "SyncwatchFalseSuccess", "SyncwatchImageFailed",
    "SyncwatchRuleDead", "SyncwatchDestinationUnreachable", "SyncwatchBudgetBurnFast",
    "SyncwatchBudgetBurnSlow", "SyncwatchProbeFailing", "SyncwatchClusterUnreachable",
    "SyncwatchWatchdog",
}  # fmt: skip
"""Alerts that such a run sets off."""

MORE_THAN_NOTHING = {
    "Owed now", "Overdue", "Oldest owed", "Failed", "Cannot tell", "Destinations silent",
    "False successes", "Lost", "Processes", "Series",
}  # fmt: skip
"""Figures that are above 0 after such a run."""


@dataclass(frozen=True)
class Scraped:
    """A run that is over, and the Prometheus that saw it since `start` (Unix seconds)."""

    run: EveryFailure
    server: Prometheus
    start: float
    end: float

    def values(self, choice: str) -> dict[str, str]:
        """The variables of a dashboard that shows the whole run."""
        shown = f"{math.ceil(self.end - self.start)}s"
        return {**CHOICES[choice], **OTHERS, "__range": shown}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scraped(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scraped]:
    folder, start = tmp_path_factory.mktemp("dashboards"), time.time()
    # What counts over an hour counts over more than the run: it still does when it is asked for.
    rules = [hurried(folder, window="10m")]
    async with (
        every_failure(folder) as run,
        nodes_that_pull(folder, run),
        prometheus(folder, run.target, rules=rules) as server,
    ):
        await run.happen()
        await probed(run)
        # One scrape that began after everything had happened.
        await server.scraped(f"timestamp(up) > {time.time()}")
        yield Scraped(run, server, start, time.time())


async def test_the_run_shows_each_state_reason_outcome_and_change(scraped: Scraped) -> None:
    families = list(text_string_to_metric_families(await scraped.run.watched.metrics_text()))
    found = {
        (sample.name, name, value)
        for family in families
        for sample in family.samples
        for name, value in sample.labels.items()
        if sample.value > 0
    }
    states = ("pending", "verified", "failed", "unknown", "closed")
    wanted = {
        ("syncwatch_expectations", "reason"): FAILED | UNKNOWN | CLOSED,
        ("syncwatch_expectations", "state"): states,
        ("syncwatch_webhooks_total", "outcome"): OUTCOMES,
        ("syncwatch_findings", "severity"): SEVERITIES,
        ("syncwatch_executions_total", "status"): STATUSES,
        ("syncwatch_expectations_settled_total", "result"): ("met", "missed", "excused"),
        ("syncwatch_policy_changes_total", "change"): POLICY_CHANGES,
        ("syncwatch_events_recovered_total", "source"): ("feed", "sweep"),
        ("syncwatch_gate_answers_total", "status"): [str(one) for one in GATE],
        ("syncwatch_notifications_total", "outcome"): NOTIFIED,
        ("syncwatch_policy_info", "policy"): POLICIES,
        ("syncwatch_probes_total", "result"): RESULTS,
        ("syncwatch_milestone_seconds_count", "milestone"): ("notified", "claimed", "pulled"),
        ("syncwatch_false_success_total", "destination"): ("cluster1", "mirror"),
        ("syncwatch_lost_total", "destination"): ("cluster2",),
    }
    every = {(name, label, value) for (name, label), ones in wanted.items() for value in ones}
    assert every - found == set()
    exposed = {sample.name for family in families for sample in family.samples}
    names = {f"{one.name}_bucket" if one.type == "histogram" else one.name for one in FAMILIES}
    assert names - exposed == set()
    # What is paused is neither late nor missed, however broken it is.
    assert ("syncwatch_expectations_overdue", "destination", "cluster5") not in found
    assert ("syncwatch_destination_up", "destination", "cluster3") not in found


async def empty(scraped: Scraped, choice: str) -> dict[str, str]:
    """Queries that had not one number over the time shown, with what was asked; none is refused."""
    values, found = scraped.values(choice), {}
    for board in BOARDS:
        asked = [(panel.title, q.ref, q.expr) for panel in board.panels for q in panel.queries]
        asked += [("annotation", str(n), expr) for n, expr in enumerate(board.annotations)]
        for title, ref, expr in asked:
            text = put_in(expr, values)
            series = await scraped.server.query_range(text, scraped.start, scraped.end)
            if not any(math.isfinite(value) for _, points in series for _, value in points):
                found[f"{board.uid}: {title} {ref}"] = text
    return found


async def test_every_expression_has_an_answer(scraped: Scraped) -> None:
    nothing = await empty(scraped, "everything")
    assert {name: text for name, text in nothing.items() if name not in MAY_BE_EMPTY} == {}
    assert set(MAY_BE_EMPTY) <= set(nothing), "these are not empty any more"


async def test_no_expression_is_refused_when_some_of_all_are_chosen(scraped: Scraped) -> None:
    nothing = await empty(scraped, "some")
    assert len(nothing) < 10, nothing
    assert not [name for name in nothing if "In time" in name]


async def test_figures_are_above_0_where_something_is_wrong(scraped: Scraped) -> None:
    values, seen = scraped.values("everything"), set()
    for board in BOARDS:
        for panel in board.panels:
            if panel.kind == "stat" and panel.title in MORE_THAN_NOTHING:
                expr = put_in(panel.queries[0].expr, values)
                ((_, value),) = await scraped.server.query(expr)
                assert value > 0, panel.title
                seen.add(panel.title)
    assert seen == MORE_THAN_NOTHING


async def test_the_dashboards_are_drawn_for_people_to_look_at(
    scraped: Scraped, tmp_path: Path
) -> None:
    minutes = (time.time() - scraped.start) / 60
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "preview.py"),
        *("--prometheus", scraped.server.url, "--chromium", needs("chromium")),
        *("--minutes", str(minutes), "--window", "1m", "--rate", "5s", "--out", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, said.decode()
    for board in BOARDS:
        page = (tmp_path / f"{board.uid}.html").read_text(encoding="utf-8")
        assert page.count("<section") == len(board.panels)
        assert "No data" not in page
        (table,) = re.findall(r"<h2>Findings.*?</table>", page, re.DOTALL)
        severities = re.findall(r"<tr><td[^>]*>([^<]+)<", table)
        assert severities
        assert severities == sorted(severities, key=("error", "warning", "info").index)
        picture = (tmp_path / f"{board.uid}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert int.from_bytes(picture[16:20]) > 1000


async def test_prometheus_evaluates_every_rule_and_has_a_sample_of_each_record(
    scraped: Scraped,
) -> None:
    rules = await scraped.server.rules()
    assert len(rules) == len(ALERTS) + len(RECORDS)
    assert {one["name"]: one.get("lastError") for one in rules if one["health"] != "ok"} == {}
    names = [one["record"] for one in RECORDS]
    assert [name for name in names if not await scraped.server.query(name)] == []


async def test_the_alerts_of_what_went_wrong_have_fired_and_none_of_what_is_paused(
    scraped: Scraped,
) -> None:
    told = await scraped.server.query_range(
        'ALERTS{alertstate="firing"}', scraped.start, scraped.end
    )
    fired = {(labels["alertname"], labels.get("destination", "")) for labels, _ in told}
    assert {name for name, _ in fired} >= FIRED
    assert [one for one in fired if one[1] == "cluster5"] == []


async def test_the_texts_of_alerts_are_whole_and_their_commands_list_images(
    scraped: Scraped,
) -> None:
    asked, probes, status = set(), set(), await scraped.run.watched.status()
    present = {one["policy"] for one in status["policies"]}
    for alert in await scraped.server.alerts():
        name, texts = alert["labels"]["alertname"], alert["annotations"]
        assert not [text for text in texts.values() if "error" in text and "expanding" in text]
        # What came late meanwhile is no longer overdue; a policy that is gone owes nothing.
        lists = texts["command"].startswith("syncwatch list") and "Budget" not in name
        if lists and alert["labels"]["policy"] in present:
            asked.add(texts["command"])
        if name == "SyncwatchProbeFailing":
            probes.add(texts["command"])
    for command in sorted(asked):
        told = await by_shell(scraped.run.watched, command)
        assert "Why: syncwatch explain " in told, f"{command}\n{told}"
    assert asked
    for command in probes:
        told = await by_shell(scraped.run.watched, command)
        items = [one for line in told.splitlines() for one in json.loads(line)["items"]]
        assert {one["destination"] for one in items} == {"cluster2"}
        assert UNAUTHORIZED in items[0]["message"]
    assert probes
