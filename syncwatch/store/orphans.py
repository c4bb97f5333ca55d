"""Tags at destinations that the source does not have: asked for by the sweep, found by `verify`.

What the source had when it was swept waits here until the destination's own list is compared with
it; then only what is left over is kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, update

from syncwatch.model import State
from syncwatch.store.dialect import insert
from syncwatch.store.schema import expectations, orphans, subjects

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection

    from syncwatch.model import Millis

EXTRA_KEPT = 20
"""How many names of a repository are kept beside their number."""


@dataclass(frozen=True, slots=True)
class DueRepository:
    """A destination's repository whose list is to be compared with what its sources had then."""

    repository: str
    source_references: frozenset[str]
    swept_at: Millis


@dataclass(frozen=True, slots=True)
class Orphaned:
    """How many tags of a repository its sources do not have, and the first of them."""

    repository: str
    count: int
    names: Sequence[str]


def is_wanted(
    connection: Connection, destination_id: int, repository: str, source: str, before: Millis
) -> bool:
    """Whether a repository was not compared since a moment."""
    table = orphans.c
    query = select(table.swept_at).where(
        table.destination_id == destination_id,
        table.repository == repository,
        table.source_repository == source,
    )
    swept_at = connection.execute(query).scalar()
    return swept_at is None or swept_at < before


def ask(
    connection: Connection,
    destination_id: int,
    repository: str,
    source: str,
    references: Collection[str],
    swept_at: Millis,
) -> None:
    """Have a repository's list compared with what this source had."""
    values = {"source_refs": json.dumps(sorted(references)), "swept_at": swept_at}
    values |= {"due_at": swept_at}
    key = {"destination_id": destination_id, "repository": repository, "source_repository": source}
    connection.execute(
        insert(connection)(orphans)
        .values(**key, **values, extra="[]", count=0)
        .on_conflict_do_update(index_elements=list(orphans.primary_key.columns), set_=values)
    )


def due(connection: Connection, destination_id: int, now: Millis) -> DueRepository | None:
    """The repository that waits longest, once all its sources were swept anew or long ago."""
    table = orphans.c
    here = table.destination_id == destination_id
    name = connection.execute(
        select(table.repository).where(here, table.due_at <= now).order_by(table.due_at).limit(1)
    ).scalar()
    if name is None:
        return None
    rows = connection.execute(
        select(table.source_refs, table.swept_at).where(here, table.repository == name)
    ).all()
    references = frozenset(one for row in rows for one in json.loads(row.source_refs))
    return DueRepository(name, references, min(row.swept_at for row in rows))


def expected(connection: Connection, destination_id: int, repository: str) -> set[str]:
    """References of a destination's repository that are expected there, or were verified."""
    query = (
        select(subjects.c.reference)
        .join(expectations, expectations.c.id == subjects.c.newest_id)
        .where(
            subjects.c.destination_id == destination_id,
            subjects.c.repository == repository,
            expectations.c.state != State.CLOSED,
        )
    )
    return set(connection.execute(query).scalars())


def keep(
    connection: Connection, destination_id: int, repository: str, extra: Sequence[str]
) -> None:
    """What was found there beyond the source; the first row of the repository holds it."""
    table = orphans.c
    here = (table.destination_id == destination_id) & (table.repository == repository)
    connection.execute(update(orphans).where(here).values(due_at=None, count=0, extra="[]"))
    first = select(func.min(table.source_repository)).where(here).scalar_subquery()
    connection.execute(
        update(orphans)
        .where(here, table.source_repository == first)
        .values(count=len(extra), extra=json.dumps(list(extra[:EXTRA_KEPT])))
    )


def later(connection: Connection, destination_id: int, repository: str, at: Millis) -> None:
    """It could not be asked: again at a moment."""
    table = orphans.c
    connection.execute(
        update(orphans)
        .where(
            table.destination_id == destination_id,
            table.repository == repository,
            table.due_at.is_not(None),
        )
        .values(due_at=at)
    )


def found(connection: Connection, destination_id: int) -> list[Orphaned]:
    """Repositories of a destination with tags that the source does not have, most first."""
    table = orphans.c
    query = (
        select(table.repository, table.count, table.extra)
        .where(table.destination_id == destination_id, table.count > 0)
        .order_by(table.count.desc(), table.repository)
        .limit(1000)
    )
    return [Orphaned(row[0], row[1], json.loads(row[2])) for row in connection.execute(query)]


def forget(connection: Connection, before: Millis) -> bool:
    """Drop what was not swept again for so long: its policy, project or destination is gone."""
    done = connection.execute(delete(orphans).where(orphans.c.swept_at < before))
    return bool(done.rowcount)
