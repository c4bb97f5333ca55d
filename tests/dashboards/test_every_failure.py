"""What the run of every failure leaves behind is what it promises to those who count on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    every_failure,
)
from prometheus_client.parser import text_string_to_metric_families

from syncwatch.report.families import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_run_of_every_failure_shows_each_state_reason_outcome_and_change(
    tmp_path: Path,
) -> None:
    async with every_failure(tmp_path) as run:
        await run.happen()
        families = list(text_string_to_metric_families(await run.watched.metrics_text()))
    found = {
        (sample.name, name, value)
        for family in families
        for sample in family.samples
        for name, value in sample.labels.items()
        if sample.value > 0
    }
    wanted = {("syncwatch_expectations", "reason", one) for one in FAILED | UNKNOWN | CLOSED}
    states = ("pending", "verified", "failed", "unknown", "closed")
    wanted |= {("syncwatch_expectations", "state", one) for one in states}
    wanted |= {("syncwatch_webhooks_total", "outcome", one) for one in OUTCOMES}
    wanted |= {("syncwatch_findings", "severity", one) for one in SEVERITIES}
    wanted |= {("syncwatch_executions_total", "status", one) for one in STATUSES}
    results = ("met", "missed", "excused")
    wanted |= {("syncwatch_expectations_settled_total", "result", one) for one in results}
    changes = ("created", "edited", "renamed", "enabled", "disabled", "deleted")
    wanted |= {("syncwatch_policy_changes_total", "change", one) for one in changes}
    wanted |= {("syncwatch_events_recovered_total", "source", one) for one in ("feed", "sweep")}
    wanted |= {("syncwatch_gate_answers_total", "status", str(one)) for one in GATE}
    wanted |= {("syncwatch_notifications_total", "outcome", one) for one in NOTIFIED}
    wanted |= {("syncwatch_policy_info", "policy", one) for one in POLICIES}
    wanted |= {("syncwatch_false_success_total", "destination", "cluster1")}
    wanted |= {("syncwatch_lost_total", "destination", "cluster2")}
    assert wanted - found == set()
    exposed = {sample.name for family in families for sample in family.samples}
    names = {f"{one.name}_bucket" if one.type == "histogram" else one.name for one in FAMILIES}
    assert names - exposed == set()
    # What is paused is neither late nor missed, however broken it is.
    late = ("syncwatch_expectations_overdue", "destination", "cluster5")
    assert late not in found
    assert ("syncwatch_destination_up", "destination", "cluster3") not in found
