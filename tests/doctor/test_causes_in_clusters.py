"""What the doctor finds in a cluster whose nodes are to pull."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from clinic import Clinic, clinic
from servers.kubernetes_api import TOKEN, KubernetesApi

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from syncwatch.doctor.checks import Checked


class Ward:
    """A set-up in order with a cluster, and what the doctor says of that."""

    def __init__(self, clinic: Clinic, api: KubernetesApi, config: Path) -> None:
        self.clinic = clinic
        self.api = api
        self.config = config

    async def checks(self) -> dict[str, Checked]:
        """The checks of the cluster, by name."""
        told = await self.clinic.diagnosed(self.config)
        return {
            one.check: one for each in told for one in each.checks if "cluster east" in one.subject
        }

    async def finding(self, name: str) -> Any:
        found = await self.clinic.finding(name, self.config)
        assert found.subject == "cluster east"
        assert TOKEN not in f"{found}"
        return found


@contextlib.asynccontextmanager
async def ward(folder: Path, **probe: Any) -> AsyncIterator[Ward]:
    async with KubernetesApi().serving() as api, clinic(folder) as one:
        kubeconfig = api.kubeconfig(folder / "kubeconfig")
        section = {"mode": "pull", "namespace": "probes", **probe}
        clusters = [{"name": "east", "kubeconfig": str(kubeconfig), "probe": section}]
        yield Ward(one, api, one.configured(None, {"cluster": "east"}, clusters=clusters))


async def test_a_cluster_in_order_is_said_to_be_and_nothing_is_made(tmp_path: Path) -> None:
    async with ward(tmp_path) as one:
        checks = await one.checks()

        assert {name: str(check.outcome) for name, check in checks.items()} == {
            "cluster": "ok",
            "cluster permission": "ok",
            "probe pod": "ok",
        }
        assert "create pods" in checks["cluster permission"].message
        assert "nodes" not in checks["cluster permission"].message
        assert one.api.made == []
        assert one.api.pods == {}


@pytest.mark.parametrize(
    "right",
    ["create pods", "get pods", "list pods", "watch pods", "delete pods", "list events"],
)
async def test_each_right_that_lacks_is_named(tmp_path: Path, right: str) -> None:
    async with ward(tmp_path) as one:
        one.api.faults.denied = frozenset({right})
        found = await one.finding("cluster_forbidden")

        assert found.message == f"syncwatch may not {right} in probes."
        assert "deploy/kubernetes/probe" in found.cure


async def test_the_right_to_list_nodes_is_wanted_where_nodes_are_looked_at(tmp_path: Path) -> None:
    async with ward(tmp_path, look_at_nodes=True) as one:
        one.api.faults.denied = frozenset({"list nodes"})
        assert "list nodes" in (await one.finding("cluster_forbidden")).message


async def test_a_pod_that_would_not_be_let_in_is_told_with_the_reason(tmp_path: Path) -> None:
    words = 'pods "syncwatch-probe-tried" is forbidden: exceeded quota: small'
    async with ward(tmp_path) as one:
        one.api.faults.refuse("create pods", 403, words)
        found = await one.finding("probe_pod_refused")

        assert words in found.message


async def test_a_namespace_that_is_not_there_is_told(tmp_path: Path) -> None:
    async with ward(tmp_path) as one:
        one.api.faults.refuse("create pods", 404, 'namespaces "probes" not found')
        found = await one.finding("cluster_misconfigured")

        assert 'namespaces "probes" not found' in found.message
        assert "Create the namespace" in found.cure


async def test_a_cluster_that_is_away_leaves_the_rest_untold(tmp_path: Path) -> None:
    async with ward(tmp_path) as one:
        await one.api.down()
        await one.finding("cluster_unreachable")
        checks = await one.checks()

        assert str(checks["cluster permission"].outcome) == "cannot_tell"
        assert str(checks["probe pod"].outcome) == "cannot_tell"


async def test_a_token_that_is_not_taken_is_told(tmp_path: Path) -> None:
    async with ward(tmp_path) as one:
        one.api.token = "another"
        await one.finding("cluster_forbidden")


async def test_a_cluster_without_a_probe_is_left_alone(tmp_path: Path) -> None:
    async with ward(tmp_path, mode="off") as one:
        assert await one.checks() == {}
        assert not one.api.asked
