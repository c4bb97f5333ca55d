"""On a real Kubernetes (Debian's 1.20): what its kubelet says is judged right, and nothing is left.

Each begins on a node that holds no image. Some rows of the table run with all tests, all of them by
`make kubernetes`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from real_bench import Bench, Row, said
from real_cluster import (
    MARKS,
    NAMESPACE,
    empty,
    named,
    nothing_left,
    program,
    pull,
    registry,
    running_programs,
    started,
    watching,
)
from real_rows import ROWS
from running import until
from servers.docker_registry import PASSWORD, USER
from servers.kubernetes.node import deaf_program
from servers.prometheus import prometheus

from syncwatch.lab import images
from syncwatch.lab.registry import Fault, LabRegistry
from syncwatch.model import ProbeMode, Pulling

if TYPE_CHECKING:
    from pathlib import Path

    from servers.kubernetes.cluster import Kubernetes

pytestmark = MARKS


def rows() -> list[object]:
    """All rows in both modes."""
    found = []
    for row in ROWS:
        for mode in (ProbeMode.PULL, ProbeMode.START):
            marks = [] if row.often else [pytest.mark.kubernetes_rows]
            found.append(pytest.param(row, mode, id=f"{row.name}-{mode}", marks=marks))
    return found


@pytest.mark.parametrize(("row", "mode"), rows())
async def test_row(cluster: Kubernetes, tmp_path: Path, row: Row, mode: ProbeMode) -> None:
    async with contextlib.AsyncExitStack() as ending:
        await empty(cluster)
        case = await row.make(bench := Bench(cluster, tmp_path, mode, ending))
        if row.judged(mode)[0] is Pulling.UNAUTHORIZED:
            # Else it is believed at the kubelet's second try, which is twelve seconds away.
            case.how.setdefault("within", 3)
        told = await bench.pull(case.image, **case.how)

        assert told.said == row.judged(mode), told.judged
        case.after(told)
        if told.judged.result is not Pulling.PULLED:
            assert row.words in told.judged.message
        elif mode is ProbeMode.START:
            await is_started(cluster, case.image)
        if told.judged.node:
            assert told.judged.node == cluster.node.name
        assert mode is ProbeMode.START or not told.ran


async def is_started(cluster: Kubernetes, image: str) -> None:
    """Wait until the node's record has it, which is a moment behind."""

    async def recorded() -> bool:
        return image in await started(cluster)

    await until(recorded, 10, f"{image} among what was started")


async def test_what_is_only_pulled_never_runs(cluster: Kubernetes, tmp_path: Path) -> None:
    """After all rows: of what was not to run, nothing was ever started on the node."""
    async with registry(tmp_path, cluster) as one:
        digest = await one.push("app", "1", program(cluster, "never run"))
        told = await pull(cluster, tmp_path, named(one.host, "app", digest))
        assert told.judged.result is Pulling.PULLED, told.judged
        assert not told.ran

        # It would be seen: this one is to run.
        digest = await one.push("app", "2", program(cluster, "to run"))
        image = named(one.host, "app", digest)
        told = await pull(cluster, tmp_path, image, mode=ProbeMode.START, until_it_runs=True)
        assert told.ran
        await is_started(cluster, image)

    assert set(await started(cluster)) <= cluster.to_run
    await empty(cluster)
    assert await running_programs(cluster) == []


async def test_a_hang_holds_up_the_node_until_it_ends(cluster: Kubernetes, tmp_path: Path) -> None:
    async with LabRegistry().serving() as hanging, registry(tmp_path, cluster) as one:
        hanging.fault(Fault.HANG)
        image = named(hanging.host, "app", "sha256:" + "2" * 64)
        digest = await one.push("app", "1", images.image("behind a hang"))
        assert (await pull(cluster, tmp_path, image, within=1)).said == said("hung")

        behind = await pull(cluster, tmp_path, named(one.host, "app", digest), within=1)
        assert behind.said == said("hung")

        await hanging.stop()
        told = await pull(cluster, tmp_path, named(one.host, "app", digest), within=60)
        assert told.judged.result is Pulling.PULLED, told.judged


@pytest.mark.kubernetes_rows
async def test_a_secret_that_the_kubelet_gets_a_moment_late_is_no_refusal(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    async with registry(tmp_path, cluster, htpasswd=True) as one:
        digest = await one.push("app", "1", program(cluster, "a late secret"))
        name = f"late-{one.host.rpartition(':')[2]}"
        path = f"/api/v1/namespaces/{NAMESPACE}/events"

        async def secret_after_the_first_try() -> None:
            async def refused() -> bool:
                _, listed = await asyncio.to_thread(cluster.request, "GET", path)
                failed = [each for each in listed["items"] if each["reason"] == "Failed"]
                return any(digest in each["message"] for each in failed)

            await until(refused, 30)
            args = (NAMESPACE, name, one.host, USER, PASSWORD)
            await asyncio.to_thread(cluster.pull_secret, *args)

        image = named(one.host, "app", digest)
        told, _ = await asyncio.gather(
            pull(cluster, tmp_path, image, pull_secrets=(name,), within=60),
            secret_after_the_first_try(),
        )
        assert told.judged.result is Pulling.PULLED, told.judged


@pytest.mark.kubernetes_rows
@pytest.mark.parametrize("grace", [2, 0])
async def test_28_a_program_that_no_signal_ends_is_ended(
    cluster: Kubernetes, tmp_path: Path, grace: int
) -> None:
    async with registry(tmp_path, cluster) as one:
        digest = await one.push("app", "1", program(cluster, f"deaf {grace}", body=deaf_program()))
        image = named(one.host, "app", digest)
        how = {"mode": ProbeMode.START, "until_it_runs": True, "grace": grace}
        told = await pull(cluster, tmp_path, image, **how)
        assert told.ran
        # With a grace a busy kubelet of 1.20 takes its time; seen: 3 to 70 s.
        await nothing_left(cluster, within=1 if grace == 0 else 120)
        await empty(cluster)


@pytest.mark.kubernetes_rows
async def test_29_a_pod_that_waits_to_try_again_is_gone_at_once(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    async with registry(tmp_path, cluster) as one:
        await one.push("app", "1", images.image("there"))
        told = await pull(cluster, tmp_path, named(one.host, "app", "sha256:" + "0" * 64))
        assert told.judged.result is Pulling.MISSING, told.judged
        await nothing_left(cluster, within=1)


async def test_from_a_push_to_the_kubelets_pull_with_lag_by_milestone_in_prometheus(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    async with (
        registry(tmp_path, cluster) as one,
        watching(tmp_path, cluster, one) as (harbor, watched),
        prometheus(tmp_path, watched.daemon.url.removeprefix("http://")) as queried,
    ):
        digest = harbor.push("apps/web", "1.0", images.image("from end to end"))
        row = await watched.row(reference="1.0", state="verified", within=60)

        assert (row["digest"], row["level"]) == (digest, "pulled")
        assert row["notified_at"] <= row["pulled_at"]
        await nothing_left(cluster)

        async def shown() -> bool:
            found = await queried.query("syncwatch_milestone_seconds_count")
            return {labels["milestone"] for labels, _ in found} >= {"notified", "pulled"}

        await until(shown, 30, "the milestones in Prometheus")
        ((_, count),) = await queried.query('syncwatch_probes_total{result="pulled"}')
        assert count == 1


async def test_a_chart_that_is_pushed_is_verified_without_any_pod(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    async with (
        registry(tmp_path, cluster) as one,
        watching(tmp_path, cluster, one) as (harbor, watched),
    ):
        harbor.push("apps/chart", "1.0", images.chart("app", "1.0.0"))
        row = await watched.row(reference="1.0", state="verified", within=60)

        assert row["level"] == "readable"
        assert await watched.metric("syncwatch_probes_total") in (0, None)


async def test_an_image_that_a_node_cannot_pull_is_failed_with_the_kubelets_words(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    async with (
        registry(tmp_path, cluster) as one,
        watching(tmp_path, cluster, one) as (harbor, watched),
    ):
        harbor.push("apps/web", "1.0", images.platforms("for others", "arm64"))
        row = await watched.row(reference="1.0", state="failed", within=60)

        assert row["reason"] == "pull_failed"
        assert "no match for platform" in row["message"]
        await nothing_left(cluster)
