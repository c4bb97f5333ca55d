"""Asks each cluster whose nodes are to pull: who are we there, and would it take a pod?

Nothing is made there: rights are asked for, and the pod is tried without being kept (dry run).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncwatch.doctor.cluster_checks import ClusterSeen, of_cluster
from syncwatch.errors import ClusterError
from syncwatch.probe.beginning import cluster_of, manner_of
from syncwatch.probe.cluster import NODES, RIGHTS
from syncwatch.probe.pod import Order, manifest

if TYPE_CHECKING:
    from syncwatch.config import ClusterSettings
    from syncwatch.doctor.checks import Checked
    from syncwatch.probe.cluster import Cluster
    from syncwatch.runtime import Clock

NO_DIGEST = "sha256:" + "0" * 64


async def examine(cluster: ClusterSettings, clock: Clock) -> list[Checked]:
    """The checks of one cluster that has a probe."""
    reached = cluster_of(cluster)
    try:
        return [*of_cluster(await _seen(cluster, reached, clock))]
    finally:
        await reached.close()


async def _seen(cluster: ClusterSettings, reached: Cluster, clock: Clock) -> ClusterSeen:
    probe = cluster.probe
    rights = (*RIGHTS, NODES) if probe.asks_nodes else RIGHTS
    try:
        allowed = {str(right): await reached.may(right) for right in rights}
    except ClusterError as error:
        return ClusterSeen(cluster.name, probe.namespace, error)
    may_create = allowed["create pods"]
    return ClusterSeen(
        cluster.name,
        probe.namespace,
        granted=tuple(right for right, may in allowed.items() if may),
        denied=tuple(right for right, may in allowed.items() if not may),
        tried=may_create,
        refused=await _refusal(cluster, reached, clock) if may_create else None,
    )


async def _refusal(cluster: ClusterSettings, reached: Cluster, clock: Clock) -> ClusterError | None:
    """Why a pod like those of probes would not be taken; None where it would."""
    order = Order(
        name="syncwatch-probe-tried",
        image=f"registry.invalid/syncwatch@{NO_DIGEST}",
        digest=NO_DIGEST,
        destination="",
        cluster=cluster.name,
        architecture="",
        avoid=(),
        expires_at=clock.now(),
    )
    try:
        await reached.try_pod(manifest(order, manner_of(cluster.probe)))
    except ClusterError as error:
        return error
    return None
