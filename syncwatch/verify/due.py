"""What there is to look at: rows that are due, verified rows worth another look, stale evidence.

Pure queries of one destination. One look serves every subject on a name, as deep as the most
demanding of them wants.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, tuple_

from syncwatch.model import Accessory, Level, Millis, Operation, State
from syncwatch.store import accessories, looks
from syncwatch.store.schema import expectations as rows
from syncwatch.store.schema import subjects as subject_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection

TAKEN = 256
"""Rows taken in one turn."""

Name = tuple[str, str]
"""(repository, reference) at the destination."""


@dataclass(frozen=True, slots=True)
class Due:
    """A name at the destination, with what is expected of it.

    `digests` are all that are expected there, `level` the deepest that is wanted; `proved` says
    that something there was proven before, `at_rest` that nothing called for a look. Proofs of
    blobs older than `proofs_since` do not count; `accessories` are what the source has beside each
    digest. `waited_for` is the moment of the newest question that the look answers, whatever is
    expected; 0 for none.
    """

    repository: str
    reference: str
    digests: frozenset[str] = field(default_factory=frozenset)
    level: Level = Level.MATCHED
    proved: bool = False
    at_rest: bool = False
    proofs_since: Millis = 0
    accessories: Mapping[str, tuple[Accessory, ...]] = field(default_factory=dict)
    waited_for: Millis = 0

    @property
    def name(self) -> Name:
        """(repository, reference)."""
        return (self.repository, self.reference)


def due(
    connection: Connection, destination_id: int, now: Millis
) -> tuple[list[Due], Millis | None]:
    """What is due now, longest first, and when the next will be."""
    table = rows.c
    here = (table.destination_id == destination_id, table.state != State.CLOSED)
    names = _names(connection, *here, table.due_at <= now, order=table.due_at, limit=TAKEN)
    upcoming = connection.execute(
        select(func.min(table.due_at)).where(
            table.destination_id == destination_id, table.due_at > now
        )
    ).scalar()
    return _with_wanted(connection, destination_id, names, at_rest=False), upcoming


def waited_for(
    connection: Connection, destination_id: int, now: Millis, limit: int = TAKEN
) -> list[Due]:
    """Names that somebody wants to know of, with all that is expected there besides."""
    asked = {
        (one.repository, one.reference): one
        for one in looks.due(connection, destination_id, now, limit)
    }
    return [
        replace(
            one,
            digests=one.digests | asked[one.name].digests,
            level=max(one.level, asked[one.name].level, key=lambda each: each.depth),
            waited_for=asked[one.name].asked_at,
        )
        for one in _with_wanted(connection, destination_id, list(asked), at_rest=False)
    ]


def resting(
    connection: Connection, destination_id: int, before: Millis, limit: int
) -> tuple[list[Due], Millis | None]:
    """Verified images last looked at before a moment, longest ago first; the oldest such moment.

    By the last look and not by the last proof: one that cannot be asked must not keep all others
    waiting behind it.
    """
    table = rows.c
    here = (*_at_rest(destination_id), table.checked_at <= before)
    names = _names(connection, *here, order=table.checked_at, limit=limit)
    oldest = connection.execute(
        select(func.min(table.checked_at)).where(*_at_rest(destination_id))
    ).scalar()
    return _with_wanted(connection, destination_id, names, at_rest=True), oldest


def unhashed(connection: Connection, destination_id: int, before: Millis) -> Due | None:
    """The verified image whose bytes were hashed longest ago, before a moment or never."""
    table = rows.c
    last = func.coalesce(table.hashed_at, 0)
    here = (*_at_rest(destination_id), table.required_level != Level.MATCHED, last < before)
    names = _names(connection, *here, order=last, limit=1)
    found = _with_wanted(connection, destination_id, names, at_rest=True)
    return found[0] if found else None


def stale(
    connection: Connection, destination_id: int, before: Millis, limit: int = TAKEN
) -> list[Due]:
    """Verified images whose newest proof is older than a moment."""
    table = rows.c
    here = (
        table.destination_id == destination_id,
        table.state == State.VERIFIED,
        table.operation == Operation.COPY,
        table.proved_at < before,
    )
    names = _names(connection, *here, order=table.proved_at, limit=limit)
    return [Due(*name) for name in names]


def _at_rest(destination_id: int) -> tuple[ColumnElement[bool], ...]:
    table = rows.c
    return (
        table.destination_id == destination_id,
        table.state == State.VERIFIED,
        table.due_at.is_(None),
        table.operation == Operation.COPY,
    )


def _names(
    connection: Connection, *where: ColumnElement[bool], order: Any, limit: int
) -> list[Name]:
    query = (
        select(subject_rows.c.repository, subject_rows.c.reference)
        .join(subject_rows, subject_rows.c.id == rows.c.subject_id)
        .where(*where)
        .order_by(order)
        .limit(limit)
    )
    return list(dict.fromkeys((row[0], row[1]) for row in connection.execute(query)))


def _with_wanted(
    connection: Connection, destination_id: int, names: Sequence[Name], *, at_rest: bool
) -> list[Due]:
    """Each name with all that the newest generations on it want."""
    wanted: dict[Name, list[Any]] = {name: [] for name in names}
    query = (
        select(
            subject_rows.c.repository,
            subject_rows.c.reference,
            rows.c.digest,
            rows.c.harbor,
            rows.c.required_level,
            rows.c.proved_at,
            subject_rows.c.proofs_since,
        )
        .join(rows, rows.c.id == subject_rows.c.newest_id)
        .where(
            subject_rows.c.destination_id == destination_id,
            tuple_(subject_rows.c.repository, subject_rows.c.reference).in_(names),
            rows.c.state != State.CLOSED,
        )
    )
    for row in connection.execute(query) if names else ():
        wanted[row.repository, row.reference].append(row)
    harbors = {row.harbor for found in wanted.values() for row in found}
    digests = {row.digest for found in wanted.values() for row in found}
    beside = {
        subject: listed
        for harbor in harbors
        for subject, listed in accessories.of(connection, harbor, digests).items()
    }
    return [
        Due(
            *name,
            digests=frozenset(row.digest for row in found),
            level=max(
                (Level(row.required_level) for row in found),
                key=lambda one: one.depth,
                default=Level.MATCHED,
            ),
            proved=any(row.proved_at is not None for row in found),
            at_rest=at_rest,
            proofs_since=max((row.proofs_since or 0 for row in found), default=0),
            accessories={row.digest: beside[row.digest] for row in found if row.digest in beside},
        )
        for name, found in wanted.items()
    ]
