"""A cluster that is away, or does not let us do what probes need: said of it, not of the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from probed_scene import CLUSTER, Later, probed, probes
from running import until
from servers.kubernetes_api import KubernetesApi, hangs, pulls, status

from syncwatch.model import MINUTE

if TYPE_CHECKING:
    from pathlib import Path

    from running import Watched
    from servers.kubernetes_api import Script

MAY_NOT = 'User "syncwatch" cannot {} resource "{}" in API group "" in the namespace "probes"'


def starts(pod: dict[str, Any]) -> Script:
    """It pulls well, and runs."""
    running = {"running": {"startedAt": "2026-11-24T00:00:00Z"}}
    return [*pulls(pod)[:-1], (0.05, "status", status("Running", state=running))]


async def up(watched: Watched) -> float | None:
    return await watched.metric("syncwatch_cluster_up", cluster=CLUSTER)


async def finding(watched: Watched, name: str) -> dict[str, Any]:
    """The finding of that name, waited for."""

    async def found() -> dict[str, Any] | None:
        return next((one for one in await watched.findings() if one["finding"] == name), None)

    return await until(found, told=name)


async def no_finding(watched: Watched) -> None:
    async def none() -> bool:
        return not [one for one in await watched.findings() if one["finding"][:8] == "cluster_"]

    await until(none, told="no finding of the cluster")


async def test_a_cluster_that_goes_away_while_nothing_is_probed_is_noticed(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api) as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        await watched.row(reference="1.0", state="verified")
        assert await up(watched) == 1
        (cluster,) = (await watched.status())["clusters"]
        assert (cluster["name"], cluster["up"], cluster["waiting"]) == (CLUSTER, True, 0)
        assert {name: n for name, n in cluster["results"].items() if n} == {"pulled": 1}

        await api.down()
        told = await finding(watched, "cluster_unreachable")
        assert told["subject"] == f"cluster {CLUSTER}"
        assert await up(watched) == 0
        assert [one["up"] for one in (await watched.status())["clusters"]] == [False]
        # What was pulled stays pulled, and other work goes on.
        (row,) = await watched.expectations()
        assert row["state"] == "verified"

        await api.up()
        await no_finding(watched)
        assert await up(watched) == 1


@pytest.mark.parametrize(
    ("verb", "resource"),
    [("create", "pods"), ("list", "pods"), ("watch", "pods"), ("list", "events")],
)
async def test_a_permission_that_lacks_is_named_for_as_long_as_it_does(
    tmp_path: Path, verb: str, resource: str
) -> None:
    clock = Later()
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api) as story,
        story.watched(clock=clock) as watched,
    ):
        api.faults.refuse(f"{verb} {resource}", 403, MAY_NOT.format(verb, resource))
        if resource == "pods" and verb != "create":
            # A watch that goes would go on for minutes.
            await api.down()
            await api.up()
        story.push("1.0")
        told = await finding(watched, "cluster_forbidden")
        assert f'cannot {verb} resource "{resource}"' in told["message"]
        assert await up(watched) == 0

        # Later, too, and no try of the image is spent on it.
        clock.ahead = 5 * MINUTE
        await finding(watched, "cluster_forbidden")
        assert [one["attempts"] for one in (await watched.get("/api/v1/probes"))["items"]] == [0]

        api.faults.status.clear()
        clock.ahead = 10 * MINUTE
        await watched.row(reference="1.0", state="verified", within=30)
        await no_finding(watched)
        assert await up(watched) == 1


async def test_what_may_not_be_made_costs_nothing_of_the_budget(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, per_hour=5) as story,
        story.watched() as watched,
    ):
        api.faults.refuse("create pods", 403, MAY_NOT.format("create", "pods"))
        story.push("1.0")
        await finding(watched, "cluster_forbidden")

        assert await watched.metric("syncwatch_probes_budget_left", cluster=CLUSTER) == 5
        assert await probes(watched, result="inconclusive") == 1


async def test_a_namespace_that_is_not_there_is_misconfigured(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api) as story,
        story.watched() as watched,
    ):
        api.faults.refuse("create pods", 404, 'namespaces "syncwatch-probe" not found')
        story.push("1.0")
        told = await finding(watched, "cluster_misconfigured")
        assert "Create the namespace" in told["cure"]


async def test_a_pod_that_somebody_deleted_is_judged_by_what_its_kubelet_had_said(
    tmp_path: Path,
) -> None:
    async with (
        KubernetesApi(hangs).serving() as api,
        probed(tmp_path, api) as story,
        story.watched() as watched,
    ):
        story.push("1.0")

        async def pulling() -> bool:
            return bool(api.events)

        await until(pulling)
        (pod,) = api.made
        image = pod["spec"]["containers"][0]["image"]
        api.events.append(
            {
                "reason": "Pulled",
                "message": f'Successfully pulled image "{image}" in 64ms',
                "involvedObject": {"kind": "Pod", "uid": pod["metadata"]["uid"]},
            }
        )
        await api.remove(pod["metadata"]["name"])

        row = await watched.row(reference="1.0", state="verified")
        assert row["level"] == "pulled"


async def test_a_pod_that_does_not_end_is_deleted_without_its_nodes_leave(tmp_path: Path) -> None:
    clock = Later()
    async with (
        KubernetesApi(starts).serving() as api,
        probed(tmp_path, api, mode="start") as story,
        story.watched(clock=clock) as watched,
    ):
        # As where its node went away.
        api.faults.never_ends = True
        story.push("1.0")
        await watched.row(reference="1.0", state="verified")

        async def going() -> bool:
            return all("deletionTimestamp" in one["metadata"] for one in api.pods.values())

        await until(going)
        assert len(api.pods) == 1
        clock.ahead = 2 * MINUTE

        async def gone() -> bool:
            return not api.pods

        await until(gone)


async def test_a_probe_of_two_architectures_waits_until_both_pods_have_room(
    tmp_path: Path,
) -> None:
    async with (
        KubernetesApi(lambda pod: pulls(pod, 0.3)).serving() as api,
        probed(
            tmp_path,
            api,
            at_once=3,
            per_hour=5,
            one_per_node=False,
            architectures=["amd64", "arm64"],
        ) as story,
        story.watched() as watched,
    ):
        for number in range(3):
            story.push(f"{number}.0")

        async def two() -> bool:
            return await probes(watched, result="pulled") == 4

        await until(two)
        waiting = await watched.metric("syncwatch_probes_waiting", cluster=CLUSTER)
        left = await watched.metric("syncwatch_probes_budget_left", cluster=CLUSTER)
        # The third has to wait for the hour: there is room for one of its pods only.
        assert (waiting, left) == (1, 1)
        assert api.most <= 3


async def test_pods_that_are_refused_in_a_row_are_a_finding_and_the_cluster_is_not_away(
    tmp_path: Path,
) -> None:
    words = 'pods "one" is forbidden: exceeded quota: small, requested: pods=1'
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, level="readable") as story,
        story.watched() as watched,
    ):
        api.faults.refuse("create pods", 403, words)
        for number in range(4):
            story.push(f"{number}.0")
        told = await finding(watched, "probe_pod_refused")
        assert words in told["message"]
        assert await up(watched) == 1

        api.faults.status.clear()
        story.push("5.0")

        async def none() -> bool:
            return "probe_pod_refused" not in await watched.finding_names()

        await until(none)


async def test_a_pod_that_never_goes_is_a_finding_and_holds_up_no_other(tmp_path: Path) -> None:
    clock = Later()
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, at_once=1) as story,
        story.watched(clock=clock) as watched,
    ):
        # A finalizer holds it.
        api.faults.refuse("delete pods", 200)
        story.push("1.0")
        await watched.row(reference="1.0", state="verified")
        story.push("2.0")
        await watched.row(reference="2.0", state="verified")
        asked = api.asked["delete pods"]
        assert asked < 10

        clock.ahead = 6 * MINUTE
        told = await finding(watched, "probe_pods_left")
        assert "and 1 more" in told["message"]
        assert await up(watched) == 1
        api.faults.status.clear()

        async def gone() -> bool:
            return not api.pods

        await until(gone)
        await no_finding(watched)


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("list pods", {"metadata": "x", "items": []}),
        ("list pods", {"metadata": {}, "items": 5}),
        ("list pods", {"metadata": {}, "items": [{"metadata": None}]}),
        ("list events", {"items": 5}),
        ("create pods", {"metadata": None}),
    ],
)
async def test_what_is_no_answer_of_kubernetes_is_told_and_outlived(
    tmp_path: Path, what: str, body: dict[str, Any]
) -> None:
    clock = Later()
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api) as story,
    ):
        api.faults.status[what], api.faults.times[what] = (200, body, {}), 10**9
        async with story.watched(clock=clock) as watched:
            story.push("1.0")
            told = await finding(watched, "cluster_unreachable")
            assert "answered with what is no" in told["message"]
            assert await up(watched) == 0
            api.faults.status.clear()
            if what == "create pods":
                # What could not be made in time is tried again a minute later.
                await watched.row(reference="1.0", reason="probe_inconclusive")
                clock.ahead = 2 * MINUTE
            await watched.row(reference="1.0", state="verified", within=30)
            await no_finding(watched)


async def test_a_token_in_a_file_may_end_with_a_newline(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api) as story,
    ):
        (tmp_path / "token").write_text(f"{api.token}\n")
        path = tmp_path / "kubeconfig"
        document = yaml.safe_load(path.read_text())
        document["users"][0]["user"] = {"tokenFile": str(tmp_path / "token")}
        path.write_text(yaml.safe_dump(document))
        async with story.watched() as watched:
            story.push("1.0")
            await watched.row(reference="1.0", state="verified")


async def test_a_pull_that_hung_is_remembered_by_whoever_probes_next(tmp_path: Path) -> None:
    async with (
        KubernetesApi(hangs).serving() as api,
        probed(tmp_path, api, timeout="500ms", at_once=1) as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        await watched.row(reference="1.0", reason="probe_inconclusive")
        api.script = pulls
        assert await watched.daemon.reload()
        story.push("2.0")
        await watched.row(reference="2.0", reason="probing")
        assert await watched.metric("syncwatch_probes_waiting", cluster=CLUSTER) == 1
        assert len(api.made) == 1


async def test_pods_in_the_namespace_of_before_are_deleted(tmp_path: Path) -> None:
    async with (
        KubernetesApi(hangs).serving() as api,
        probed(tmp_path, api, timeout="1m") as story,
        story.watched() as watched,
    ):
        story.push("1.0")

        async def made() -> bool:
            return len(api.made) == 1

        await until(made)
        before = api.made[0]["metadata"]["name"]
        document = yaml.safe_load(story.config.read_text())
        document["clusters"][0]["probe"]["namespace"] = "elsewhere"
        story.config.write_text(yaml.safe_dump(document))
        api.script = pulls
        assert await watched.daemon.reload()

        async def deleted() -> bool:
            return before not in api.pods

        await until(deleted)


async def test_a_cluster_that_was_renamed_is_probed_under_its_new_name(tmp_path: Path) -> None:
    clock = Later()
    async with (
        KubernetesApi(hangs).serving() as api,
        probed(tmp_path, api, timeout="30s") as story,
        story.watched(clock=clock) as watched,
    ):
        story.push("1.0")
        await watched.row(reference="1.0", reason="probing")

        async def made() -> bool:
            return len(api.made) == 1

        await until(made)
        story.config.write_text(story.config.read_text().replace("cluster: cluster1", "cluster: b"))
        document = yaml.safe_load(story.config.read_text())
        document["clusters"][0]["name"] = "b"
        story.config.write_text(yaml.safe_dump(document))
        api.script = pulls
        clock.ahead = 10 * MINUTE
        assert await watched.daemon.reload()

        row = await watched.row(reference="1.0", state="verified", within=30)
        assert row["level"] == "pulled"
