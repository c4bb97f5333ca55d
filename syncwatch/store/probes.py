"""What a cluster's nodes are to pull, and what became of it. In: `verify`, the gate; out: `probe`.

One row is one digest in one place, whatever names serve it. It is due until its pods are made; what
they came to is written with the wake-up of every expectation that waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, func, or_, select, tuple_, update

from syncwatch.facts import Pull
from syncwatch.model import Operation, Pulling, State
from syncwatch.store import expectations as rows
from syncwatch.store.dialect import insert
from syncwatch.store.probe_schema import pods, probes
from syncwatch.store.schema import expectations, subjects

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement, Connection, Row

    from syncwatch.model import Content, Millis

Key = tuple[int, str, str]
"""(id of the destination, repository there, digest)."""

STEP = 200
"""Rows forgotten in one transaction."""


@dataclass(frozen=True, slots=True)
class Due:
    """A probe that is to begin; `asked` says that somebody waits for it, `tried` that the last one
    came to something."""

    id: int
    destination_id: int
    repository: str
    digest: str
    reference: str
    is_image: bool | None
    size: int | None
    required: bool
    asked: bool
    proved: bool
    attempts: int
    tried: bool

    @property
    def key(self) -> Key:
        """(destination, repository, digest)."""
        return (self.destination_id, self.repository, self.digest)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a probe came to: `attempts` were in vain in a row, with it; `again_at` is when the next
    one is due, None for never."""

    result: Pulling
    cause: str
    message: str
    attempts: int
    again_at: Millis | None


@dataclass(frozen=True, slots=True)
class Queue:
    """How many probes wait for their turn, and since when the oldest of them does."""

    waiting: int
    oldest_at: Millis | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A digest that is to be probed, served under `reference`; `content` None while not known."""

    key: Key
    reference: str
    required: bool
    content: Content | None = None


def want(connection: Connection, wanted: Wanted, now: Millis) -> bool:
    """Have a digest probed, unless it was; True where it is due by this.

    One that was pulled, whose next attempt is planned, or that has had all its attempts, is left as
    it is, until a level asks for it.
    """
    row = _row(connection, wanted.key)
    if row is None:
        return _insert(connection, wanted, now)
    if wanted.content is not None and row.is_image is None:
        know(connection, wanted.key, wanted.content)
    newly_required = wanted.required and not row.required
    if newly_required:
        _set(connection, row.id, required=True)
    idle = row.due_at is None and row.began_at is None and row.proved_at is None
    tried = row.result is not None and not newly_required
    if not idle or tried or row.is_image is False or _is_no_image(wanted.content):
        return False
    _set(connection, row.id, due_at=now, reference=wanted.reference)
    return True


def _is_no_image(content: Content | None) -> bool:
    return content is not None and not content.is_image


def _insert(connection: Connection, wanted: Wanted, now: Millis) -> bool:
    destination_id, repository, digest = wanted.key
    content = wanted.content
    due = not _is_no_image(content)
    connection.execute(
        insert(connection)(probes)
        .values(
            destination_id=destination_id,
            repository=repository,
            digest=digest,
            reference=wanted.reference,
            is_image=content.is_image if content else None,
            size=content.size if content else None,
            required=wanted.required,
            wanted_at=now,
            due_at=now if due else None,
            cause="",
            message="",
            attempts=0,
        )
        .on_conflict_do_nothing()
    )
    return due


def know(connection: Connection, key: Key, content: Content) -> None:
    """Keep what a digest is, where it is to be probed."""
    values: dict[str, Any] = {"is_image": content.is_image}
    if content.size is not None:
        values["size"] = content.size
    connection.execute(update(probes).where(_is(key)).values(**values))


def ask(connection: Connection, key: Key, reference: str, now: Millis) -> None:
    """Somebody waits for a probe: it is due now, before all that nobody waits for."""
    want(connection, Wanted(key, reference, required=False), now)
    connection.execute(update(probes).where(_is(key)).values(asked_at=now))
    connection.execute(
        update(probes)
        .where(_is(key), probes.c.began_at.is_(None))
        .values(due_at=now, reference=reference)
    )


def void(connection: Connection, key: Key) -> None:
    """It was seen to be gone or altered: what was pulled before proves nothing any more."""
    connection.execute(
        update(probes)
        .where(_is(key), probes.c.began_at.is_(None))
        .values(proved_at=None, result=None, cause="", message="", attempts=0, due_at=None)
    )
    connection.execute(update(probes).where(_is(key)).values(proved_at=None))


def pull(connection: Connection, key: Key) -> Pull | None:
    """What is known of pulling a digest."""
    return pulls(connection, [key]).get(key)


def pulls(connection: Connection, keys: Collection[Key]) -> dict[Key, Pull]:
    """What is known of pulling some digests."""
    table = probes.c
    key = tuple_(table.destination_id, table.repository, table.digest)
    query = select(probes).where(key.in_(list(keys)))
    return {
        (row.destination_id, row.repository, row.digest): _pull(row)
        for row in (connection.execute(query) if keys else ())
    }


def _pull(row: Row[Any]) -> Pull:
    return Pull(
        proved_at=row.proved_at,
        result=Pulling(row.result) if row.result else None,
        cause=row.cause,
        message=row.message,
        ended_at=row.ended_at,
        attempts=row.attempts,
        is_image=row.is_image,
        under_way=row.began_at is not None,
        due_at=row.due_at,
    )


def due(
    connection: Connection, destinations: Collection[int], now: Millis, limit: int
) -> list[Due]:
    """What is to begin now: first what somebody waits for, then what was never probed, then the
    longest ago; of those alike what waits longest."""
    table = probes.c
    asked = _asked()
    query = (
        select(probes, asked.label("asked"))
        .where(table.destination_id.in_(list(destinations)), table.due_at <= now)
        .order_by(
            asked.desc(),
            table.ended_at.is_not(None),
            func.coalesce(table.ended_at, table.wanted_at),
            table.id,
        )
        .limit(limit)
    )
    return [
        Due(
            id=row.id,
            destination_id=row.destination_id,
            repository=row.repository,
            digest=row.digest,
            reference=row.reference,
            is_image=row.is_image,
            size=row.size,
            required=row.required,
            asked=bool(row.asked),
            proved=row.proved_at is not None,
            attempts=row.attempts,
            tried=row.result is not None,
        )
        for row in connection.execute(query)
    ]


def queue(connection: Connection, destinations: Collection[int], now: Millis) -> Queue:
    """How many are due and have not begun."""
    table = probes.c
    row = connection.execute(
        select(func.count(), func.min(table.due_at)).where(
            table.destination_id.in_(list(destinations)), table.due_at <= now
        )
    ).one()
    return Queue(int(row[0]), row[1])


def next_due(connection: Connection, destinations: Collection[int], now: Millis) -> Millis | None:
    """When the next probe is due that is not yet."""
    table = probes.c
    upcoming: Millis | None = connection.execute(
        select(func.min(table.due_at)).where(
            table.destination_id.in_(list(destinations)), table.due_at > now
        )
    ).scalar()
    return upcoming


def is_wanted(connection: Connection, key: Key) -> bool:
    """Whether anything is still expected of this digest there."""
    destination_id, repository, digest = key
    found = connection.execute(
        select(expectations.c.id)
        .join(subjects, subjects.c.newest_id == expectations.c.id)
        .where(
            subjects.c.destination_id == destination_id,
            subjects.c.repository == repository,
            expectations.c.digest == digest,
            expectations.c.state != State.CLOSED,
            expectations.c.operation == Operation.COPY,
        )
        .limit(1)
    ).first()
    return found is not None


def put_off(connection: Connection, probe_id: int, until: Millis | None) -> None:
    """It does not begin now; `until` None: not before somebody wants it again."""
    connection.execute(
        update(probes)
        .where(probes.c.id == probe_id, probes.c.began_at.is_(None))
        .values(due_at=until)
    )


def begin(connection: Connection, probe_id: int, now: Millis) -> bool:
    """Its pods are about to be made; False where somebody was quicker."""
    begun = connection.execute(
        update(probes)
        .where(probes.c.id == probe_id, probes.c.began_at.is_(None), probes.c.due_at.is_not(None))
        .values(began_at=now, due_at=None)
    )
    return bool(begun.rowcount)


@dataclass(frozen=True, slots=True)
class SoFar:
    """What is known of a probe that ends: `attempts` in a row were in vain before it."""

    id: int
    attempts: int
    required: bool
    proved: bool


def judged(connection: Connection, cluster: str) -> list[SoFar]:
    """A cluster's probes under way whose pods have all been judged."""
    table = probes.c
    its = (pods.c.probe_id == table.id, pods.c.began_at >= table.began_at)
    made = select(pods.c.id).where(*its, pods.c.cluster == cluster)
    left = select(pods.c.id).where(*its, pods.c.ended_at.is_(None))
    query = (
        select(table.id, table.attempts, table.required, table.proved_at)
        .where(table.began_at.is_not(None))
        .where(made.exists(), ~left.exists())
    )
    return [
        SoFar(row.id, row.attempts, row.required, row.proved_at is not None)
        for row in connection.execute(query)
    ]


def end(connection: Connection, probe_id: int, outcome: Outcome, now: Millis) -> set[int]:
    """Write what a probe came to, and make due what waits for it: the destinations with a look.

    A question that was asked while it was under way is answered by it.
    """
    row = connection.execute(select(probes).where(probes.c.id == probe_id)).one()
    values: dict[str, Any] = {
        "began_at": None,
        "due_at": outcome.again_at,
        "ended_at": now,
        "result": outcome.result,
        "cause": outcome.cause,
        "message": outcome.message,
        "attempts": outcome.attempts,
    }
    if outcome.result is Pulling.PULLED:
        values["proved_at"] = now
    _set(connection, row.id, **values)
    contradicted = outcome.result in (Pulling.MISSING, Pulling.CORRUPT)
    return _wake(connection, row, outcome, now, contradicted=contradicted)


def tell(connection: Connection, probe_id: int, what: str, detail: str, now: Millis) -> None:
    """A line in the timeline of every expectation of what is probed."""
    row = connection.execute(select(probes).where(probes.c.id == probe_id)).one()
    for expectation_id in _waiting(connection, row):
        rows.note(connection, expectation_id, now, what, detail)


def _wake(
    connection: Connection, row: Row[Any], outcome: Outcome, now: Millis, *, contradicted: bool
) -> set[int]:
    """Have it looked at once more; closely, where the kubelet did not find what we had found."""
    ids = _waiting(connection, row)
    # The same again is no news, however often it is tried.
    if (row.result, row.message) != (outcome.result, outcome.message):
        for expectation_id in ids:
            rows.note(connection, expectation_id, now, f"probe/{outcome.result}", outcome.message)
    if not ids:
        return set()
    table = expectations.c
    connection.execute(
        update(expectations)
        .where(table.id.in_(ids), or_(table.due_at.is_(None), table.due_at > now))
        .values(due_at=now)
    )
    if contradicted:
        newest = subjects.c.newest_id.in_(ids)
        connection.execute(update(subjects).where(newest).values(proofs_since=now))
    return {row.destination_id}


def _waiting(connection: Connection, row: Row[Any]) -> list[int]:
    """The newest expectations of what is probed."""
    query = (
        select(expectations.c.id)
        .join(subjects, subjects.c.newest_id == expectations.c.id)
        .where(
            subjects.c.destination_id == row.destination_id,
            subjects.c.repository == row.repository,
            expectations.c.digest == row.digest,
            expectations.c.state != State.CLOSED,
            expectations.c.operation == Operation.COPY,
        )
    )
    return list(connection.execute(query).scalars())


def forget(connection: Connection, before: Millis) -> bool:
    """Probes of what nobody expects any more, and pods of long ago; whether there may be more."""
    table = probes.c
    query = (
        select(probes.c.id)
        .where(func.coalesce(table.ended_at, table.wanted_at) < before)
        .where(table.began_at.is_(None))
        .where(or_(table.due_at.is_(None), table.due_at < before))
        .where(~_expected().exists())
        .limit(STEP)
    )
    old = list(connection.execute(query).scalars())
    if old:
        connection.execute(delete(probes).where(table.id.in_(old)))
    over = connection.execute(
        select(pods.c.id).where(pods.c.gone_at < before).order_by(pods.c.id).limit(STEP)
    ).scalars()
    gone = list(over)
    if gone:
        connection.execute(delete(pods).where(pods.c.id.in_(gone)))
    return STEP in (len(old), len(gone))


def _expected() -> Any:
    return (
        select(expectations.c.id)
        .join(subjects, subjects.c.newest_id == expectations.c.id)
        .where(
            subjects.c.destination_id == probes.c.destination_id,
            subjects.c.repository == probes.c.repository,
            expectations.c.digest == probes.c.digest,
            expectations.c.state != State.CLOSED,
        )
    )


def _asked() -> ColumnElement[bool]:
    """Whether somebody asked for one since the last ended."""
    table = probes.c
    return and_(
        table.asked_at.is_not(None),
        or_(table.ended_at.is_(None), table.asked_at > table.ended_at),
    )


def _row(connection: Connection, key: Key) -> Row[Any] | None:
    return connection.execute(select(probes).where(_is(key))).one_or_none()


def _is(key: Key) -> ColumnElement[bool]:
    destination_id, repository, digest = key
    return and_(
        probes.c.destination_id == destination_id,
        probes.c.repository == repository,
        probes.c.digest == digest,
    )


def _set(connection: Connection, probe_id: int, **values: Any) -> None:
    connection.execute(update(probes).where(probes.c.id == probe_id).values(**values))
