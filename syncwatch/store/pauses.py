"""Maintenance of a destination, asked for by hand. In: `report`; out: `verify`, by its terms.

While it lasts the destination is observed, and nothing there is overdue or missed: a deadline
within it moves to its end (`expectations.judge`). Who asked stands in the timeline of what is open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import case, literal, select, true, update

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
    was = until(connection, destination_id)
    _write(connection, destination_id, None, None)
    if was > now:
        _bring_back(connection, destination_id, was, deadline, now)
    return _note(connection, destination_id, RESUMED, detail, now)


def until(connection: Connection, destination_id: int) -> Millis:
    """The end of the maintenance that was asked for by hand; 0 for none."""
    query = select(destinations.c.paused_until).where(destinations.c.id == destination_id)
    return connection.execute(query).scalar() or 0


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
    came_back = table.expected_at + deadline
    for condition, at in ((came_back <= now, literal(now)), (true(), came_back)):
        # What nobody would have looked at before its deadline is looked at then.
        due_at = case((table.due_at < at, table.due_at), else_=at)
        values = {"deadline_at": at, "due_at": due_at}
        connection.execute(update(expectations).where(*moved, condition).values(values))


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
