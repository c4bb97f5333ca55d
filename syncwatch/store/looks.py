"""Looks at names that somebody waits for, expected there or not. In: gate, explain; out: `verify`.

A row is one name at a destination: whoever asks while nobody looks yet shares the look, whoever
asks while one is under way gets another. What was seen is an observation like any other; the row
only says that there was one, or why there was none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import delete, select, tuple_, update

from syncwatch.model import HOUR, Level, Reason
from syncwatch.store.dialect import insert
from syncwatch.store.schema import looks

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import ColumnElement, Connection

    from syncwatch.model import Millis

Name = tuple[int, str, str]
"""(id of the destination, repository there, reference)."""

KEPT = HOUR
"""How long it is remembered that somebody asked."""

DIGESTS = 100
"""How many digests one look is asked about: many may wait for one tag that moves."""

DROPPED = 1000
"""Rows forgotten in one transaction."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A look that is wanted: whether the name serves this digest, proven as deep as `level`."""

    name: Name
    digest: str
    level: Level


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be looked at, with all that was asked about it up to `asked_at`."""

    repository: str
    reference: str
    digests: frozenset[str]
    level: Level
    asked_at: Millis


@dataclass(frozen=True, slots=True)
class Answered:
    """What was asked up to `at` was looked at; `problem` says why nothing was seen, if so."""

    at: Millis
    problem: Reason | None
    detail: str


def ask(connection: Connection, wanted: Collection[Wanted], now: Millis) -> dict[Name, Millis]:
    """Have looks taken, soon; the moment of each question, by which its answer is known.

    No two questions about a name have the same.
    """
    asked: dict[Name, Millis] = {}
    before = {
        (row.destination_id, row.repository, row.reference): row
        for row in connection.execute(select(looks).where(_named({one.name for one in wanted})))
    }
    for one in wanted:
        row = before.get(one.name)
        waiting = row is not None and row.due_at is not None
        digests, level = [one.digest], one.level
        if waiting and row is not None:
            digests += msgspec.json.decode(row.digests, type=list[str])
            level = max(level, Level(row.level), key=lambda each: each.depth)
        asked[one.name] = max(now, row.asked_at + 1) if row is not None else now
        values = {
            "digests": msgspec.json.encode(list(dict.fromkeys(digests))[:DIGESTS]).decode(),
            "level": level,
            "asked_at": asked[one.name],
            "due_at": row.due_at if waiting and row is not None else now,
        }
        destination_id, repository, reference = one.name
        keys = {
            "destination_id": destination_id,
            "repository": repository,
            "reference": reference,
        }
        statement = insert(connection)(looks).values(**keys, **values, detail="")
        connection.execute(statement.on_conflict_do_update(index_elements=list(keys), set_=values))
    return asked


def due(connection: Connection, destination_id: int, now: Millis, limit: int) -> list[Asked]:
    """What is to be looked at now, longest first."""
    table = looks.c
    query = (
        select(looks)
        .where(table.destination_id == destination_id, table.due_at <= now)
        .order_by(table.due_at)
        .limit(limit)
    )
    return [
        Asked(
            row.repository,
            row.reference,
            frozenset(msgspec.json.decode(row.digests, type=list[str])),
            Level(row.level),
            row.asked_at,
        )
        for row in connection.execute(query)
    ]


def answer(connection: Connection, name: Name, answered: Answered) -> None:
    """Say that a look was taken; it stays due for whoever asked after it was decided on."""
    table = looks.c
    connection.execute(
        update(looks)
        .where(_named([name]), table.due_at.is_not(None))
        .values(answered_at=answered.at, problem=answered.problem, detail=answered.detail)
    )
    connection.execute(
        update(looks).where(_named([name]), table.asked_at <= answered.at).values(due_at=None)
    )


def answers(connection: Connection, names: Collection[Name]) -> dict[Name, Answered]:
    """The last look that was taken for somebody, by name."""
    table = looks.c
    query = select(looks).where(_named(names), table.answered_at.is_not(None))
    return {
        (row.destination_id, row.repository, row.reference): Answered(
            row.answered_at, Reason(row.problem) if row.problem else None, row.detail
        )
        for row in connection.execute(query)
    }


def forget(connection: Connection, now: Millis) -> bool:
    """Forget what was asked long ago; whether there may be more to forget."""
    table = looks.c
    key = (table.destination_id, table.repository, table.reference)
    old: Sequence[tuple[int, str, str]] = [
        (row[0], row[1], row[2])
        for row in connection.execute(
            select(*key).where(table.asked_at < now - KEPT).limit(DROPPED)
        )
    ]
    if old:
        connection.execute(delete(looks).where(tuple_(*key).in_(old)))
    return len(old) == DROPPED


def _named(names: Collection[Name]) -> ColumnElement[bool]:
    table = looks.c
    return tuple_(table.destination_id, table.repository, table.reference).in_(list(names))
