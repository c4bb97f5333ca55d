"""Maintenance of a destination, asked for by hand. In: `report`; out: `verify`, by its terms.

While it lasts the destination is observed, and nothing there is overdue or missed: a deadline
within it moves to its end (`expectations.judge`). Who asked stands in the timeline of what is open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from syncwatch.model import OPEN_STATES
from syncwatch.store.schema import changes, destinations, expectations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection

    from syncwatch.model import Millis

PAUSED, RESUMED = "paused", "resumed"
NOTED_AT_ONCE = 1_000
"""How many open expectations get a line in their timeline, the newest."""


def pause(
    connection: Connection, destination_id: int, until: Millis, by: str, detail: str, now: Millis
) -> int:
    """Maintenance until a moment (ours), asked for by `by`; how many timelines tell of it."""
    _write(connection, destination_id, until, by)
    return _note(connection, destination_id, PAUSED, detail, now)


def resume(
    connection: Connection, destination_id: int, deadline: Millis, detail: str, now: Millis
) -> int:
    """The maintenance is over now; how many timelines tell of it.

    Deadlines that had moved to its end come back: `deadline` (ms) after the image was expected,
    and not before now.
    """
    was = connection.execute(
        select(destinations.c.paused_until).where(destinations.c.id == destination_id)
    ).scalar()
    _write(connection, destination_id, None, None)
    if was is not None and was > now:
        _bring_back(connection, destination_id, was, deadline, now)
    return _note(connection, destination_id, RESUMED, detail, now)


def _write(
    connection: Connection, destination_id: int, until: Millis | None, by: str | None
) -> None:
    connection.execute(
        update(destinations)
        .where(destinations.c.id == destination_id)
        .values(paused_until=until, paused_by=by)
    )


def _bring_back(
    connection: Connection, destination_id: int, was: Millis, deadline: Millis, now: Millis
) -> None:
    table = expectations.c
    moved = (*_open(destination_id), table.deadline_at == was, table.settled.is_(None))
    early = table.expected_at + deadline <= now
    connection.execute(update(expectations).where(*moved, early).values(deadline_at=now))
    connection.execute(
        update(expectations).where(*moved).values(deadline_at=table.expected_at + deadline)
    )


def _note(connection: Connection, destination_id: int, what: str, detail: str, now: Millis) -> int:
    ids: Sequence[Any] = (
        connection.execute(
            select(expectations.c.id)
            .where(*_open(destination_id))
            .order_by(expectations.c.id.desc())
            .limit(NOTED_AT_ONCE)
        )
        .scalars()
        .all()
    )
    lines = [{"expectation_id": one, "at": now, "what": what, "detail": detail} for one in ids]
    if lines:
        connection.execute(changes.insert(), lines)
    return len(lines)


def _open(destination_id: int) -> tuple[ColumnElement[bool], ...]:
    table = expectations.c
    return (table.destination_id == destination_id, table.state.in_(OPEN_STATES))
