"""What has to be in place before a cluster can be probed: its API, its sites, how pods are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from syncwatch.config.clusters import ALL
from syncwatch.model import Level, ProbeMode
from syncwatch.probe.admitting import Site
from syncwatch.probe.cluster import Cluster
from syncwatch.probe.limits import Limits
from syncwatch.probe.nodes import Nodes
from syncwatch.probe.pod import Manner
from syncwatch.probe.prober import Prober
from syncwatch.probe.telling import Telling
from syncwatch.probe.under_way import UnderWay
from syncwatch.store import policies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from datetime import timedelta

    from syncwatch.config import ClusterSettings, DestinationSettings, ProbeSettings, Settings
    from syncwatch.model import ClusterFigures, Millis, Pulling
    from syncwatch.runtime import Clock, Signals
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination


@dataclass(frozen=True, slots=True)
class Told:
    """Who is told of probes: see `Telling`."""

    counted: Callable[[str, str, Pulling, float], None]
    shown: Callable[[str, ClusterFigures | None], None]
    expected: Callable[[str, Collection[str]], None]


def prober_of(
    cluster: ClusterSettings,
    settings: Settings,
    entry: Callable[[Settings, Destination], DestinationSettings],
    told: Told,
    *,
    database: Database,
    clock: Clock,
    signals: Signals,
    allowed: Callable[[], Awaitable[None]] | None,
) -> Prober:
    """Who probes in a cluster; `entry` gives the settings of a destination, and `allowed` is waited
    for before each request to the cluster."""
    probe = cluster.probe
    watched = {one.name for one in settings.harbors}

    async def sites() -> dict[int, Site]:
        known = await database.read(policies.known_destinations)
        present = [one for one in known if one.gone_at is None and one.harbor in watched]
        own = {one.id: entry(settings, one) for one in present}
        return {
            one.id: _site(one, own[one.id])
            for one in present
            if own[one.id].cluster == cluster.name
        }

    telling = Telling(
        cluster=cluster.name,
        harbor=settings.harbors[0].name,
        counted=told.counted,
        shown=told.shown,
        expected=told.expected,
        database=database,
        clock=clock,
    )
    reached = cluster_of(cluster, allowed)
    nodes = Nodes(
        named=[one for one in probe.architectures if one != ALL],
        every=ALL in probe.architectures,
        look=probe.look_at_nodes,
        clock=clock.now,
    )
    under_way = UnderWay(
        name=cluster.name,
        cluster=reached,
        namespace=probe.namespace,
        manner=manner_of(probe),
        telling=telling,
        database=database,
        clock=clock,
        wake=lambda: signals.wake(f"probe {cluster.name}"),
    )
    return Prober(
        name=cluster.name,
        cluster=reached,
        under_way=under_way,
        namespace=probe.namespace,
        limits=_limits(probe),
        nodes=nodes,
        sites=sites,
        telling=telling,
        database=database,
        clock=clock,
        signals=signals,
    )


def cluster_of(
    cluster: ClusterSettings, allowed: Callable[[], Awaitable[None]] | None = None
) -> Cluster:
    """The API of a cluster, which nothing is asked of yet."""
    return Cluster(
        cluster.name,
        kubeconfig=cluster.kubeconfig,
        context=cluster.context,
        namespace=cluster.probe.namespace,
        timeout=cluster.timeout.total_seconds(),
        allowed=allowed,
    )


def _site(destination: Destination, own: DestinationSettings) -> Site:
    # Harbor's endpoint URL may hold a password: never into a pod.
    host = own.pull_host or urlsplit(own.url or destination.url).netloc.rpartition("@")[2]
    architectures = {one.split("/")[1] for one in own.platforms}
    return Site(destination, host, Level(own.level), frozenset(architectures))


def _limits(probe: ProbeSettings) -> Limits:
    return Limits(
        # Where it was switched off, what is left is cleared away.
        per_hour=probe.per_hour if probe.is_on else 0,
        at_once=probe.at_once,
        timeout=_millis(probe.timeout),
        again_after=_millis(probe.again_after) if probe.again_after else None,
        size_limit=probe.size_limit,
    )


def manner_of(probe: ProbeSettings) -> Manner:
    """How a cluster's pods are made."""
    return Manner(
        mode=ProbeMode(probe.mode),
        timeout=probe.timeout.total_seconds(),
        pull_secrets=probe.pull_secrets,
        service_account=probe.service_account or "",
        labels=probe.labels,
        annotations=probe.annotations,
        tolerations=probe.tolerations,
        node_selector=probe.node_selector,
        run_as_user=probe.run_as_user,
        carrier=probe.carrier or "",
        command=probe.command,
        one_per_node=probe.one_per_node,
        priority_class=probe.priority_class or "",
    )


def _millis(duration: timedelta) -> Millis:
    return round(duration.total_seconds() * 1000)
