"""Generations of subjects: what begins one, and what is no news.

In: `plan`, with what the source names. A new generation begins when the source's tag names another
digest, or is set again after its deletion; the same digest again begins nothing. A deletion that is
replicated is a generation too: what its copy wanted has to be gone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, select, update

from syncwatch.model import SECOND, Change, KnownBy, Level, Millis, Operation, Origin, Reason, State
from syncwatch.store.dialect import insert
from syncwatch.store.expectations import change_of, close, compare_and_set, count, note
from syncwatch.store.schema import expectations, subjects

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row


@dataclass(frozen=True, slots=True)
class Opening:
    """What is expected, as the planner sees it.

    `digest` is to be served as `reference` in `repository` at the destination. `current` says
    whether the source named it when it was read at `source_read_at` (our clock); else it was
    already overtaken, or Harbor could not be asked (`source_read_at` None) and the event's word
    stands in. `pushed_at` is Harbor's clock, the rest ours. Of a deletion, `digest` is what has to
    be gone, and `pushed_at` when the source's reference went. `known_by` is what told of it first,
    and at `recovered_due_at` its webhook is missed.
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
    due_at: Millis | None = None
    operation: Operation = Operation.COPY
    known_by: KnownBy = KnownBy.WEBHOOK
    recovered_due_at: Millis | None = None


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
    if newest is not None and not _begins_another(newest, subject, opening):
        return _complete(connection, newest, opening)
    told = _supersede(connection, newest, opening, now, _why(newest)) if newest is not None else []
    row = _insert(connection, subject, opening, now)
    _become_newest(connection, subject.id, row, opening)
    return [*told, change_of(connection, row, None)]


def _become_newest(
    connection: Connection, subject_id: int, row: Row[Any], opening: Opening
) -> None:
    connection.execute(
        update(subjects)
        .where(subjects.c.id == subject_id)
        .values(newest_id=row.id, behind_since=_behind(connection, subject_id, opening))
    )


def open_deletion(
    connection: Connection, opening: Opening, now: Millis, *, told: bool, excuse: str = ""
) -> list[Change]:
    """Begin the deletion of what a subject wanted so far, where this is news; its copy ends.

    `told` says that somebody's word for this deletion gives `pushed_at`, and not our reading the
    source: without it nothing begins for a subject that is new or that had ended. `excuse` says why
    Harbor cannot do it there, and then it ends as it begins.
    """
    if not told and connection.execute(select(subjects.c.id).where(_is(opening))).first() is None:
        return []
    subject = _subject(connection, opening)
    known = _generations(connection, subject.id)
    newest = next((row for row in known if row.id == subject.newest_id), None)
    if newest is not None and not _is_news(newest, opening, told=told):
        return _told_earlier(connection, newest, known, opening) if told else []
    changes = _end_of(connection, newest, opening, now) if newest is not None else []
    wanted = opening.digest if newest is None else newest.digest
    row = _insert(connection, subject, replace(opening, digest=wanted), now)
    _become_newest(connection, subject.id, row, opening)
    changes.append(change_of(connection, row, None))
    ended = close(connection, row.id, Reason.DELETION_UNSUPPORTED, excuse, now) if excuse else None
    return [*changes, ended] if ended else changes


APART = 10 * SECOND
"""Two words for one deletion (its webhook, its execution) are no further apart than this."""


def _is_news(newest: Row[Any], opening: Opening, *, told: bool) -> bool:
    if newest.operation == Operation.DELETION:
        return told and opening.pushed_at > newest.pushed_at + APART
    return told or newest.state != State.CLOSED


def _end_of(
    connection: Connection, newest: Row[Any], opening: Opening, now: Millis
) -> list[Change]:
    if newest.operation == Operation.DELETION:
        return _supersede(connection, newest, opening, now, _DELETED_AGAIN)
    ended = close(connection, newest.id, Reason.DELETED_AT_SOURCE, GONE, now)
    return [ended] if ended else []


GONE = "The source no longer has the reference."
_DELETED_AGAIN = "The source's reference was set and deleted again."


def _told_earlier(
    connection: Connection, newest: Row[Any], known: list[Row[Any]], opening: Opening
) -> list[Change]:
    """A deletion that we found by reading has its own time, told late: its execution's, mostly."""
    early = opening.pushed_at - newest.pushed_at
    between = any(row.id != newest.id and row.pushed_at >= opening.pushed_at for row in known)
    if newest.operation == Operation.COPY or early >= 0 or between:
        return []
    values = {"pushed_at": opening.pushed_at, "expected_at": newest.expected_at + early}
    if newest.settled is None:
        values["deadline_at"] = newest.deadline_at + early
    return [change_of(connection, compare_and_set(connection, newest, values), newest)]


def _is_current(opening: Opening, newest: Row[Any] | None) -> bool:
    if opening.source_read_at is None and newest is not None:
        return bool(opening.pushed_at >= newest.pushed_at)
    return opening.current


_NO_LONGER = (Reason.DELETED_AT_SOURCE, Reason.DESTINATION_GONE)
"""Ends of a generation after which the same digest is news again."""


def _begins_another(newest: Row[Any], subject: Row[Any], opening: Opening) -> bool:
    """Whether a copy that is current is more than the newest generation once more."""
    if newest.digest != opening.digest or newest.operation == Operation.DELETION:
        return True
    if newest.state == State.CLOSED and newest.reason in _NO_LONGER:
        return True
    return _set_anew(newest, subject, opening)


def _set_anew(newest: Row[Any], subject: Row[Any], opening: Opening) -> bool:
    """Whether the tag went and was set to the same digest again before we could read its absence.

    Harbor moves a tag's time only when it is set to something else, or made.
    """
    if subject.deleted_at is None or opening.source_read_at is None:
        return False
    return bool(newest.pushed_at < opening.pushed_at >= subject.deleted_at)


_KEY = ("harbor", "policy_id", "source_repository", "reference", "destination_id", "repository")


def _is(opening: Opening) -> ColumnElement[bool]:
    return and_(*(subjects.c[name] == getattr(opening, name) for name in _KEY))


def _subject(connection: Connection, opening: Opening) -> Row[Any]:
    key = {name: getattr(opening, name) for name in _KEY}
    connection.execute(insert(connection)(subjects).values(**key).on_conflict_do_nothing())
    return connection.execute(select(subjects).where(_is(opening)).with_for_update()).one()


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
        values |= {"notified_at": opening.notified_at, "recovered_due_at": None}
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
    copies = (row for row in known if row.operation == Operation.COPY)
    in_force = next((row for row in copies if row.pushed_at <= opening.pushed_at + SECOND), None)
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
_SET_AGAIN = "The source's reference was set again."


def _why(newest: Row[Any]) -> str:
    return _SET_AGAIN if newest.operation == Operation.DELETION else _SUPERSEDED


def _behind(connection: Connection, subject_id: int, opening: Opening) -> Millis:
    before = connection.execute(
        select(subjects.c.behind_since).where(subjects.c.id == subject_id)
    ).scalar()
    return min(before, opening.expected_at) if before is not None else opening.expected_at


def _supersede(
    connection: Connection, newest: Row[Any], opening: Opening, now: Millis, why: str
) -> list[Change]:
    told = close(
        connection,
        newest.id,
        Reason.SUPERSEDED,
        why,
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
        "operation": opening.operation,
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
        "known_by": opening.known_by,
        "recovered_due_at": opening.recovered_due_at,
        "due_at": opening.due_at,
    }
    query = expectations.insert().values(**values).returning(expectations)
    row = connection.execute(query).one()
    count(connection, row, 1)
    told = f"{opening.digest} by {opening.origin}"
    if opening.operation == Operation.DELETION:
        told = f"{opening.digest} is to be gone"
    note(connection, row.id, now, "expected", told)
    return row
