"""Two replicas on one PostgreSQL: one probes a cluster, and the other goes on when it dies."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from replicas import Balancer
from running import SECRET, settings_file, until
from servers.daemon import Served, served
from servers.kubernetes_api import KubernetesApi, pulls
from servers.postgresql import postgresql

from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from pathlib import Path

AT_ONCE, IMAGES = 2, 8

pytestmark = [pytest.mark.real, pytest.mark.slow]


async def shows(replica: Served, name: str) -> list[float]:
    """The samples of a metric that a replica shows; none while it does not answer."""
    try:
        text = await replica.get("/metrics")
    except OSError:
        return []
    return [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    ]


async def test_the_other_replica_goes_on_where_the_one_that_probed_died(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        server = await enter(postgresql())
        api = await enter(KubernetesApi(lambda pod: pulls(pod, 1.0)).serving())
        harbor, registry = await enter(LabHarbor().serving()), await enter(LabRegistry().serving())
        harbor.create_registry("cluster1", registry.url)
        harbor.create_policy("to-cluster1", "cluster1", pattern="apps/**")
        user, password = harbor.create_robot("syncwatch")
        kubeconfig = str(api.kubeconfig(tmp_path / "kubeconfig"))
        probe: dict[str, Any] = {"mode": "pull", "at_once": AT_ONCE, "one_per_node": False}
        config = settings_file(
            tmp_path,
            {"url": harbor.url, "username": user, "password": password},
            {"cluster": "east", "level": "pulled", "deadline": "2m"},
            clusters=[{"name": "east", "kubeconfig": kubeconfig, "probe": probe}],
            store=server.url,
            lease="1500ms",
        )
        replicas = []
        for number in range(2):
            own = tmp_path / f"replica{number}.yml"
            own.write_text(yaml.safe_dump(yaml.safe_load(config.read_text())))
            replicas.append(await enter(served(own)))
        balancer = await enter(Balancer(replicas).serving())
        harbor.create_webhook_policy("apps", balancer.url, auth_header=SECRET)

        async def holders() -> list[Served]:
            return [one for one in replicas if await shows(one, "syncwatch_cluster_up")]

        (holder,) = await until(holders, told="a replica that probes")
        for number in range(IMAGES):
            harbor.push("apps/web", f"{number}.0", images.image(str(number)))

        async def in_the_middle() -> bool:
            return len(api.made) >= AT_ONCE + 1

        await until(in_the_middle, 30)
        assert await holders() == [holder], "its gauges are shown by one"
        await holder.kill()

        def query(words: str) -> list[tuple[Any, ...]]:
            with psycopg.connect(server.url) as connection:
                return connection.execute(words).fetchall()

        async def verified() -> bool:
            states = await asyncio.to_thread(
                query, "select count(*) from expectations where state = 'verified'"
            )
            return states == [(IMAGES,)]

        await until(verified, 60, "eight verified images")

        async def gone() -> bool:
            return not api.pods

        await until(gone, told="an empty namespace")
        assert len(api.made) == IMAGES
        assert api.most <= AT_ONCE
        results = query("select result, count(*) from pods group by 1")
        assert results == [("pulled", IMAGES)]
        assert await holders() == [one for one in replicas if one is not holder]
