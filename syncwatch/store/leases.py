"""Leases: which replica does what, by PostgreSQL's clock.

A lease is named "harbor NAME", "destination ID" or "store". Once in a while each replica says that
it is alive, renews what it holds, takes what is free and names what is more than its share, which
it gives back once that work has stopped. All in one transaction of conditional statements, so that
of two who want the same one gets it. What a replica wants is kept as `holder` of "wants REPLICA",
one name a line, and is void with it. Times are milliseconds of the database's clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, or_, select, text, update

from syncwatch.store.dialect import insert
from syncwatch.store.schema import findings, leases, replicas

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection

    from syncwatch.model import Millis

WANTS = "wants "
"""Begins the names of rows that tell what a replica wants."""

NOBODY = ""
"""The holder of a lease that was given back."""

FORGOTTEN_AFTER: Millis = 3_600_000
"""After so long a lease that nobody renews is of something that is gone."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn came to.

    `mine` are the leases held now, `handed` those of them that their holder before gave back just
    now, `too_many` those to be given back; another's may run out in `next_in` milliseconds.
    """

    mine: frozenset[str]
    handed: frozenset[str]
    too_many: Sequence[str]
    alive: int
    next_in: Millis | None


@dataclass(frozen=True, slots=True)
class _Lease:
    holder: str
    expires_at: Millis


def turn(connection: Connection, me: str, wanted: Collection[str], lasts: Millis) -> Turn:
    """Say that `me` is alive; renew, and take of what is `wanted`, for `lasts` milliseconds.

    Replicas need not want the same: one may not have read a new configuration yet. Each lease is
    divided among those that want it.
    """
    now = clock(connection)
    _say_alive(connection, me, now, now - lasts)
    alive = _say_wanted(connection, me, wanted, now, now + lasts)
    renewed = _renew(connection, me, wanted, now, now + lasts)
    rows = {
        row.name: _Lease(row.holder, row.expires_at)
        for row in connection.execute(select(leases).where(leases.c.name.in_(wanted)))
    }
    held = {name: row.holder for name, row in rows.items() if row.expires_at > now}
    too_many: list[str] = []
    taken: set[str] = set()
    for names, wanting in _parts(wanted, alive):
        share = divide(names, held, me, wanting)
        too_many += share.too_many
        for name in share.free_for_me:
            if _take(connection, me, name, now, now + lasts):
                taken.add(name)
    others = [one.expires_at for one in rows.values() if one.expires_at > now and one.holder != me]
    return Turn(
        mine=frozenset(renewed | taken),
        handed=frozenset(name for name in taken if name in rows and rows[name].holder == NOBODY),
        too_many=too_many,
        alive=len(alive),
        next_in=min(others) - now if others else None,
    )


@dataclass(frozen=True, slots=True)
class Share:
    """Of leases of one kind: those to give back, and free ones that are mine to take."""

    too_many: Sequence[str]
    free_for_me: Sequence[str]


def divide(
    names: Collection[str], held: Mapping[str, str], me: str, alive: Collection[str]
) -> Share:
    """My part where everybody alive is to have as many as the next, or one more.

    `held` is the holder of each lease that has not run out.
    """
    least, rest = divmod(len(names), max(1, len(alive)))
    counts = Counter(held[name] for name in names if name in held)
    mine = sorted(name for name in names if held.get(name) == me)
    free = sorted(name for name in names if name not in held)
    wanting = sum(max(0, least - counts[other]) for other in alive if other != me)
    over = max(0, len(mine) - least - bool(rest))
    if not over and len(mine) > least and wanting > len(free):
        over = 1
    room = max(0, least - len(mine))
    if rest and len(mine) <= least and len(free) - room > wanting:
        room += 1
    return Share(mine[:over], free[:room])


def release(connection: Connection, me: str, names: Collection[str]) -> None:
    """Give leases back whose work has stopped."""
    now = clock(connection)
    connection.execute(
        update(leases)
        .where(leases.c.holder == me, leases.c.name.in_(names))
        .values(holder=NOBODY, expires_at=now)
    )


def leave(connection: Connection, me: str) -> None:
    """`me` is no longer alive; call it when all its work has stopped."""
    now = clock(connection)
    connection.execute(
        update(leases).where(leases.c.holder == me).values(holder=NOBODY, expires_at=now)
    )
    connection.execute(delete(findings).where(findings.c.source == reload_source(me)))
    connection.execute(delete(replicas).where(replicas.c.id == me))
    connection.execute(delete(leases).where(leases.c.name == WANTS + me))


def reload_source(me: str) -> str:
    """Who keeps the findings about a replica's own configuration, which go with it."""
    return f"reload {me}"


def clock(connection: Connection) -> Millis:
    """The database's own time, the same for all replicas however wrong their clocks are."""
    if connection.dialect.name == "postgresql":
        query = "select (extract(epoch from clock_timestamp()) * 1000)::bigint"
    else:
        query = "select cast((julianday('now') - 2440587.5) * 86400000 as integer)"
    return int(connection.execute(text(query)).scalar_one())


def _say_alive(connection: Connection, me: str, now: Millis, dead_before: Millis) -> None:
    """The dead are forgotten."""
    say = insert(connection)(replicas).values(id=me, seen_at=now)
    connection.execute(say.on_conflict_do_update(index_elements=["id"], set_={"seen_at": now}))
    rows = connection.execute(select(replicas)).all()
    dead = [row.id for row in rows if row.seen_at <= dead_before]
    if dead:
        told = [reload_source(one) for one in dead]
        connection.execute(delete(findings).where(findings.c.source.in_(told)))
        connection.execute(delete(replicas).where(replicas.c.seen_at <= dead_before))
        connection.execute(delete(leases).where(leases.c.name.in_([WANTS + one for one in dead])))
        connection.execute(delete(leases).where(leases.c.expires_at < now - FORGOTTEN_AFTER))


def _say_wanted(
    connection: Connection, me: str, wanted: Collection[str], now: Millis, until: Millis
) -> dict[str, frozenset[str]]:
    """What each replica alive wants, me too."""
    row = {"holder": "\n".join(sorted(wanted)), "expires_at": until}
    say = insert(connection)(leases).values(name=WANTS + me, **row)
    connection.execute(say.on_conflict_do_update(index_elements=["name"], set_=row))
    told = connection.execute(
        select(leases).where(leases.c.name.startswith(WANTS), leases.c.expires_at > now)
    )
    wants = {one.name.removeprefix(WANTS): frozenset(one.holder.split("\n")) for one in told}
    return wants | {me: frozenset(wanted)}


def _renew(
    connection: Connection, me: str, wanted: Collection[str], now: Millis, until: Millis
) -> set[str]:
    """What has run out meanwhile is not renewed: its work has stopped by then."""
    renewed = connection.execute(
        update(leases)
        .where(leases.c.holder == me, leases.c.name.in_(wanted), leases.c.expires_at > now)
        .values(expires_at=until)
        .returning(leases.c.name)
    )
    return set(renewed.scalars())


def _take(connection: Connection, me: str, name: str, now: Millis, until: Millis) -> bool:
    mine = {"holder": me, "expires_at": until}
    taking = insert(connection)(leases).values(name=name, **mine)
    free = or_(leases.c.expires_at <= now, leases.c.holder == me)
    taken = connection.execute(
        taking.on_conflict_do_update(index_elements=["name"], set_=mine, where=free).returning(
            leases.c.name
        )
    )
    return taken.scalar() is not None


def _parts(
    wanted: Collection[str], alive: Mapping[str, Collection[str]]
) -> list[tuple[list[str], list[str]]]:
    """Names of one kind that the same replicas want, with those; each part is divided by itself."""
    parts: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name in sorted(wanted):
        wanting = tuple(sorted(one for one, wants in alive.items() if name in wants))
        parts.setdefault((name.partition(" ")[0], wanting), []).append(name)
    return [(names, list(wanting)) for (_, wanting), names in parts.items()]


def count_of(names: Collection[str]) -> dict[str, int]:
    """How many leases of each kind there are among these names."""
    return dict(Counter(name.partition(" ")[0] for name in names))
