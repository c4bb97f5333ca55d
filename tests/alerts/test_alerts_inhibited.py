"""The example for Alertmanager, running: who is told, in which messages, and what keeps quiet."""

from __future__ import annotations

import re
import shlex
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from alert_rules import ALERTMANAGER, ALERTS, NAMES, PAGE, run
from running import until
from servers.alertmanager import Alertmanager, Receiver, alertmanager, quick, receiving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.real

SEVERITY = {rule["alert"]: rule["labels"]["severity"] for rule in reversed(ALERTS)}
HARBOR = {"harbor": "main"}
PLACE = {**HARBOR, "destination": "cluster1"}
PAIR = {**PLACE, "policy": "to-cluster1"}

OF_IMAGES = {
    "SyncwatchImagesOverdue", "SyncwatchOldestOpen", "SyncwatchLost", "SyncwatchFalseSuccess",
    "SyncwatchImageFailed", "SyncwatchEvidenceStale", "SyncwatchProbeFailing",
    "SyncwatchBudgetBurnFast", "SyncwatchBudgetBurnSlow",
}  # fmt: skip


def alert(name: str, **labels: str) -> dict[str, str]:
    return {"alertname": name, "severity": SEVERITY[name], **labels}


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Alertmanager, Receiver]]:
    async with (
        receiving() as receiver,
        alertmanager(folder, quick(ALERTMANAGER, receiver)) as manager,
    ):
        yield manager, receiver


async def suppressed(manager: Alertmanager, names: set[str]) -> None:
    """Wait until exactly these are, of all that fire."""

    async def so() -> bool:
        states = await manager.states()
        return {one for one, state in states.items() if state == "suppressed"} == names

    try:
        await until(so, within=10, told=f"{sorted(names)} suppressed")
    except AssertionError as error:
        raise AssertionError(f"{error}; {await manager.states()}") from None


async def test_a_destination_that_is_down_silences_its_images_and_no_others(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as (manager, receiver):
        await manager.post(alert("SyncwatchDestinationUnreachable", **PLACE))
        await receiver.got("SyncwatchDestinationUnreachable")
        here = [alert(name, **PAIR) for name in sorted(OF_IMAGES - {"SyncwatchImageFailed"})]
        failed = alert("SyncwatchImageFailed", **PAIR, reason="execution_failed")
        dead = alert("SyncwatchRuleDead", **PAIR)
        endpoint = alert("SyncwatchFinding", **HARBOR, finding="endpoint_unhealthy")
        stalled = alert("SyncwatchSweepStalled", **HARBOR)
        await manager.post(*here, failed, dead, endpoint, stalled)
        await receiver.got("SyncwatchRuleDead")
        await receiver.got("SyncwatchSweepStalled")
        await suppressed(manager, OF_IMAGES | {"SyncwatchFinding"})
        elsewhere = {**PAIR, "destination": "cluster2"}
        await manager.post(alert("SyncwatchLost", **elsewhere))
        message, _ = await receiver.got("SyncwatchLost")
        assert message.body["groupLabels"] == {"harbor": "main", "destination": "cluster2"}
        at_second = {**PAIR, "harbor": "second"}
        await manager.post(alert("SyncwatchEvidenceStale", **at_second))
        message, _ = await receiver.got("SyncwatchEvidenceStale")
        assert message.body["groupLabels"] == {"harbor": "second", "destination": "cluster1"}
    told = receiver.told("page") | receiver.told("tickets")
    quiet = OF_IMAGES - {"SyncwatchLost", "SyncwatchEvidenceStale"}
    assert told & quiet == set()


async def test_a_harbor_that_is_down_silences_what_follows_from_it(tmp_path: Path) -> None:
    follows = {
        "SyncwatchImagesOverdue", "SyncwatchOldestOpen", "SyncwatchBudgetBurnFast",
        "SyncwatchBudgetBurnSlow", "SyncwatchWebhookSilence", "SyncwatchSweepStalled",
    }  # fmt: skip
    async with running(tmp_path) as (manager, receiver):
        await manager.post(alert("SyncwatchHarborDown", **HARBOR))
        await receiver.got("SyncwatchHarborDown")
        await manager.post(*(alert(name, **PAIR) for name in sorted(follows)))
        await manager.post(alert("SyncwatchLost", **PAIR))
        await receiver.got("SyncwatchLost")
        await suppressed(manager, follows)
    assert not follows & (receiver.told("page") | receiver.told("tickets"))


async def test_a_cluster_that_is_away_silences_its_probes_and_no_images(tmp_path: Path) -> None:
    here, there = {"cluster": "one"}, {"cluster": "two"}
    follows = {"SyncwatchProbeFailing", "SyncwatchProbesWaiting"}
    async with running(tmp_path) as (manager, receiver):
        await manager.post(alert("SyncwatchClusterUnreachable", **here))
        await receiver.got("SyncwatchClusterUnreachable")
        await manager.post(
            alert("SyncwatchProbeFailing", **PLACE, **here),
            alert("SyncwatchProbesWaiting", **here),
            alert("SyncwatchImagesOverdue", **PAIR),
        )
        await receiver.got("SyncwatchImagesOverdue")
        await suppressed(manager, follows)
        elsewhere = {**PLACE, "destination": "cluster2"}
        await manager.post(alert("SyncwatchProbeFailing", **elsewhere, **there))
        message, _ = await receiver.got("SyncwatchProbeFailing")
        assert message.body["groupLabels"] == elsewhere
    assert receiver.told("page") == set()


async def test_a_node_that_cannot_pull_is_said_once(tmp_path: Path) -> None:
    async with running(tmp_path) as (manager, receiver):
        await manager.post(
            alert("SyncwatchProbeFailing", **PLACE, cluster="one"),
            alert("SyncwatchImageFailed", **PAIR, reason="pull_failed"),
        )
        await receiver.got("SyncwatchProbeFailing")
        await suppressed(manager, {"SyncwatchImageFailed"})
        await manager.post(alert("SyncwatchImageFailed", **PAIR, reason="blob_missing"))
        _, other = await receiver.got("SyncwatchImageFailed")
        assert other["labels"]["reason"] == "blob_missing"


async def test_without_syncwatch_only_that_is_told_and_the_watchdog_goes_on(
    tmp_path: Path,
) -> None:
    others = set(NAMES) - {"SyncwatchDown", "SyncwatchWatchdog"}
    async with running(tmp_path) as (manager, receiver):
        await manager.post(alert("SyncwatchDown"))
        await receiver.got("SyncwatchDown")
        await manager.post(*(alert(name, **PAIR) for name in sorted(others)))
        await manager.post(alert("SyncwatchWatchdog"))
        message, _ = await receiver.got("SyncwatchWatchdog")
        assert message.receiver == "dead-man"
        await suppressed(manager, others)
    assert receiver.told("page") == {"SyncwatchDown"}
    assert receiver.told("tickets") == set()


async def test_the_silence_of_the_page_keeps_a_destination_quiet(tmp_path: Path) -> None:
    (line,) = re.findall(r"^amtool silence add .*$", PAGE.read_text(), flags=re.MULTILINE)
    async with running(tmp_path) as (manager, receiver):
        words = shlex.split(line.replace("http://127.0.0.1:9093", manager.url))
        run(words[0], *words[1:])
        elsewhere = {**PAIR, "destination": "cluster2"}
        await manager.post(
            alert("SyncwatchLost", **PAIR), alert("SyncwatchOldestOpen", **elsewhere)
        )
        await receiver.got("SyncwatchOldestOpen")
        await suppressed(manager, {"SyncwatchLost"})


async def test_what_is_said_louder_is_said_once(tmp_path: Path) -> None:
    async with running(tmp_path) as (manager, receiver):
        await manager.post(
            alert("SyncwatchOldestOpen", **PAIR),
            alert("SyncwatchRuleDead", **PAIR),
            alert("SyncwatchBudgetBurnFast", **PLACE),
            alert("SyncwatchImagesOverdue", **PAIR),
            alert("SyncwatchImageFailed", **PAIR, reason="not_started"),
            alert("SyncwatchBudgetBurnSlow", **PLACE),
        )
        message, _ = await receiver.got("SyncwatchOldestOpen")
        assert len(message.alerts("firing")) == 3
        await suppressed(
            manager, {"SyncwatchImagesOverdue", "SyncwatchImageFailed", "SyncwatchBudgetBurnSlow"}
        )
        # Another reason is another matter.
        await manager.post(alert("SyncwatchImageFailed", **PAIR, reason="blob_missing"))
        await receiver.got("SyncwatchImageFailed")
    assert receiver.told("tickets") == {"SyncwatchImageFailed"}
