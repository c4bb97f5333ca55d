"""The outbox of the outgoing webhook.

In: every move of an expectation, in the transaction that moves it, so that nothing is told that
did not happen and nothing that happened is forgotten. Out: what is due, for `notify`, which writes
down what became of it. Nothing is written unless somebody wants to be told.

Of one expectation it is told in turns that it was verified and that it failed: what comes between
is no news to whoever acts on it. That an image is verified everywhere is told once. What was told
before is read from the timelines, which are kept for as long as the expectations are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import delete, func, or_, select, update

from syncwatch.config.notifying import Event
from syncwatch.model import Millis, Operation, Reason, State
from syncwatch.store import told
from syncwatch.store.policies import Destination
from syncwatch.store.reading import one_expectation
from syncwatch.store.schema import changes, destinations, expectations, notifications, subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import Connection, Row

MOST = 10_000
"""How many wait at most, and how many that do not are kept."""

STEP = 200
"""How many rows one transaction ends or forgets."""

_OPTION = "syncwatch_notifications"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events somebody wants to be told of; `host` is how pods call a destination."""

    events: Collection[Event]
    host: Callable[[Destination], str]


def want(connection: Connection, wanted: Wanted | None) -> None:
    """From the next transaction on, write down what is wanted; None for nothing.

    It holds for the engine of this connection, and so for all that its process writes.
    """
    connection.engine.update_execution_options(**{_OPTION: wanted})


# --- what happened ---------------------------------------------------------------------------

_OF_STATE = {State.VERIFIED: Event.VERIFIED, State.FAILED: Event.FAILED}

_LEAVES_THE_OTHERS = (Reason.POLICY_GONE, Reason.DESTINATION_GONE, Reason.BY_HAND)
"""Ends of one expectation after which the others may be all that is owed of an image."""


def moved(connection: Connection, before: Row[Any], after: Row[Any], now: Millis) -> None:
    """Write down what this move has to tell; its line in the timeline is not written yet."""
    wanted: Wanted | None = connection.get_execution_options().get(_OPTION)
    if wanted is None or after.operation != Operation.COPY or after.state == before.state:
        return
    event = _OF_STATE.get(State(after.state))
    if event in wanted.events and event is not None and _is_news(connection, after):
        row = one_expectation(connection, after.id)
        if row is not None:
            names = told.names(row, wanted.host(_destination(connection, row.destination_id)))
            _add(connection, event, row, told.expectation(row) | names, now)
    if Event.EVERYWHERE in wanted.events:
        _tell_everywhere(connection, after, wanted, now)


def _add(
    connection: Connection, event: Event, row: Row[Any], data: dict[str, Any], now: Millis
) -> None:
    connection.execute(
        notifications.insert().values(
            event=event,
            harbor=row.harbor,
            subject=told.image(row.source_repository, row.reference),
            data=msgspec.json.encode(data).decode(),
            created_at=now,
            due_at=now,
        )
    )


def _destination(connection: Connection, destination_id: int) -> Destination:
    row = connection.execute(select(destinations).where(destinations.c.id == destination_id)).one()
    return Destination(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public accessor


def _is_news(connection: Connection, row: Row[Any]) -> bool:
    """Whether the timeline's last word, of verified and failed, was the other one."""
    table = changes.c
    known = or_(table.what == State.VERIFIED, table.what.startswith(f"{State.FAILED}/"))
    query = select(table.what).where(table.expectation_id == row.id, known)
    last = connection.execute(query.order_by(table.id.desc()).limit(1)).scalar()
    return last is None or _state_in(last) != row.state


_STATES = frozenset(State)


def _state_in(what: str) -> str:
    return what.partition("/")[0]


def _tell_everywhere(connection: Connection, row: Row[Any], wanted: Wanted, now: Millis) -> None:
    """Tell it where this move was the last that was missing."""
    left = row.state == State.CLOSED and row.reason in _LEAVES_THE_OTHERS
    if row.state != State.VERIFIED and not left:
        return
    alike = _same_image(connection, row)
    owed = [one.id for one in alike if one.state != State.CLOSED]
    complete = bool(owed) and all(one.state in (State.VERIFIED, State.CLOSED) for one in alike)
    if not complete or _was_everywhere(connection, [one.id for one in alike]):
        return
    rows = [one for one in (one_expectation(connection, it) for it in owed) if one]
    if rows:
        data = told.everywhere(
            [(one, wanted.host(_destination(connection, one.destination_id))) for one in rows]
        )
        _add(connection, Event.EVERYWHERE, rows[0], data, now)


def _same_image(connection: Connection, row: Row[Any]) -> list[Any]:
    """All that is expected of this digest under its name; none where the name is another's now."""
    mine = select(subjects).where(subjects.c.id == row.subject_id).subquery()
    names = (subjects.c.harbor, subjects.c.source_repository, subjects.c.reference)
    same = [one == mine.c[one.name] for one in names]
    table = expectations.c
    newest = connection.execute(
        select(table.id, table.state, table.digest, table.operation, table.pushed_at)
        .join(subjects, subjects.c.newest_id == table.id)
        .join(mine, same[0] & same[1] & same[2])
        .order_by(table.id)
    ).all()
    alike = [one for one in newest if one.digest == row.digest and one.operation == Operation.COPY]
    pushed_at = max((one.pushed_at for one in alike), default=0)
    overtaken = any(one.pushed_at > pushed_at for one in newest)
    return [] if overtaken else alike


def _was_everywhere(connection: Connection, ids: Sequence[int]) -> bool:
    """Whether at some time all of these that were known by then were verified, by timelines."""
    table = changes.c
    query = select(table.expectation_id, table.what).where(table.expectation_id.in_(ids))
    states: dict[int, str] = {}
    for expectation_id, what in connection.execute(query.order_by(table.id)):
        if what == "expected":
            states[expectation_id] = State.PENDING
        elif _state_in(what) in _STATES:
            states[expectation_id] = _state_in(what)
        else:
            continue
        known = set(states.values())
        if State.VERIFIED in known and known <= {State.VERIFIED, State.CLOSED}:
            return True
    return False


# --- what becomes of it ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Notification:
    """One event that is to be told: see `schema.notifications`. `data` is JSON."""

    id: int
    event: str
    harbor: str
    subject: str
    data: str
    created_at: Millis
    attempts: int


_TOLD = (
    notifications.c.id,
    notifications.c.event,
    notifications.c.harbor,
    notifications.c.subject,
    notifications.c.data,
    notifications.c.created_at,
    notifications.c.attempts,
)


def due(connection: Connection, now: Millis, since: Millis, limit: int) -> list[Notification]:
    """What is due and happened since a moment, in the order in which it happened."""
    table = notifications.c
    query = select(*_TOLD).where(table.due_at <= now, table.created_at >= since)
    return [Notification(*row) for row in connection.execute(query.order_by(table.id).limit(limit))]


def delivered(connection: Connection, notification_id: int) -> None:
    """The receiver has it."""
    _set(connection, [notification_id], due_at=None, problem="")


def failed(connection: Connection, notification_id: int, problem: str, due_at: Millis) -> None:
    """An attempt failed; the next one is due then."""
    attempts = notifications.c.attempts + 1
    _set(connection, [notification_id], attempts=attempts, problem=problem, due_at=due_at)


def postponed(connection: Connection, notification_id: int, due_at: Millis) -> None:
    """It is tried again then, and the others do not wait for it."""
    _set(connection, [notification_id], due_at=due_at)


def refused(connection: Connection, notification_id: int, problem: str, now: Millis) -> None:
    """The receiver does not take it, and nobody tries any more."""
    attempts = notifications.c.attempts + 1
    values = {"attempts": attempts, "problem": problem, "due_at": None, "lost_at": now}
    _set(connection, [notification_id], **values)


def _set(connection: Connection, ids: Sequence[int], **values: Any) -> None:
    table = notifications.c
    connection.execute(
        # What was ended meanwhile stays so.
        update(notifications).where(table.id.in_(ids), table.due_at.is_not(None)).values(**values)
    )


def hurry(connection: Connection, now: Millis) -> None:
    """The receiver takes things again: all that waits is due."""
    connection.execute(update(notifications).where(notifications.c.due_at > now).values(due_at=now))


def give_up(connection: Connection, before: Millis, now: Millis) -> list[Notification]:
    """End what happened before a moment and is not delivered yet; a step of it."""
    return _lose(connection, notifications.c.created_at < before, now)


def drop(connection: Connection, now: Millis, most: int = MOST) -> list[Notification]:
    """End the oldest of those that wait, above a count; a step of it."""
    table = notifications.c
    waiting = select(table.id).where(table.due_at.is_not(None)).order_by(table.id.desc())
    above = connection.execute(waiting.offset(most).limit(1)).scalar()
    return [] if above is None else _lose(connection, table.id <= above, now)


def _lose(connection: Connection, condition: Any, now: Millis) -> list[Notification]:
    table = notifications.c
    query = select(*_TOLD).where(table.due_at.is_not(None), condition).order_by(table.id)
    lost = [Notification(*row) for row in connection.execute(query.limit(STEP))]
    if lost:
        _set(connection, [one.id for one in lost], due_at=None, lost_at=now)
    return lost


@dataclass(frozen=True, slots=True)
class Standing:
    """How many wait, the oldest since when; since when one that was tried waits.

    `lost` ended without being delivered since the moment asked about, the last for `problem`.
    """

    waiting: int
    oldest_at: Millis | None
    tried_at: Millis | None
    lost: int
    problem: str


def standing(connection: Connection, since: Millis) -> Standing:
    """How the outbox stands, with what was lost since a moment."""
    table = notifications.c
    waits = table.due_at.is_not(None)
    waiting, oldest_at = connection.execute(
        select(func.count(), func.min(table.created_at)).where(waits)
    ).one()
    tried = select(func.min(table.created_at)).where(waits, table.attempts > 0)
    lost = select(func.count()).where(table.lost_at >= since)
    untold = or_(table.lost_at >= since, waits & (table.attempts > 0))
    last = select(table.problem).where(untold, table.problem != "").order_by(table.id.desc())
    return Standing(
        waiting,
        oldest_at,
        connection.execute(tried).scalar(),
        int(connection.execute(lost).scalar() or 0),
        connection.execute(last.limit(1)).scalar() or "",
    )


def forget(connection: Connection, before: Millis) -> bool:
    """What happened before a moment, and the oldest that wait no more above a count; a step."""
    table = notifications.c
    newest = connection.execute(select(func.max(table.id))).scalar() or 0
    over = table.due_at.is_(None) & (table.id <= newest - 2 * MOST)
    query = select(table.id).where(or_(table.created_at < before, over)).order_by(table.id)
    ids = list(connection.execute(query.limit(STEP)).scalars())
    connection.execute(delete(notifications).where(table.id.in_(ids)))
    return len(ids) >= STEP
