"""Looks that somebody asked for by hand. In: `report`; `verify` finds them due.

Such a look trusts no older proof of a blob: what was whole this morning may be gone by now, and
somebody doubts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, false, or_, select, update

from syncwatch.model import MINUTE, Millis, State
from syncwatch.store.expectations import note, times_noted
from syncwatch.store.schema import expectations, subjects

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Row, Select

    from syncwatch.reference import Meant

ASKED = "look asked for"
"""How it stands in the timeline, once a minute at most: who asks again and again fills no store."""


def look(
    connection: Connection,
    wanted: Meant,
    watched: Collection[str],
    present: Collection[int],
    detail: str,
    now: Millis,
) -> list[int]:
    """Make every image meant due now, unless it ended; the destination id of each.

    `watched` are names of Harbors, `present` ids of their destinations: no other is looked at.
    `detail` goes into the timeline.
    """
    found = [
        row for row in _newest(connection, wanted, watched) if row.destination_id in set(present)
    ]
    connection.execute(
        update(subjects)
        .where(subjects.c.id.in_([row.subject_id for row in found]))
        .values(proofs_since=now)
    )
    ids = [row.id for row in found]
    connection.execute(update(expectations).where(expectations.c.id.in_(ids)).values(due_at=now))
    for one in ids:
        if not times_noted(connection, one, ASKED, now - MINUTE):
            note(connection, one, now, ASKED, detail)
    return [row.destination_id for row in found]


def _newest(connection: Connection, wanted: Meant, watched: Collection[str]) -> Sequence[Row[Any]]:
    table = expectations.c
    where = [or_(*_named(wanted, watched)), table.state != State.CLOSED]
    if wanted.tag:
        where.append(subjects.c.reference == wanted.tag)
    if wanted.digest:
        where.append(table.digest == wanted.digest)
    query: Select[Any] = (
        select(table.id, table.subject_id, table.destination_id)
        .join(subjects, subjects.c.newest_id == table.id)
        .where(*where)
        .order_by(table.id)
    )
    return connection.execute(query).all()


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
