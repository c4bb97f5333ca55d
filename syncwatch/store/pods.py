"""The pods of probes: written down before they are made, and until the cluster has them no more.

In and out: `probe`. Each is judged once, by the row's `ended_at`, whatever crashes between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import and_, func, or_, select, update

from syncwatch.model import Pulling
from syncwatch.store.probe_schema import pods, probes

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection, Row

    from syncwatch.model import Millis


HUNG = "hung"
"""The cause where a pull began and nothing more was said."""

NEVER_MADE = ("forbidden", "misconfigured")
"""Causes of pods for which there was no leave: they cost the cluster nothing."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that was made, or is to be: what it pulls, and what came of it so far."""

    id: int
    probe_id: int
    destination_id: int
    namespace: str
    name: str
    image: str
    digest: str
    architecture: str
    holders: frozenset[str]
    began_at: Millis
    deadline_at: Millis
    ended_at: Millis | None
    result: Pulling | None
    cause: str
    message: str
    node: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Made:
    """A pod that is about to be made; `holders` are nodes that hold the digest already."""

    name: str
    namespace: str
    image: str
    architecture: str
    deadline_at: Millis
    holders: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """What a pod came to."""

    result: Pulling
    cause: str
    message: str
    node: str
    seconds: float | None


def make(
    connection: Connection,
    probe_id: int,
    cluster: str,
    destination_id: int,
    made: Made,
    now: Millis,
) -> None:
    """Write down a pod before it exists."""
    connection.execute(
        pods.insert().values(
            probe_id=probe_id,
            cluster=cluster,
            destination_id=destination_id,
            namespace=made.namespace,
            name=made.name,
            image=made.image,
            architecture=made.architecture,
            holders=msgspec.json.encode(sorted(made.holders)).decode(),
            began_at=now,
            deadline_at=made.deadline_at,
            cause="",
            message="",
            node="",
        )
    )


def left(connection: Connection, cluster: str) -> list[Pod]:
    """All pods that a cluster may have still, judged or not."""
    return _pods(connection, pods.c.cluster == cluster, pods.c.gone_at.is_(None))


def clusters_left(connection: Connection) -> set[str]:
    """The clusters that may have pods of ours still, or probes that have not ended."""
    under_way = pods.c.began_at >= probes.c.began_at
    query = (
        select(pods.c.cluster)
        .join(probes, probes.c.id == pods.c.probe_id)
        .where(or_(pods.c.gone_at.is_(None), under_way))
        .distinct()
    )
    return set(connection.execute(query).scalars())


def of_last(connection: Connection, probe_id: int) -> list[Pod]:
    """The pods of a probe that is under way."""
    return _pods(connection, pods.c.probe_id == probe_id, pods.c.began_at >= probes.c.began_at)


def last_of(connection: Connection, probe_id: int, limit: int) -> list[Pod]:
    """The newest pods of a probe, newest first."""
    found = select(pods.c.id).where(pods.c.probe_id == probe_id).order_by(pods.c.id.desc())
    ids = list(connection.execute(found.limit(limit)).scalars())
    return _pods(connection, pods.c.id.in_(ids))[::-1]


def end(connection: Connection, pod_id: int, ended: Ended, now: Millis) -> bool:
    """Write what a pod came to; False where that was written before."""
    written = connection.execute(
        update(pods)
        .where(pods.c.id == pod_id, pods.c.ended_at.is_(None))
        .values(
            ended_at=now,
            result=ended.result,
            cause=ended.cause,
            message=ended.message,
            node=ended.node,
            seconds=ended.seconds,
        )
    )
    return bool(written.rowcount)


def gone(connection: Connection, pod_id: int, now: Millis) -> None:
    """The cluster has it no more."""
    connection.execute(update(pods).where(pods.c.id == pod_id).values(gone_at=now))


def abandon(
    connection: Connection, configured: Collection[str], before: Millis, now: Millis
) -> list[tuple[str, str, str]]:
    """Give up pods of clusters that nobody has configured, whose deadline was long ago.

    Their probes are due again, for whichever cluster has the destination now. (cluster, namespace,
    name) of each.
    """
    its = and_(
        pods.c.gone_at.is_(None),
        pods.c.deadline_at < before,
        pods.c.cluster.not_in(list(configured)),
    )
    found = connection.execute(
        select(pods.c.id, pods.c.probe_id, pods.c.cluster, pods.c.namespace, pods.c.name).where(its)
    ).all()
    lost = Ended(Pulling.INCONCLUSIVE, "moved", "Its cluster is configured no more.", "", None)
    for row in found:
        end(connection, row.id, lost, now)
        gone(connection, row.id, now)
        connection.execute(
            update(probes)
            .where(probes.c.id == row.probe_id, probes.c.began_at.is_not(None))
            .values(began_at=None, due_at=now)
        )
    return [(row.cluster, row.namespace, row.name) for row in found]


def hung(connection: Connection, cluster: str, limit: int) -> tuple[int, Millis]:
    """How many of a cluster's newest pods in a row hung, and when the last of them was judged."""
    query = (
        select(pods.c.cause, pods.c.ended_at)
        .where(
            pods.c.cluster == cluster,
            pods.c.ended_at.is_not(None),
            or_(pods.c.cause == HUNG, pods.c.result == Pulling.PULLED),
        )
        .order_by(pods.c.ended_at.desc(), pods.c.id.desc())
        .limit(limit)
    )
    count, last = 0, 0
    for row in connection.execute(query):
        if row.cause != HUNG:
            break
        count, last = count + 1, max(last, row.ended_at)
    return count, last


def spent(
    connection: Connection, cluster: str, since: Millis, now: Millis
) -> tuple[int, Millis | None]:
    """How many pods began in a cluster since a moment, and when the first of them did."""
    row = connection.execute(
        select(func.count(), func.min(pods.c.began_at)).where(
            pods.c.cluster == cluster,
            pods.c.began_at > since,
            # A clock that was set back has no pods of the future.
            pods.c.began_at <= now,
            pods.c.cause.not_in(NEVER_MADE),
        )
    ).one()
    return int(row[0]), row[1]


def holders(connection: Connection, cluster: str, digest: str) -> frozenset[str]:
    """The nodes of a cluster that pulled a digest, by what we know."""
    query = (
        select(pods.c.node)
        .join(probes, probes.c.id == pods.c.probe_id)
        .where(
            pods.c.cluster == cluster,
            probes.c.digest == digest,
            pods.c.result == Pulling.PULLED,
            pods.c.node != "",
        )
        .distinct()
    )
    return frozenset(connection.execute(query).scalars())


def _pods(connection: Connection, *where: Any) -> list[Pod]:
    query = (
        select(pods, probes.c.digest)
        .join(probes, probes.c.id == pods.c.probe_id)
        .where(*where)
        .order_by(pods.c.id)
    )
    return [_pod(row) for row in connection.execute(query)]


def _pod(row: Row[Any]) -> Pod:
    return Pod(
        id=row.id,
        probe_id=row.probe_id,
        destination_id=row.destination_id,
        namespace=row.namespace,
        name=row.name,
        image=row.image,
        digest=row.digest,
        architecture=row.architecture,
        holders=frozenset(msgspec.json.decode(row.holders, type=list[str])),
        began_at=row.began_at,
        deadline_at=row.deadline_at,
        ended_at=row.ended_at,
        result=Pulling(row.result) if row.result else None,
        cause=row.cause,
        message=row.message,
        node=row.node,
        seconds=row.seconds,
    )
