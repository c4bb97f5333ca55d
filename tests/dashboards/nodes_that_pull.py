"""Clusters for a run of every failure: one whose nodes pull, one that refuses, one that is away.

    async with every_failure(tmp_path) as run, nodes_that_pull(tmp_path, run):
        await run.happen()
        await probed(run)

Each pulls from the destination of its name. No level asks for that, so that no verdict changes.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import yaml
from running import until
from servers.kubernetes_api import KubernetesApi, nobody_takes_it, pulls, refuses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from every_failure import EveryFailure
    from servers.kubernetes_api import Script

UNAUTHORIZED = "failed to resolve reference: 401 Unauthorized"
RESULTS = ("pulled", "inconclusive", "unauthorized")
"""What the pods come to, of what there is."""

PROBES: dict[str, dict[str, Any]] = {
    "cluster1": {"per_hour": 180, "at_once": 4},
    # Used up at once, so that others wait.
    "cluster2": {"per_hour": 12},
    "cluster3": {},
}


@contextlib.asynccontextmanager
async def nodes_that_pull(directory: Path, run: EveryFailure) -> AsyncIterator[None]:
    """Have the destinations of a run probed, from now on."""
    async with (
        KubernetesApi(_mostly_pulls).serving() as good,
        KubernetesApi(refuses(UNAUTHORIZED)).serving() as refusing,
        KubernetesApi().serving() as away,
    ):
        apis = {"cluster1": good, "cluster2": refusing, "cluster3": away}
        document = yaml.safe_load(run.config.read_text())
        document["clusters"] = [
            {
                "name": name,
                "kubeconfig": str(api.kubeconfig(directory / f"{name}.kubeconfig")),
                "timeout": "1s",
                "probe": {"timeout": "5s", "one_per_node": False, **PROBES[name]},
            }
            for name, api in apis.items()
        ]
        document["destinations"] += [{"name": name, "cluster": name} for name in apis]
        run.config.write_text(yaml.safe_dump(document))
        await away.down()
        assert await run.watched.daemon.reload()
        yield


async def probed(run: EveryFailure) -> None:
    """Wait until pods came to each of the results, and one of the clusters is known to be away."""
    for result in RESULTS:
        await run.counted("syncwatch_probes_total", result=result)
    await run.counted("syncwatch_milestone_seconds_count", milestone="pulled")
    await run.counted("syncwatch_probes_oldest_waiting_seconds", cluster="cluster2")

    async def away() -> bool:
        return await run.watched.metric("syncwatch_cluster_up", cluster="cluster3") == 0

    await until(away, told="cluster3 away")


def _mostly_pulls(pod: dict[str, Any]) -> Script:
    image = pod["spec"]["containers"][0]["image"]
    return nobody_takes_it(pod) if "/apps/web@" in image else pulls(pod, after=0.2)
