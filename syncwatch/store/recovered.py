"""Events whose webhook was due and never came: found by the feed or the sweep, counted once.

In: `plan`, when it has planned all deliveries that there are. A push of one reference may be
expected at several destinations; it is one event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, update

from syncwatch.model import KnownBy, Millis, Operation, Origin
from syncwatch.store.schema import expectations, subjects

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row, Select

TAKEN = 100
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
    found = []
    for event in connection.execute(_events(harbor, now)).all():
        rows = _rows_of(event, harbor)
        told = connection.execute(select(_table.id).where(*rows, *_COUNTED).limit(1)).first()
        connection.execute(
            update(expectations)
            .where(*rows, _table.recovered_due_at.is_not(None))
            .values(recovered_due_at=None)
        )
        if event.notified_at is None and told is None:
            kind = DELETED if event.operation == Operation.DELETION else PUSHED
            found.append((kind, KnownBy(event.known_by)))
    return found


_table = expectations.c

_COUNTED = (
    _table.origin == Origin.PUSH,
    _table.notified_at.is_(None),
    _table.recovered_due_at.is_(None),
)
"""What a row of an event looks like that was counted: another policy's may be opened later."""


def _events(harbor: str, now: Millis) -> Select[Any]:
    """Each event with a row that is due: one push is expected once by every policy."""
    event = (subjects.c.source_repository, subjects.c.reference, _table.digest, _table.operation)
    return (
        select(
            *event,
            func.min(_table.known_by).label("known_by"),
            func.max(_table.notified_at).label("notified_at"),
        )
        .join(subjects, subjects.c.id == _table.subject_id)
        .where(_due(harbor, now))
        .group_by(*event)
        .limit(TAKEN)
    )


def _rows_of(event: Row[Any], harbor: str) -> tuple[ColumnElement[bool], ...]:
    here = select(subjects.c.id).where(
        subjects.c.harbor == harbor,
        subjects.c.source_repository == event.source_repository,
        subjects.c.reference == event.reference,
    )
    return (
        _table.subject_id.in_(here),
        _table.digest == event.digest,
        _table.operation == event.operation,
    )
