"""Harbors, destinations, policies and our own revisions of them.

In: `plan`, with what Harbor lists. A revision is kept for every change of what matters, because an
image is owed by the rules in force when it was pushed. Names are labels and may change; what
counts is Harbor's id of a policy, and (registry id, url) of a destination.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import and_, func, select, update

from syncwatch.model import SECOND, Millis, Rules
from syncwatch.store.dialect import insert
from syncwatch.store.schema import destinations, harbors, policies, revisions, subjects

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection, Row


@dataclass(frozen=True, slots=True)
class HarborRow:
    """What is kept of a Harbor; see `schema.harbors`."""

    name: str
    watching_since: Millis
    version: str
    up: bool
    skew: Millis
    last_webhook_at: Millis | None
    last_look_at: Millis | None
    feed_cursor: int
    feed_read_at: Millis | None
    feed_ok: bool
    feed_since: Millis | None
    last_sweep_at: Millis | None
    swept_until: Millis | None
    pass_began_at: Millis | None
    pass_ended_at: Millis | None


@dataclass(frozen=True, slots=True)
class Destination:
    """A registry endpoint of a Harbor; `first_name` is how the configuration may still call it."""

    id: int
    harbor: str
    registry_id: int
    url: str
    name: str
    type: str
    first_name: str
    gone_at: Millis | None
    up: bool | None = field(default=None, compare=False)
    paused_until: Millis | None = field(default=None, compare=False)
    paused_by: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SeenPolicy:
    """A policy as Harbor lists it. `updated_at` is Harbor's clock.

    `moved_at` is when its registry endpoint was edited last, and `seen_at` our look, both of the
    same clock: its destination may have become another one without any edit of the policy.
    `looked_at` is the look before, and `beside` what else than rules and name may be edited.
    """

    policy_id: int
    name: str
    registry_id: int
    registry_url: str
    rules: Rules
    updated_at: Millis | None
    moved_at: Millis = 0
    seen_at: Millis = 0
    looked_at: Millis | None = None
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy with its present revision; `updated_at` is Harbor's time of its last edit."""

    harbor: str
    policy_id: int
    name: str
    destination_id: int | None
    revision: int
    rules: Rules
    gone_at: Millis | None
    updated_at: Millis | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """The rules of a policy since a moment in Harbor's clock."""

    policy_id: int
    revision: int
    since: Millis
    destination_id: int | None
    rules: Rules


def begin(connection: Connection, harbor: str, now: Millis) -> None:
    """Watch a harbor from now on, unless it is watched already."""
    connection.execute(
        insert(connection)(harbors)
        .values(
            name=harbor,
            watching_since=now,
            version="",
            up=False,
            skew=0,
            feed_cursor=0,
            feed_ok=True,
        )
        .on_conflict_do_nothing()
    )


def harbor_row(connection: Connection, harbor: str) -> HarborRow:
    """What is kept of a harbor that is watched."""
    row = connection.execute(select(harbors).where(harbors.c.name == harbor)).one()
    return HarborRow(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public accessor


def set_harbor(connection: Connection, harbor: str, **values: object) -> None:
    """Write what was learnt of a harbor; the names are columns of `schema.harbors`."""
    connection.execute(update(harbors).where(harbors.c.name == harbor).values(**values))


def heard(connection: Connection, harbor: str, at: Millis) -> None:
    """A delivery of a harbor came at that time."""
    connection.execute(
        update(harbors)
        .where(harbors.c.name == harbor, func.coalesce(harbors.c.last_webhook_at, 0) < at)
        .values(last_webhook_at=at)
    )


def _destination(row: Row[Any]) -> Destination:
    return Destination(**row._mapping)  # noqa: SLF001


def known_destinations(connection: Connection, harbor: str | None = None) -> list[Destination]:
    """Every destination ever seen, gone ones too."""
    query = select(destinations).order_by(destinations.c.id)
    if harbor is not None:
        query = query.where(destinations.c.harbor == harbor)
    return [_destination(row) for row in connection.execute(query)]


def known_policies(connection: Connection, harbor: str | None = None) -> list[Policy]:
    """Every policy ever seen with its present rules, gone ones too."""
    query = (
        select(policies, revisions.c.rules)
        .join(
            revisions,
            and_(
                revisions.c.harbor == policies.c.harbor,
                revisions.c.policy_id == policies.c.policy_id,
                revisions.c.revision == policies.c.revision,
            ),
        )
        .order_by(policies.c.policy_id)
    )
    if harbor is not None:
        query = query.where(policies.c.harbor == harbor)
    return [
        Policy(
            row.harbor,
            row.policy_id,
            row.name,
            row.destination_id,
            row.revision,
            rules_of(row.rules),
            row.gone_at,
            row.updated_at,
        )
        for row in connection.execute(query)
    ]


def known_revisions(connection: Connection, harbor: str) -> list[Revision]:
    """All revisions of a harbor's policies that are not gone, oldest first."""
    query = (
        select(revisions)
        .join(
            policies,
            and_(
                policies.c.harbor == revisions.c.harbor,
                policies.c.policy_id == revisions.c.policy_id,
            ),
        )
        .where(revisions.c.harbor == harbor, policies.c.gone_at.is_(None))
        .order_by(revisions.c.policy_id, revisions.c.revision)
    )
    return [
        Revision(row.policy_id, row.revision, row.since, row.destination_id, rules_of(row.rules))
        for row in connection.execute(query)
    ]


def shift_clock(connection: Connection, harbor: str, by: Millis) -> None:
    """Harbor's clock was set by so much: moments kept in it are moved along."""
    connection.execute(
        update(revisions).where(revisions.c.harbor == harbor).values(since=revisions.c.since + by)
    )
    connection.execute(
        update(subjects)
        .where(subjects.c.harbor == harbor, subjects.c.deleted_at.is_not(None))
        .values(deleted_at=subjects.c.deleted_at + by)
    )
    connection.execute(
        update(harbors)
        .where(harbors.c.name == harbor, harbors.c.feed_since > 0)
        .values(feed_since=harbors.c.feed_since + by)
    )
    connection.execute(
        update(harbors)
        .where(harbors.c.name == harbor, harbors.c.swept_until.is_not(None))
        .values(swept_until=harbors.c.swept_until + by)
    )


def policy_name(connection: Connection, harbor: str, policy_id: int) -> str:
    """The present name of a policy; its id where it is not known."""
    row = _policy_row(connection, harbor, policy_id)
    return str(row.name) if row is not None else str(policy_id)


SKEW_USED = SECOND
"""A smaller difference is the question's own way there and back, and is taken for none."""


def used_skew(skew: Millis) -> Millis:
    """The part of a measured skew by which Harbor's times are corrected."""
    return skew if abs(skew) > SKEW_USED else 0


@lru_cache(maxsize=1024)
def rules_of(text: str) -> Rules:
    """The rules in a revision's column."""
    return msgspec.json.decode(text, type=Rules)


def see_destination(
    connection: Connection, harbor: str, registry_id: int, url: str, name: str, kind: str
) -> int:
    """The destination's row, made or renamed as Harbor now says."""
    where = and_(
        destinations.c.harbor == harbor,
        destinations.c.registry_id == registry_id,
        destinations.c.url == url,
    )
    row = connection.execute(select(destinations).where(where)).one_or_none()
    if row is None:
        made = destinations.insert().values(
            harbor=harbor, registry_id=registry_id, url=url, name=name, type=kind, first_name=name
        )
        return int(connection.execute(made.returning(destinations.c.id)).scalar_one())
    if (row.name, row.type, row.gone_at) != (name, kind, None):
        connection.execute(
            update(destinations).where(where).values(name=name, type=kind, gone_at=None)
        )
    return int(row.id)


def set_up(connection: Connection, up: Mapping[int, bool]) -> None:
    """Whether these destinations, by id, could be asked when they were last tried."""
    for destination_id, is_up in sorted(up.items()):
        connection.execute(
            update(destinations).where(destinations.c.id == destination_id).values(up=is_up)
        )


def end_destinations(connection: Connection, ids: Collection[int], now: Millis) -> None:
    """These destinations are proven gone."""
    connection.execute(update(destinations).where(destinations.c.id.in_(ids)).values(gone_at=now))


def see_policy(
    connection: Connection, harbor: str, seen: SeenPolicy, destination_id: int | None, since: Millis
) -> list[str]:
    """Keep a policy as Harbor lists it; the changes, in the metric's words.

    `since` is the moment in Harbor's clock from which a new revision counts.
    """
    row = _policy_row(connection, harbor, seen.policy_id)
    if row is None:
        _write_policy(connection, harbor, seen, destination_id, 1, new=True)
        _write_revision(connection, harbor, seen, destination_id, 1, since)
        return ["created"]
    told: list[str] = ["renamed"] if row.name != seen.name else []
    before = _revision(connection, harbor, seen.policy_id, row.revision)
    revision = row.revision
    if (before.rules, before.destination_id) != (seen.rules, destination_id):
        told += _kinds_of_change(before, seen.rules, destination_id)
        revision += 1
        if since <= before.since and before.destination_id != destination_id:
            # The policy itself was not edited: what was pushed before the move stays where it was.
            since = seen.moved_at if seen.moved_at > before.since else seen.seen_at
        _write_revision(connection, harbor, seen, destination_id, revision, since)
    elif _saved_unseen(row, seen):
        # It may have been disabled and enabled again: what held meanwhile nobody knows.
        unknown = msgspec.structs.replace(seen.rules, known=False)
        _write_revision(
            connection,
            harbor,
            replace(seen, rules=unknown),
            destination_id,
            revision + 1,
            max(before.since, seen.looked_at or 0),
        )
        revision += 2
        _write_revision(connection, harbor, seen, destination_id, revision, since)
        told.append("edited")
    moved = (row.updated_at, row.beside) != (seen.updated_at, seen.beside)
    if told or moved or row.gone_at is not None:
        _write_policy(connection, harbor, seen, destination_id, revision, new=False)
    return told


def _saved_unseen(row: Row[Any], seen: SeenPolicy) -> bool:
    """Whether a policy was saved since our last look, and nothing that we see of it explains it."""
    if row.updated_at is None or seen.updated_at is None or seen.looked_at is None:
        return False
    newer = seen.updated_at > max(row.updated_at, seen.looked_at)
    return newer and (row.name, row.beside) == (seen.name, seen.beside)


def end_policy(connection: Connection, harbor: str, policy_id: int, now: Millis) -> None:
    """This policy is proven gone."""
    connection.execute(
        update(policies)
        .where(policies.c.harbor == harbor, policies.c.policy_id == policy_id)
        .values(gone_at=now)
    )


def _kinds_of_change(before: Revision, rules: Rules, destination_id: int | None) -> list[str]:
    told = []
    if before.rules.enabled != rules.enabled:
        told.append("enabled" if rules.enabled else "disabled")
    same = msgspec.structs.replace(before.rules, enabled=rules.enabled) == rules
    if not same or before.destination_id != destination_id:
        told.append("edited")
    return told


def _policy_row(connection: Connection, harbor: str, policy_id: int) -> Row[Any] | None:
    return connection.execute(
        select(policies).where(policies.c.harbor == harbor, policies.c.policy_id == policy_id)
    ).one_or_none()


def _revision(connection: Connection, harbor: str, policy_id: int, revision: int) -> Revision:
    row = connection.execute(
        select(revisions).where(
            revisions.c.harbor == harbor,
            revisions.c.policy_id == policy_id,
            revisions.c.revision == revision,
        )
    ).one()
    return Revision(row.policy_id, row.revision, row.since, row.destination_id, rules_of(row.rules))


def _write_policy(
    connection: Connection,
    harbor: str,
    seen: SeenPolicy,
    destination_id: int | None,
    revision: int,
    *,
    new: bool,
) -> None:
    values = {
        "name": seen.name,
        "destination_id": destination_id,
        "trigger": seen.rules.trigger,
        "enabled": seen.rules.enabled,
        "revision": revision,
        "updated_at": seen.updated_at,
        "beside": seen.beside,
        "gone_at": None,
    }
    if new:
        connection.execute(
            policies.insert().values(harbor=harbor, policy_id=seen.policy_id, **values)
        )
        return
    connection.execute(
        update(policies)
        .where(policies.c.harbor == harbor, policies.c.policy_id == seen.policy_id)
        .values(**values)
    )


def _write_revision(
    connection: Connection,
    harbor: str,
    seen: SeenPolicy,
    destination_id: int | None,
    revision: int,
    since: Millis,
) -> None:
    connection.execute(
        revisions.insert().values(
            harbor=harbor,
            policy_id=seen.policy_id,
            revision=revision,
            since=since,
            destination_id=destination_id,
            rules=msgspec.json.encode(seen.rules).decode(),
        )
    )
