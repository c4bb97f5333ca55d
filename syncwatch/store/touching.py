"""What a run of Harbor's may have changed at a destination, to be looked at once more.

In: `follow`, when a task has ended. A copy changes the references that it names. A deletion may
take more: most registries delete by digest, and every tag of the digest goes with it, whoever
brought it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, or_, select, true, update

from syncwatch.model import OPEN_STATES, SECOND, Operation, State
from syncwatch.store import executions
from syncwatch.store.schema import expectations, revisions, subjects

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement, Connection, Row

    from syncwatch.model import Millis

_ROWS = expectations.c
SLACK = SECOND
"""Executions and what they are for are timed a moment apart."""


def wake_touched(
    connection: Connection, harbor: str, task: Row[Any], began: Millis | None, now: Millis
) -> set[int]:
    """Make due what a task that ended may have touched; the destinations with something to do.

    `began` is when its execution did, in Harbor's clock.
    """
    there = and_(
        subjects.c.harbor == harbor,
        subjects.c.repository == task.repository,
        subjects.c.destination_id.in_(_destinations(harbor, task.policy_id)),
    )
    if task.operation in ("", "copy"):
        touched = _by_copy(task, began)
    else:
        touched = _by_deletion(connection, there, executions.references(task))
    woken = connection.execute(
        update(expectations)
        .where(
            _ROWS.id.in_(
                select(_ROWS.id)
                .join(subjects, subjects.c.newest_id == _ROWS.id)
                .where(there, touched)
            ),
            _ROWS.state.in_(OPEN_STATES | {State.VERIFIED}),
            or_(_ROWS.due_at.is_(None), _ROWS.due_at > now),
        )
        .values(due_at=now)
        .returning(_ROWS.destination_id)
    )
    return set(woken.scalars())


def _destinations(harbor: str, policy_id: int) -> Any:
    """Where a policy's runs may have gone, those before an edit of it too."""
    return select(revisions.c.destination_id).where(
        revisions.c.harbor == harbor, revisions.c.policy_id == policy_id
    )


def _by_copy(task: Row[Any], began: Millis | None) -> ColumnElement[bool]:
    """What is verified and not touched needs no look, however many tags its repository has.

    Where nobody told what was copied, it may be what was deleted after the run began.
    """
    references = executions.references(task)
    if references is not None:
        return subjects.c.reference.in_(references)
    late = _ROWS.pushed_at >= (began or 0) - SLACK
    deleted = and_(_ROWS.operation == Operation.DELETION, late)
    # What was proven while the run went on waits to be looked at once more.
    return or_(_ROWS.state != State.VERIFIED, _ROWS.due_at.is_not(None), deleted)


def _by_deletion(
    connection: Connection, there: ColumnElement[bool], references: Collection[str] | None
) -> ColumnElement[bool]:
    """All that has a digest in common with what went; everything, where that is not known."""
    if references is None:
        return true()
    query = (
        select(subjects.c.reference, _ROWS.digest)
        .join(subjects, subjects.c.id == _ROWS.subject_id)
        .where(there, subjects.c.reference.in_(references))
        .distinct()
    )
    known = connection.execute(query).all()
    if set(references) - {row.reference for row in known}:
        return true()
    digests = {row.digest for row in known}
    return or_(subjects.c.reference.in_(references), _ROWS.digest.in_(digests))
