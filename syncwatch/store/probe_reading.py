"""What reports read of probes: pages of them, one with its pods, and how a cluster stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, select

from syncwatch.store.probe_schema import pods, probes
from syncwatch.store.schema import destinations

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection, Row

    from syncwatch.model import Millis

PODS = 20
"""How many pods of a probe are told."""

WAITING, UNDER_WAY, ENDED = "waiting", "under_way", "ended"


@dataclass(frozen=True, slots=True)
class Filters:
    """Which probes are wanted: all that is set has to fit."""

    destination: str | None = None
    repository: str | None = None
    digest: str | None = None
    result: str | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How the probes of a cluster stand.

    `known` are all probes of its destinations, of which `waiting` are due since `oldest_at`;
    `under_way` pods have not been judged. `results` counts the pods that began since a moment by
    what they came to, and `last` is the newest that was judged: `ended_at`, `result`, `node`.
    """

    known: bool
    waiting: int
    oldest_at: Millis | None
    under_way: int
    results: Mapping[str, int]
    last: Row[Any] | None


def page(
    connection: Connection,
    harbors: Collection[str],
    wanted: Filters,
    limit: int,
    before: int | None,
) -> Sequence[Row[Any]]:
    """Probes with the names of their destinations, the newest row first."""
    table = probes.c
    query = _with_names().where(destinations.c.harbor.in_(list(harbors))).order_by(table.id.desc())
    for column, value in (
        (destinations.c.name, wanted.destination),
        (table.repository, wanted.repository),
        (table.digest, wanted.digest),
        (table.result, wanted.result),
    ):
        query = query.where(column == value) if value is not None else query
    if wanted.state is not None:
        query = query.where(_STATES[wanted.state])
    if before is not None:
        query = query.where(table.id < before)
    return connection.execute(query.limit(limit)).all()


def one(connection: Connection, probe_id: int) -> Row[Any] | None:
    """A probe by its id."""
    return connection.execute(_with_names().where(probes.c.id == probe_id)).one_or_none()


def by_keys(connection: Connection, keys: Collection[tuple[int, str, str]]) -> list[Row[Any]]:
    """Some probes, by destination, repository and digest."""
    found: list[Row[Any]] = []
    for destination_id, repository, digest in keys:
        query = _with_names().where(
            probes.c.destination_id == destination_id,
            probes.c.repository == repository,
            probes.c.digest == digest,
        )
        found += connection.execute(query).all()
    return found


def pods_of(connection: Connection, probe_id: int) -> Sequence[Row[Any]]:
    """The newest pods of a probe, newest first."""
    query = select(pods).where(pods.c.probe_id == probe_id).order_by(pods.c.id.desc()).limit(PODS)
    return connection.execute(query).all()


def standing(
    connection: Connection, cluster: str, destinations: Collection[int], since: Millis, now: Millis
) -> Standing:
    """How a cluster stands, by the rows of its pods and of the probes at its `destinations`."""
    wanted, its = probes.c.destination_id.in_(list(destinations)), pods.c.cluster == cluster
    due = select(func.count(), func.min(probes.c.due_at)).where(wanted, probes.c.due_at <= now)
    waiting, oldest_at = connection.execute(due).one()
    left = select(func.count()).where(its, pods.c.gone_at.is_(None), pods.c.ended_at.is_(None))
    counted = (
        select(pods.c.result, func.count())
        .where(its, pods.c.began_at > since, pods.c.ended_at.is_not(None))
        .group_by(pods.c.result)
    )
    ended = select(pods.c.ended_at, pods.c.result, pods.c.node).where(
        its, pods.c.ended_at.is_not(None)
    )
    newest: Any = ended.order_by(pods.c.began_at.desc(), pods.c.id.desc()).limit(1)
    return Standing(
        known=connection.execute(select(probes.c.id).where(wanted).limit(1)).first() is not None,
        waiting=waiting,
        oldest_at=oldest_at,
        under_way=connection.execute(left).scalar_one(),
        results={row[0]: row[1] for row in connection.execute(counted)},
        last=connection.execute(newest).first(),
    )


def _with_names() -> Any:
    return select(probes, destinations.c.name.label("destination"), destinations.c.harbor).join(
        destinations, destinations.c.id == probes.c.destination_id
    )


_STATES = {
    WAITING: and_(probes.c.due_at.is_not(None), probes.c.began_at.is_(None)),
    UNDER_WAY: probes.c.began_at.is_not(None),
    ENDED: and_(probes.c.ended_at.is_not(None), probes.c.began_at.is_(None)),
}
