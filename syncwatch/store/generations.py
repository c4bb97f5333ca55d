"""Generations of subjects: what begins one, and what is no news.

In: `plan`, with what the source names. A new generation begins when the source's tag names another
digest, or is set again after its deletion; the same digest again begins nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, select, update

from syncwatch.model import SECOND, Change, Level, Millis, Operation, Origin, Reason, State
from syncwatch.store.dialect import insert
from syncwatch.store.expectations import change_of, close, compare_and_set, count, note
from syncwatch.store.schema import expectations, subjects

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row


@dataclass(frozen=True, slots=True)
class Opening:
    """What is expected, as the planner sees it.

    `digest` is to be served as `reference` in `repository` at the destination. `current` says
    whether the source named it when it was read at `source_read_at` (our clock); else it was
    already overtaken, or Harbor could not be asked (`source_read_at` None) and the event's word
    stands in. `pushed_at` is Harbor's clock, the rest ours.
    """

    harbor: str
    policy_id: int
    source_repository: str
    reference: str
    destination_id: int
    repository: str
    digest: str
    origin: Origin
    pushed_at: Millis
    expected_at: Millis
    deadline_at: Millis
    required_level: Level
    current: bool
    source_read_at: Millis | None
    notified_at: Millis | None = None
    execution_id: int | None = None
    due_at: Millis | None = None


def open_generation(connection: Connection, opening: Opening, now: Millis) -> list[Change]:
    """Begin a generation where this is news; say nothing where it is known.

    A new generation begins when the source's tag names another digest, or is set again after its
    deletion. The same digest again begins nothing. What was overtaken opens and closes at once.
    """
    subject = _subject(connection, opening)
    known = _generations(connection, subject.id)
    if opening.source_read_at is not None and (subject.source_read_at or 0) <= (
        opening.source_read_at
    ):
        _remember_source(connection, subject, opening)
    elif opening.source_read_at is None:
        _ask_source_again(connection, subject.id, now)
    newest = next((row for row in known if row.id == subject.newest_id), None)
    if not _is_current(opening, newest):
        return _overtaken(connection, subject, known, opening, now)
    if newest is not None and newest.digest == opening.digest and not _set_anew(newest):
        return _complete(connection, newest, opening)
    told = _supersede(connection, newest, opening, now) if newest is not None else []
    row = _insert(connection, subject, opening, now)
    connection.execute(
        update(subjects)
        .where(subjects.c.id == subject.id)
        .values(newest_id=row.id, behind_since=_behind(connection, subject.id, opening))
    )
    return [*told, change_of(connection, row, None)]


def _is_current(opening: Opening, newest: Row[Any] | None) -> bool:
    if opening.source_read_at is None and newest is not None:
        return bool(opening.pushed_at >= newest.pushed_at)
    return opening.current


_NO_LONGER = (Reason.DELETED_AT_SOURCE, Reason.DESTINATION_GONE)
"""Ends of a generation after which the same digest is news again."""


def _set_anew(newest: Row[Any]) -> bool:
    """Whether what ended the newest generation is over, so that this begins another."""
    return bool(newest.state == State.CLOSED and newest.reason in _NO_LONGER)


def _subject(connection: Connection, opening: Opening) -> Row[Any]:
    key = {
        "harbor": opening.harbor,
        "policy_id": opening.policy_id,
        "source_repository": opening.source_repository,
        "reference": opening.reference,
        "destination_id": opening.destination_id,
        "repository": opening.repository,
    }
    connection.execute(insert(connection)(subjects).values(**key).on_conflict_do_nothing())
    query = select(subjects).where(and_(*(subjects.c[name] == v for name, v in key.items())))
    return connection.execute(query.with_for_update()).one()


def _generations(connection: Connection, subject_id: int) -> list[Row[Any]]:
    """The newest generations of a subject, by the time of their push, newest first."""
    table = expectations.c
    query = (
        select(expectations)
        .where(table.subject_id == subject_id)
        .order_by(table.pushed_at.desc(), table.id.desc())
        .limit(50)
    )
    return list(connection.execute(query))


def _remember_source(connection: Connection, subject: Row[Any], opening: Opening) -> None:
    if not opening.current:
        return
    connection.execute(
        update(subjects)
        .where(subjects.c.id == subject.id)
        .values(
            source_digest=opening.digest,
            source_read_at=opening.source_read_at,
            source_due_at=None,
        )
    )


def _ask_source_again(connection: Connection, subject_id: int, now: Millis) -> None:
    connection.execute(
        update(subjects).where(subjects.c.id == subject_id).values(source_due_at=now + 5 * SECOND)
    )


def _complete(connection: Connection, row: Row[Any], opening: Opening) -> list[Change]:
    """A second source told of the same generation: keep what the first could not know."""
    values: dict[str, Any] = {}
    if row.notified_at is None and opening.notified_at is not None:
        values["notified_at"] = opening.notified_at
    if opening.origin is Origin.PUSH and row.origin == Origin.TAG:
        values["origin"] = Origin.PUSH
    late = opening.pushed_at - row.pushed_at
    if opening.current and opening.source_read_at is not None and 0 < abs(late) < 2 * SECOND:
        # A webhook's second stood in while Harbor could not be asked for the tag's own time.
        values["pushed_at"] = opening.pushed_at
        values["expected_at"] = row.expected_at + late
        if row.settled is None:
            values["deadline_at"] = row.deadline_at + late
    if not values:
        return []
    return [change_of(connection, compare_and_set(connection, row, values), row)]


def _overtaken(
    connection: Connection,
    subject: Row[Any],
    known: list[Row[Any]],
    opening: Opening,
    now: Millis,
) -> list[Change]:
    """The source names something else by now: a generation that ends as it begins.

    A digest that was in force at the time, or is known with that push, is no news.
    """
    in_force = next((row for row in known if row.pushed_at <= opening.pushed_at + SECOND), None)
    if in_force is not None and in_force.digest == opening.digest:
        return _complete(connection, in_force, opening)
    row = _insert(connection, subject, replace(opening, due_at=None), now)
    # Nobody could have been told of it in time, so it is excused whatever its subject's age.
    ended = close(
        connection,
        row.id,
        Reason.SUPERSEDED,
        _SUPERSEDED,
        now,
        keep_behind=True,
        superseded_at=row.expected_at,
    )
    return [change_of(connection, row, None), *([ended] if ended else [])]


_SUPERSEDED = "The source's tag names a newer digest."


def _behind(connection: Connection, subject_id: int, opening: Opening) -> Millis:
    before = connection.execute(
        select(subjects.c.behind_since).where(subjects.c.id == subject_id)
    ).scalar()
    return min(before, opening.expected_at) if before is not None else opening.expected_at


def _supersede(
    connection: Connection, newest: Row[Any], opening: Opening, now: Millis
) -> list[Change]:
    told = close(
        connection,
        newest.id,
        Reason.SUPERSEDED,
        _SUPERSEDED,
        now,
        keep_behind=True,
        superseded_at=opening.expected_at,
    )
    return [told] if told else []


def _insert(connection: Connection, subject: Row[Any], opening: Opening, now: Millis) -> Row[Any]:
    scheduled = opening.due_at is not None and opening.due_at > now
    values = {
        "subject_id": subject.id,
        "harbor": opening.harbor,
        "policy_id": opening.policy_id,
        "destination_id": opening.destination_id,
        "operation": Operation.COPY,
        "origin": opening.origin,
        "digest": opening.digest,
        "state": State.PENDING,
        "reason": Reason.SCHEDULED if scheduled else Reason.WAITING,
        "message": "No look has been taken yet.",
        "required_level": opening.required_level,
        "pushed_at": opening.pushed_at,
        "expected_at": opening.expected_at,
        "deadline_at": opening.deadline_at,
        "notified_at": opening.notified_at,
        "execution_id": opening.execution_id,
        "due_at": opening.due_at,
    }
    query = expectations.insert().values(**values).returning(expectations)
    row = connection.execute(query).one()
    count(connection, row, 1)
    note(connection, row.id, now, "expected", f"{opening.digest} by {opening.origin}")
    return row
