"""Events whose webhook was due and never came: found by the feed or the sweep, counted once.

In: `plan`, when it has planned all deliveries that there are. A push of one reference may be
expected at several destinations; it is one event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update

from syncwatch.model import KnownBy, Millis, Operation
from syncwatch.store.schema import expectations, subjects

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

TAKEN = 500
PUSHED, DELETED = "PUSH_ARTIFACT", "DELETE_ARTIFACT"
"""Harbor's names of the events that have a webhook (notification.go)."""


def _due(harbor: str, now: Millis) -> ColumnElement[bool]:
    table = expectations.c
    return (table.harbor == harbor) & (table.recovered_due_at <= now)


def is_due(connection: Connection, harbor: str, now: Millis) -> bool:
    """Whether any webhook of a harbor is missed by now."""
    return connection.execute(select(1).where(_due(harbor, now)).limit(1)).first() is not None


def take(connection: Connection, harbor: str, now: Millis) -> list[tuple[str, KnownBy]]:
    """The events missed by now, as (Harbor's type, what told of it); they are not told again."""
    table = expectations.c
    query = (
        select(
            table.id,
            table.operation,
            table.digest,
            table.known_by,
            table.notified_at,
            subjects.c.source_repository,
            subjects.c.reference,
        )
        .join(subjects, subjects.c.id == table.subject_id)
        .where(_due(harbor, now))
        .order_by(table.id)
        .limit(TAKEN)
    )
    rows = connection.execute(query).all()
    ids = [row.id for row in rows]
    connection.execute(update(expectations).where(table.id.in_(ids)).values(recovered_due_at=None))
    events = {
        (row.source_repository, row.reference, row.digest, row.operation): KnownBy(row.known_by)
        for row in rows
        if row.notified_at is None
    }
    return [
        (DELETED if operation == Operation.DELETION else PUSHED, known_by)
        for (_, _, _, operation), known_by in events.items()
    ]
