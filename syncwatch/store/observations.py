"""What looks at destinations saw: the last few of each name, and the last good one.

In and out: `verify`. An observation belongs to (destination, repository, reference), so all
expectations on that name share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import delete, select

from syncwatch.model import Accessory, Flaw, Held, Level, Observation, Reason, Request
from syncwatch.store.schema import observations

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from syncwatch.model import Millis

KEPT = 5
"""How many looks are kept of one name, beside the last good one."""


class _Seen(msgspec.Struct, frozen=True):
    held: dict[str, str]
    detail: str
    requests: list[tuple[str, str, int | None, str | None, float]]
    flaws: dict[str, tuple[str, str]] = {}
    accessories: list[tuple[str, str, str, bool | None, list[str]]] = []


def add(
    connection: Connection, destination_id: int, repository: str, reference: str, seen: Observation
) -> None:
    """Keep a look, and forget those too many."""
    more = _Seen(
        held={digest: str(held) for digest, held in seen.held.items()},
        detail=seen.detail,
        requests=[(r.method, r.url, r.status, r.digest, r.seconds) for r in seen.requests],
        flaws={digest: (flaw.reason, flaw.detail) for digest, flaw in seen.flaws.items()},
        accessories=[
            (one.digest, one.type, one.reference, one.at_destination, list(one.found_by))
            for one in seen.accessories
        ],
    )
    connection.execute(
        observations.insert().values(
            destination_id=destination_id,
            repository=repository,
            reference=reference,
            began_at=seen.began_at,
            at=seen.at,
            served=seen.served,
            level=seen.level,
            problem=seen.problem,
            seen=msgspec.json.encode(more).decode(),
        )
    )
    _forget(connection, destination_id, repository, reference)


@dataclass(frozen=True, slots=True)
class Past:
    """What matters of a look that was taken before: what it saw served, proven how deep."""

    at: Millis
    served: str | None
    level: Level | None
    problem: Reason | None

    def proves(self, digest: str, level: Level) -> bool:
        """As Observation.proves: a level is only ever that of the served digest."""
        wanted = min(level.depth, Level.READABLE.depth)
        return self.served == digest and self.level is not None and self.level.depth >= wanted


def past(
    connection: Connection, destination_id: int, repository: str, reference: str
) -> list[Past]:
    """The looks that are kept of a name, newest first, without their requests."""
    table = observations.c
    columns = (table.at, table.served, table.level, table.problem)
    return [
        Past(
            row.at,
            row.served,
            Level(row.level) if row.level else None,
            Reason(row.problem) if row.problem else None,
        )
        for row in _rows(connection, destination_id, repository, reference, *columns)
    ]


def latest(
    connection: Connection, destination_id: int, repository: str, reference: str
) -> list[Observation]:
    """The looks that are kept of a name, newest first."""
    return [_observation(row) for row in _rows(connection, destination_id, repository, reference)]


def _rows(
    connection: Connection, destination_id: int, repository: str, reference: str, *columns: Any
) -> list[Row[Any]]:
    table = observations.c
    query = (
        select(*columns or (observations,))
        .where(
            table.destination_id == destination_id,
            table.repository == repository,
            table.reference == reference,
        )
        .order_by(table.id.desc())
        .limit(4 * KEPT)
    )
    return list(connection.execute(query))


def _forget(connection: Connection, destination_id: int, repository: str, reference: str) -> None:
    table = observations.c
    rows = _rows(connection, destination_id, repository, reference, table.id, table.level)
    good = next((row.id for row in rows if row.level is not None), None)
    over = [row.id for row in rows[KEPT:] if row.id != good]
    if over:
        connection.execute(delete(observations).where(observations.c.id.in_(over)))


def _observation(row: Row[Any]) -> Observation:
    more = msgspec.json.decode(row.seen, type=_Seen)
    return Observation(
        began_at=row.began_at,
        at=row.at,
        served=row.served,
        held={digest: Held(held) for digest, held in more.held.items()},
        level=Level(row.level) if row.level else None,
        problem=Reason(row.problem) if row.problem else None,
        detail=more.detail,
        requests=tuple(Request(*one) for one in more.requests),
        flaws={digest: Flaw(Reason(word), told) for digest, (word, told) in more.flaws.items()},
        accessories=tuple(
            Accessory(digest, kind, reference, there, tuple(found))
            for digest, kind, reference, there, found in more.accessories
        ),
    )
