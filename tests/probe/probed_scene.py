"""The usual scene, with a cluster whose nodes are made to pull."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from scene import scene

from syncwatch.runtime import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from running import Watched
    from scene import Scene
    from servers.kubernetes_api import KubernetesApi

CLUSTER = "cluster1"


class Later(Clock):
    """Our clock, put forward by hand."""

    ahead = 0

    def now(self) -> int:
        return super().now() + self.ahead


@contextlib.asynccontextmanager
async def probed(
    directory: Path,
    api: KubernetesApi,
    *,
    level: str = "pulled",
    top: dict[str, Any] | None = None,
    destination: dict[str, Any] | None = None,
    **probe: Any,
) -> AsyncIterator[Scene]:
    """The scene; `probe` are settings of the cluster's probe."""
    cluster = {
        "name": CLUSTER,
        "kubeconfig": str(api.kubeconfig(directory / "kubeconfig")),
        "timeout": "2s",
        "probe": {"mode": "pull", "timeout": "3s", **probe},
    }
    place = {"cluster": CLUSTER, "level": level, **(destination or {})}
    async with scene(directory, destination=place, clusters=[cluster], **(top or {})) as one:
        yield one


async def probes(watched: Watched, **labels: str) -> float | None:
    """How many pods were judged, by the metric."""
    return await watched.metric("syncwatch_probes_total", cluster=CLUSTER, **labels)
