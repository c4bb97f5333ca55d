"""How the clusters stand whose nodes are made to pull, for the API and for the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from syncwatch.model import HOUR, Pulling
from syncwatch.store import probe_reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection, Row

    from syncwatch.config import DestinationSettings
    from syncwatch.model import Millis
    from syncwatch.store.policies import Destination
    from syncwatch.store.probe_reading import Standing

DAY = 24 * HOUR
"""Results of that long are counted."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster and how its probes stand; `trouble` names the finding on it, "" for none."""

    name: str
    trouble: str
    at: Standing

    @property
    def up(self) -> bool | None:
        """Whether it answers, and lets us do what probes need; None before any pod was judged."""
        if self.trouble:
            return False
        return True if self.at.last is not None else None

    @property
    def pulled(self) -> int:
        """Pods of the day that pulled."""
        return self.at.results.get(Pulling.PULLED, 0)

    @property
    def open(self) -> int:
        """Pods of the day that proved nothing."""
        return self.at.results.get(Pulling.INCONCLUSIVE, 0)

    @property
    def refused(self) -> int:
        """Pods of the day whose kubelet was refused."""
        return sum(self.at.results.values()) - self.pulled - self.open


def clusters(
    connection: Connection,
    destinations: Sequence[Destination],
    entry: Callable[[Destination], DestinationSettings],
    probed: Callable[[DestinationSettings], bool],
    findings: Sequence[Row[Any]],
    now: Millis,
) -> list[Cluster]:
    """The clusters whose nodes are made to pull, of which anything is known, by name."""
    trouble = {one.subject: one.finding for one in findings if one.finding.startswith("cluster_")}
    found = []
    for name, ids in sorted(_by_cluster(destinations, entry, probed).items()):
        at = probe_reading.standing(connection, name, ids, now - DAY, now)
        one = Cluster(name, trouble.get(f"cluster {name}", ""), at)
        if one.trouble or at.known or at.last is not None:
            found.append(one)
    return found


def _by_cluster(
    destinations: Sequence[Destination],
    entry: Callable[[Destination], DestinationSettings],
    probed: Callable[[DestinationSettings], bool],
) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = {}
    for one in destinations:
        own = entry(one)
        if one.gone_at is None and own.cluster is not None and probed(own):
            found.setdefault(own.cluster, []).append(one.id)
    return found
