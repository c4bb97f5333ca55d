"""From a push to a node's word: the real daemon, a lab Harbor and registry, an API that plays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probed_scene import probed, probes
from running import until
from servers.kubernetes_api import (
    KubernetesApi,
    hangs,
    nobody_takes_it,
    refuses,
)

if TYPE_CHECKING:
    from pathlib import Path

UNAUTHORIZED = "pulling from host registry failed with status code [manifests v1]: 401 Unauthorized"


async def test_an_image_is_verified_once_a_node_has_pulled_it(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api) as story,
        story.watched() as watched,
    ):
        digest = story.push("1.0")
        row = await watched.row(reference="1.0", state="verified")

        assert row["level"] == row["required_level"] == "pulled"
        assert row["pulled_at"] is not None
        assert row["message"].endswith("Node node-1 pulled it.")
        host = story.registry.url.removeprefix("http://")
        assert api.images == [f"{host}/apps/web@{digest}"]
        one = await watched.one(row["id"])
        assert [line["what"] for line in one["timeline"] if line["what"].startswith("probe")] == [
            "probe",
            "probe/pulled",
        ]
        assert await probes(watched, destination="cluster1", result="pulled") == 1
        assert await probes(watched, result="missing") == 0
        milestone = await watched.metric("syncwatch_milestone_seconds_count", milestone="pulled")
        assert milestone == 1
        assert await watched.metric("syncwatch_cluster_up", cluster="cluster1") == 1

        async def gone() -> bool:
            return not api.pods

        await until(gone)


async def test_a_refused_pull_fails_what_the_registry_serves(tmp_path: Path) -> None:
    async with (
        KubernetesApi(refuses(UNAUTHORIZED)).serving() as api,
        probed(tmp_path, api) as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        row = await watched.row(reference="1.0", state="failed")

        assert row["reason"] == "pull_failed"
        assert row["level"] == "readable"
        assert row["message"].endswith("401 Unauthorized")
        assert await watched.metric("syncwatch_lost_total") == 0


async def test_a_refused_pull_leaves_verified_what_need_not_be_pulled(tmp_path: Path) -> None:
    async with (
        KubernetesApi(refuses(UNAUTHORIZED)).serving() as api,
        probed(tmp_path, api, level="readable") as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        await watched.row(reference="1.0", state="verified")

        async def counted() -> bool:
            return await probes(watched, result="unauthorized") == 1

        await until(counted)
        (row,) = await watched.expectations()
        assert (row["state"], row["pulled_at"]) == ("verified", None)

        async def told() -> bool:
            timeline = (await watched.one(row["id"]))["timeline"]
            return "probe/unauthorized" in [line["what"] for line in timeline]

        await until(told)


async def test_a_pull_that_hangs_proves_nothing(tmp_path: Path) -> None:
    async with (
        KubernetesApi(hangs).serving() as api,
        probed(tmp_path, api, timeout="500ms") as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        row = await watched.row(reference="1.0", state="unknown")

        assert row["reason"] == "probe_inconclusive"
        assert "said nothing more" in row["message"]

        async def gone() -> bool:
            return not api.pods

        await until(gone)


async def test_a_pod_that_no_node_takes_is_told_with_the_schedulers_words(tmp_path: Path) -> None:
    async with (
        KubernetesApi(nobody_takes_it).serving() as api,
        probed(tmp_path, api, timeout="500ms") as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        row = await watched.row(reference="1.0", reason="probe_inconclusive")
        assert row["message"].endswith("0/1 nodes are available: 1 too many pods.")


async def test_an_image_that_is_not_there_is_never_asked_of_a_node(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api) as story,
        story.watched() as watched,
    ):
        story.stop_starting()
        story.push("1.0")
        await watched.row(reference="1.0", reason="not_started", within=30)

        assert api.made == []
