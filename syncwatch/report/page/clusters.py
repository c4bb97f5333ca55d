"""Probes as the page shows them: how each cluster stands, and what nodes said of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from syncwatch.model import HOUR, Pulling, State
from syncwatch.store import probe_reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection, Row

    from syncwatch.config import DestinationSettings
    from syncwatch.model import Millis
    from syncwatch.report.page.rows import Item
    from syncwatch.store.policies import Destination
    from syncwatch.store.probe_reading import Standing

DAY = 24 * HOUR
"""Results of that long are counted."""
PODS = 5
"""Pods that are shown of a probe."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster and how its probes stand; `trouble` names the finding on it, "" for none."""

    name: str
    trouble: str
    at: Standing

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


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that was to pull it, with the mark and the word for what it came to."""

    row: Row[Any]
    mark: str
    word: str


@dataclass(frozen=True, slots=True)
class Probe:
    """What nodes of the cluster said of an image, and whether they will be asked again.

    `next_at` is when the next pod is due, which may be over; `under_way_since` when pods were made.
    """

    id: int
    mark: str
    word: str
    message: str
    ended_at: Millis | None
    proved_at: Millis | None
    under_way_since: Millis | None
    next_at: Millis | None
    is_image: bool | None
    pods: Sequence[Pod]
    command: str


def mark_of(result: str | None) -> str:
    """The mark of what a pod, or all of a probe, came to; None is not yet."""
    if result is None:
        return State.PENDING
    special = {Pulling.PULLED: State.VERIFIED, Pulling.INCONCLUSIVE: State.UNKNOWN}
    return special.get(Pulling(result), State.FAILED)


def word_of(result: str | None) -> str:
    """The same in a word or two."""
    return "under way" if result is None else result.replace("_", " ")


def probe_of(connection: Connection, item: Item, command: str) -> Probe | None:
    """The probe of an image's digest at one destination; None where there is none."""
    key = (item.destination_id, item.repository, item.digest)
    row = next(iter(probe_reading.by_keys(connection, [key])), None)
    if row is None:
        return None
    pods = probe_reading.pods_of(connection, row.id)[:PODS]
    return Probe(
        id=row.id,
        mark=mark_of(row.result),
        word=word_of(row.result) if row.result else "",
        message=row.message,
        ended_at=row.ended_at,
        proved_at=row.proved_at,
        under_way_since=row.began_at,
        next_at=row.due_at,
        is_image=row.is_image,
        pods=[Pod(one, mark_of(one.result), word_of(one.result)) for one in pods],
        command=command,
    )


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
