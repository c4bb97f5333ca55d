"""Expectations: moved through the life table, settled once, closed.

In: `plan` closes, `verify` moves; `generations` opens. Out: a `Change` for every change of state,
told to logs and metrics after the transaction is durable. Every change is one compare-and-set on
the row's revision, and keeps `counts` and the subject's `behind_since` in the same transaction, as
it writes what has to be told of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select, update

from syncwatch.errors import StoreError
from syncwatch.model import (
    LAG_ORIGINS,
    OPEN_STATES,
    SECOND,
    SETTLING_ORIGINS,
    Change,
    Happening,
    Level,
    Millis,
    Operation,
    Origin,
    Reason,
    Result,
    State,
    step,
)
from syncwatch.store import notifications
from syncwatch.store.dialect import insert
from syncwatch.store.schema import changes, counts, expectations, subjects

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement, Connection, Row

    from syncwatch.model import Verdict


_TOLD = ("settled", "false_success", "pulled_at")
"""What is told of a row beside its state."""


def judge(
    connection: Connection,
    row: Row[Any],
    verdict: Verdict,
    *,
    now: Millis,
    observed_at: Millis | None,
    reached: Level | None,
    began_at: Millis | None = None,
    paused_until: Millis = 0,
    ended: Ended | None = None,
    pulled_at: Millis | None = None,
) -> Change | None:
    """Move a row to where the verdict leads. None when nothing changed that anybody should hear.

    `observed_at` is the moment of the look, None where it met a problem; it began at `began_at`,
    and nothing younger than that is proven by it. `reached` is the level it got to, `ended` the run
    that Harbor ended for it, `pulled_at` when a node pulled it. A deadline before `paused_until`
    moves there, unless it was settled before: what is maintained misses nothing.
    """
    deadline_at = row.deadline_at if row.settled else max(row.deadline_at, paused_until)
    state = step(State(row.state), verdict.happening)
    kept = state is State.VERIFIED and verdict.happening is Happening.UNANSWERED
    values = _judged(row, state, verdict, now, observed_at, kept=kept)
    values |= _levelled(row, verdict, now, observed_at, began_at, reached)
    values |= ended.values(row) if ended else {}
    if pulled_at is not None and row.pulled_at is None:
        values["pulled_at"] = pulled_at
    late = now >= deadline_at and now >= paused_until and state in OPEN_STATES
    values |= {
        "deadline_at": deadline_at,
        "overdue": late and values["reason"] != Reason.STALE,
    }
    values |= _settle(row, state, values, observed_at or now)
    return _move(connection, row, values, now)


@dataclass(frozen=True, slots=True)
class Ended:
    """The run that belongs to an expectation; `claimed_at` is Harbor's word for its end (ours)."""

    execution_id: int
    task_id: int | None
    claimed_at: Millis | None

    def values(self, row: Row[Any]) -> dict[str, Any]:
        """What it sets on the row; a claim is kept once made."""
        values: dict[str, Any] = {"execution_id": self.execution_id, "task_id": self.task_id}
        if self.claimed_at is not None and row.claimed_at is None:
            values["claimed_at"] = max(self.claimed_at, row.expected_at)
        return values


def _judged(
    row: Row[Any],
    state: State,
    verdict: Verdict,
    now: Millis,
    observed_at: Millis | None,
    *,
    kept: bool,
) -> dict[str, Any]:
    proved = verdict.happening is Happening.SEEN
    same = state == row.state and (kept or (verdict.reason or "") == row.reason)
    values: dict[str, Any] = {
        "state": state,
        "reason": "" if kept else (verdict.reason or ""),
        "message": row.message if kept else verdict.message or row.message,
        "due_at": verdict.due_at,
        "checked_at": now,
        "attempts": row.attempts + 1 if same and not proved else 0,
        "false_success": row.false_success or verdict.false_success,
    }
    if observed_at is not None:
        values["observed_at"] = observed_at
    return values


def _levelled(
    row: Row[Any],
    verdict: Verdict,
    now: Millis,
    observed_at: Millis | None,
    began_at: Millis | None,
    reached: Level | None,
) -> dict[str, Any]:
    """How deep the newest evidence goes. A look that met a problem takes no level away."""
    values: dict[str, Any] = {}
    if observed_at is not None or row.level is None:
        values["level"] = reached
    if verdict.happening is Happening.SEEN:
        at = observed_at or now
        values |= {"level": reached, "proved_at": at if began_at is None else began_at}
        if row.verified_at is None:
            values["verified_at"] = max(at, row.expected_at)
    return values


def _settle(row: Row[Any], state: State, values: dict[str, Any], at: Millis) -> dict[str, Any]:
    """Met, missed or excused: once, and only for what is counted."""
    if row.settled is not None or row.origin not in SETTLING_ORIGINS:
        return {}
    if state is State.VERIFIED:
        return {"settled": Result.MET if at <= values["deadline_at"] else Result.MISSED}
    return {"settled": Result.MISSED} if values["overdue"] else {}


def close(
    connection: Connection,
    expectation_id: int,
    reason: Reason,
    message: str,
    now: Millis,
    *,
    keep_behind: bool = False,
    superseded_at: Millis | None = None,
) -> Change | None:
    """End an expectation that is no longer one; None when it had ended before.

    `superseded_at` is when the newer generation was expected, whenever we heard of it.
    """
    row = connection.execute(
        select(expectations).where(expectations.c.id == expectation_id).with_for_update()
    ).one_or_none()
    if row is None or row.state == State.CLOSED:
        return None
    state = step(State(row.state), Happening.ENDED)
    values: dict[str, Any] = {
        "state": state,
        "reason": reason,
        "message": message,
        "due_at": None,
        "overdue": False,
        "closed_at": now,
    }
    if row.settled is None and row.origin in SETTLING_ORIGINS:
        missed = superseded_at is not None and _behind_too_long(connection, row, superseded_at)
        values["settled"] = Result.MISSED if missed else Result.EXCUSED
    return _move(connection, row, values, now, keep_behind=keep_behind)


def _behind_too_long(connection: Connection, row: Row[Any], at: Millis) -> bool:
    """Superseded while its subject was behind for longer than the deadline counts as missed."""
    since = connection.execute(
        select(subjects.c.behind_since).where(subjects.c.id == row.subject_id)
    ).scalar()
    return since is not None and at - since > row.deadline_at - row.expected_at


def close_where(
    connection: Connection,
    condition: ColumnElement[bool],
    reason: Reason,
    message: str,
    now: Millis,
    limit: int = 500,
) -> list[Change]:
    """Close up to `limit` rows that meet a condition and have not ended."""
    ids = connection.execute(
        select(expectations.c.id)
        .join(subjects, subjects.c.id == expectations.c.subject_id)
        .where(condition, expectations.c.state != State.CLOSED)
        .order_by(expectations.c.id)
        .limit(limit)
    ).scalars()
    told = [close(connection, one, reason, message, now) for one in list(ids)]
    return [change for change in told if change]


def _move(
    connection: Connection,
    row: Row[Any],
    values: dict[str, Any],
    now: Millis,
    *,
    keep_behind: bool = False,
) -> Change | None:
    moved = compare_and_set(connection, row, values)
    if (moved.state, moved.reason, moved.overdue) != (row.state, row.reason, row.overdue):
        count(connection, row, -1)
        count(connection, moved, 1)
    if not keep_behind:
        _keep_behind(connection, row, moved, now)
    told = (moved.state, moved.reason) != (row.state, row.reason)
    if told:
        notifications.moved(connection, row, moved, now)
        what = f"{moved.state}/{moved.reason}" if moved.reason else moved.state
        note(connection, row.id, now, what, moved.message)
    if told or any(getattr(moved, one) != getattr(row, one) for one in _TOLD):
        return change_of(connection, moved, row)
    return None


def compare_and_set(connection: Connection, row: Row[Any], values: dict[str, Any]) -> Row[Any]:
    """Write `values` unless somebody else changed the row since: then a StoreError says so."""
    moved = connection.execute(
        update(expectations)
        .where(expectations.c.id == row.id, expectations.c.revision == row.revision)
        .values(revision=row.revision + 1, **values)
        .returning(expectations)
    ).one_or_none()
    if moved is None:
        raise StoreError(f"expectation {row.id} was changed by another replica", of_the_store=False)
    return moved


def _keep_behind(connection: Connection, before: Row[Any], after: Row[Any], now: Millis) -> None:
    """A subject is behind since its first generation not verified, or since it left verified."""
    if after.state in (State.VERIFIED, State.CLOSED):
        behind: Millis | None = None
    elif before.state == State.VERIFIED:
        behind = now
    else:
        return
    connection.execute(
        update(subjects)
        .where(subjects.c.id == after.subject_id, subjects.c.newest_id == after.id)
        .values(behind_since=behind)
    )


def count(connection: Connection, row: Row[Any], by: int) -> None:
    """Keep the count of the row's state, reason and lateness."""
    statement = insert(connection)(counts).values(
        harbor=row.harbor,
        policy_id=row.policy_id,
        destination_id=row.destination_id,
        state=row.state,
        reason=row.reason,
        overdue=int(row.overdue),
        n=by,
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(counts.primary_key.columns), set_={"n": counts.c.n + by}
        )
    )


def note(connection: Connection, expectation_id: int, at: Millis, what: str, detail: str) -> None:
    """Add a line to an expectation's timeline."""
    connection.execute(
        changes.insert().values(expectation_id=expectation_id, at=at, what=what, detail=detail)
    )


def times_noted(connection: Connection, expectation_id: int, what: str, since: Millis) -> int:
    """How often a line stands in an expectation's timeline since a moment."""
    query = select(func.count()).where(
        changes.c.expectation_id == expectation_id, changes.c.what == what, changes.c.at >= since
    )
    return int(connection.execute(query).scalar() or 0)


def change_of(connection: Connection, row: Row[Any], before: Row[Any] | None) -> Change:
    """What is to be told of a row that was `before` something else (None: just opened)."""
    subject = connection.execute(
        select(subjects.c.source_repository, subjects.c.reference).where(
            subjects.c.id == row.subject_id
        )
    ).one()
    settled = row.settled if before is None or before.settled is None else None
    return Change(
        id=row.id,
        harbor=row.harbor,
        policy_id=row.policy_id,
        destination_id=row.destination_id,
        source_repository=subject.source_repository,
        reference=subject.reference,
        digest=row.digest,
        operation=Operation(row.operation),
        origin=Origin(row.origin),
        before=State(before.state) if before is not None else None,
        moved=before is None or (before.state, before.reason) != (row.state, row.reason),
        state=State(row.state),
        reason=Reason(row.reason) if row.reason else None,
        message=row.message,
        settled=Result(settled) if settled else None,
        lag=_lag(row, before),
        milestones=_milestones(row, before),
        false_success=row.false_success and not (before is not None and before.false_success),
        lost=before is not None
        and (before.state, row.state) == (State.VERIFIED, State.FAILED)
        # A node that may not pull any more is no loss: it is there.
        and row.reason != Reason.PULL_FAILED
        and row.operation == Operation.COPY,
    )


def _lag(row: Row[Any], before: Row[Any] | None) -> float | None:
    first = row.verified_at is not None and (before is None or before.verified_at is None)
    if not first or row.origin not in LAG_ORIGINS:
        return None
    return float(max(0, row.verified_at - row.expected_at) / SECOND)


def _milestones(row: Row[Any], before: Row[Any] | None) -> tuple[tuple[str, float], ...]:
    if row.origin not in LAG_ORIGINS:
        return ()
    told = []
    for name in ("notified", "claimed", "pulled"):
        column = f"{name}_at"
        at = getattr(row, column)
        if at is not None and (before is None or getattr(before, column) is None):
            told.append((name, max(0.0, (at - row.expected_at) / SECOND)))
    return tuple(told)


def pushed_within(
    connection: Connection,
    harbor: str,
    policy_id: int,
    after: Millis,
    until: Millis,
    repository: str | None = None,
) -> bool:
    """Whether a policy is owed something that was pushed later than `after`, up to `until`."""
    table = expectations.c
    query = select(table.id).where(
        table.harbor == harbor,
        table.policy_id == policy_id,
        table.pushed_at > after,
        table.pushed_at <= until,
    )
    if repository is not None:
        query = query.join(subjects, subjects.c.id == table.subject_id).where(
            subjects.c.source_repository == repository
        )
    return connection.execute(query.limit(1)).first() is not None


def wake(
    connection: Connection,
    harbor: str,
    now: Millis,
    *,
    policy_id: int | None = None,
    source_repository: str | None = None,
    references: Iterable[str] = (),
    repository: str | None = None,
    only_open: bool = False,
) -> set[int]:
    """Make newest generations due now; the destinations whose verifier has something to do."""
    where = [subjects.c.harbor == harbor]
    if policy_id is not None:
        where.append(subjects.c.policy_id == policy_id)
    if source_repository is not None:
        where.append(subjects.c.source_repository == source_repository)
    if references := list(references):
        where.append(subjects.c.reference.in_(references))
    if repository is not None:
        where.append(subjects.c.repository == repository)
    table = expectations.c
    states = OPEN_STATES if only_open else OPEN_STATES | {State.VERIFIED}
    woken = connection.execute(
        update(expectations)
        .where(table.id.in_(select(subjects.c.newest_id).where(*where)))
        .where(table.state.in_(states), or_(table.due_at.is_(None), table.due_at > now))
        .values(due_at=now)
        .returning(table.destination_id)
    )
    return set(woken.scalars())
