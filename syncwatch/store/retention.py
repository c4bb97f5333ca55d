"""Forgetting: what has ended is kept for a while and up to a count, and goes in small steps.

A subject's newest generation stays while its policy and tag exist. Each step is one short
transaction, so that no acknowledgement waits behind it; True asks for another step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, or_, select, update

from syncwatch.model import HOUR, Millis, Operation, Reason, State
from syncwatch.store.schema import (
    changes,
    claims,
    counts,
    deliveries,
    executions,
    expectations,
    observations,
    subjects,
    tasks,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

STEP = 200
"""How many rows one step forgets."""

ENDED_FOR_GOOD = (
    Reason.POLICY_GONE,
    Reason.DESTINATION_GONE,
    Reason.DELETED_AT_SOURCE,
    Reason.DELETION_UNSUPPORTED,
)
"""Reasons after which even a newest generation is not kept: policy or tag no longer exist."""

CLAIMS_KEPT = 24 * HOUR


def forget_deliveries(connection: Connection, before: Millis, most: int) -> bool:
    """Planned deliveries received before a moment, and the oldest above a count."""
    table = deliveries.c
    newest = connection.execute(select(func.max(table.id))).scalar() or 0
    ids = connection.execute(
        select(table.id)
        .where(table.due_at.is_(None), or_(table.received_at < before, table.id <= newest - most))
        .order_by(table.id)
        .limit(STEP)
    ).scalars()
    return _delete(connection, deliveries, table.id, list(ids))


def forget_expectations(connection: Connection, before: Millis, most: int) -> bool:
    """Generations that ended before a moment, and the oldest ended above a count."""
    kept = connection.execute(
        select(func.coalesce(func.sum(counts.c.n), 0)).where(counts.c.state == State.CLOSED)
    ).scalar()
    table = expectations.c
    replaced = or_(subjects.c.newest_id.is_(None), subjects.c.newest_id != table.id)
    query = (
        select(expectations)
        .join(subjects, subjects.c.id == table.subject_id)
        .where(table.closed_at.is_not(None), or_(replaced, table.reason.in_(ENDED_FOR_GOOD)))
        .order_by(table.closed_at)
        .limit(min(STEP, max(0, int(kept or 0) - most)) or STEP)
    )
    if int(kept or 0) <= most:
        query = query.where(table.closed_at < before)
    rows = list(connection.execute(query))
    for row in rows:
        _forget_expectation(connection, row)
    return len(rows) >= STEP


def forget_deletions(connection: Connection, before: Millis) -> bool:
    """Deletions that were verified before a moment: nothing is left that they are about."""
    table = expectations.c
    query = (
        select(expectations)
        .where(
            table.operation == Operation.DELETION,
            table.state == State.VERIFIED,
            table.due_at.is_(None),
            table.proved_at < before,
        )
        .limit(STEP)
    )
    rows = list(connection.execute(query))
    for row in rows:
        _forget_expectation(connection, row)
    return len(rows) >= STEP


def _forget_expectation(connection: Connection, row: Row[Any]) -> None:
    connection.execute(delete(changes).where(changes.c.expectation_id == row.id))
    connection.execute(delete(expectations).where(expectations.c.id == row.id))
    connection.execute(
        update(counts)
        .where(
            counts.c.harbor == row.harbor,
            counts.c.policy_id == row.policy_id,
            counts.c.destination_id == row.destination_id,
            counts.c.state == row.state,
            counts.c.reason == row.reason,
            counts.c.overdue == int(row.overdue),
        )
        .values(n=counts.c.n - 1)
    )
    subject = connection.execute(select(subjects).where(subjects.c.id == row.subject_id)).one()
    if subject.newest_id in (None, row.id):
        _forget_subject(connection, subject)


def _forget_subject(connection: Connection, subject: Row[Any]) -> None:
    others = connection.execute(
        select(expectations.c.id).where(expectations.c.subject_id == subject.id).limit(1)
    ).first()
    if others is not None:
        connection.execute(
            update(subjects).where(subjects.c.id == subject.id).values(newest_id=None)
        )
        return
    connection.execute(delete(subjects).where(subjects.c.id == subject.id))
    connection.execute(
        delete(observations).where(
            observations.c.destination_id == subject.destination_id,
            observations.c.repository == subject.repository,
            observations.c.reference == subject.reference,
        )
    )


def forget_executions(connection: Connection, before: Millis) -> bool:
    """Executions that nothing more can come of and that last changed before a moment."""
    table = executions.c
    rows = list(
        connection.execute(
            select(table.harbor, table.execution_id)
            .where(table.due_at.is_(None), table.changed_at < before)
            .order_by(table.changed_at)
            .limit(STEP)
        )
    )
    for row in rows:
        for kept in (tasks, executions):
            connection.execute(
                delete(kept).where(
                    kept.c.harbor == row.harbor, kept.c.execution_id == row.execution_id
                )
            )
    return len(rows) >= STEP


def forget_claims(connection: Connection, now: Millis) -> bool:
    """Claims on digests pushed without a tag; they are of use for minutes."""
    connection.execute(delete(claims).where(claims.c.at < now - CLAIMS_KEPT))
    return False


def _delete(connection: Connection, table: Any, column: Any, ids: list[int]) -> bool:
    if ids:
        connection.execute(delete(table).where(column.in_(ids)))
    return len(ids) >= STEP
