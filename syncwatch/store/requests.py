"""Looks that somebody asked for by hand. In: `report`; `verify` finds them due.

Such a look trusts no older proof of a blob: what was whole this morning may be gone by now, and
somebody doubts it. It is a row that is due, and nothing else: the destination's own limits hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, case, false, func, or_, select, update

from syncwatch.model import MINUTE, OPEN_STATES, Millis, State
from syncwatch.store.schema import changes, expectations, subjects

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Row, Select

    from syncwatch.reference import Meant

ASKED = "look asked for"
"""How it stands in the timeline, once a minute at most: who asks again and again fills no store."""

AT_ONCE = 5_000
"""The most looks that one request may ask for."""

APART: Millis = 20
"""Many looks become due one after the other, so that a push made meanwhile need not wait."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to be looked at: all that is set has to fit.

    `watched` are names of Harbors, `present` ids of their destinations: no other is looked at.
    `repository` is the name on either side, `since` a moment (ours): what was expected from then.
    """

    watched: Collection[str]
    present: Collection[int]
    meant: Meant | None = None
    repository: str | None = None
    since: Millis | None = None


@dataclass(frozen=True, slots=True)
class Looks:
    """How many rows were made due, at which destinations (ids), and whether more would fit."""

    count: int
    destinations: frozenset[int]
    more: bool


def look(connection: Connection, scope: Scope, detail: str, now: Millis) -> Looks:
    """Make everything meant due, unless it ended: what is open first, then what was not asked for
    by hand for longest, then the newest.

    `detail` goes into the timeline.
    """
    rows = _newest(connection, scope)
    found, more = rows[:AT_ONCE], len(rows) > AT_ONCE
    if found:
        _make_due(connection, found, now)
        _note(connection, [row.id for row in found], detail, now)
    return Looks(len(found), frozenset(row.destination_id for row in found), more)


def _make_due(connection: Connection, found: Sequence[Row[Any]], now: Millis) -> None:
    connection.execute(
        update(subjects).where(subjects.c.id == bindparam("subject")).values(proofs_since=now),
        [{"subject": row.subject_id} for row in found],
    )
    due_at = expectations.c.due_at
    moment: ColumnElement[Any] = bindparam("moment")
    connection.execute(
        update(expectations)
        .where(expectations.c.id == bindparam("row"))
        .values(due_at=case((due_at < moment, due_at), else_=moment)),
        [{"row": row.id, "moment": now + i * APART} for i, row in enumerate(found)],
    )


def _note(connection: Connection, ids: Sequence[int], detail: str, now: Millis) -> None:
    recently = select(changes.c.expectation_id).where(
        changes.c.expectation_id.in_(ids), changes.c.what == ASKED, changes.c.at >= now - MINUTE
    )
    noted = set(connection.execute(recently).scalars())
    lines = [
        {"expectation_id": one, "at": now, "what": ASKED, "detail": detail}
        for one in ids
        if one not in noted
    ]
    if lines:
        connection.execute(changes.insert(), lines)


def _newest(connection: Connection, scope: Scope) -> Sequence[Row[Any]]:
    table = expectations.c
    query: Select[Any] = (
        select(table.id, table.subject_id, table.destination_id)
        .join(subjects, subjects.c.newest_id == table.id)
        .where(*_conditions(scope))
        .order_by(
            case((table.state.in_(OPEN_STATES), 0), else_=1),
            # Whoever asks again for what was too much gets the rest.
            func.coalesce(subjects.c.proofs_since, 0),
            table.id.desc(),
        )
        .limit(AT_ONCE + 1)
    )
    return connection.execute(query).all()


def _conditions(scope: Scope) -> Iterator[ColumnElement[bool]]:
    table = expectations.c
    yield table.state != State.CLOSED
    yield table.harbor.in_(scope.watched)
    yield table.destination_id.in_(scope.present)
    if scope.since is not None:
        yield table.expected_at >= scope.since
    if scope.repository is not None:
        source = and_(
            subjects.c.harbor.in_(scope.watched), subjects.c.source_repository == scope.repository
        )
        there = and_(
            subjects.c.destination_id.in_(scope.present),
            subjects.c.repository == scope.repository,
        )
        yield or_(source, there)
    if scope.meant is not None:
        yield from _image(scope.meant, scope.watched)


def _image(wanted: Meant, watched: Collection[str]) -> Iterator[ColumnElement[bool]]:
    yield or_(*_named(wanted, watched))
    if wanted.tag:
        yield subjects.c.reference == wanted.tag
    if wanted.digest:
        yield expectations.c.digest == wanted.digest


def _named(wanted: Meant, watched: Collection[str]) -> Iterator[ColumnElement[bool]]:
    """The name on either side, each side by its own index."""
    yield false()
    if harbors := [one for one in watched if wanted.harbors is None or one in wanted.harbors]:
        yield and_(
            subjects.c.harbor.in_(harbors), subjects.c.source_repository == wanted.repository
        )
    if wanted.destinations:
        yield and_(
            subjects.c.destination_id.in_(wanted.destinations),
            subjects.c.repository == wanted.repository,
        )
