"""Harbor's executions and tasks, as facts. In: `follow` (API) and `plan` (hints of webhooks).

Harbor keeps the newest fifty executions of a policy and no count of attempts, so what was read is
kept here. `start_at` and `end_at` are Harbor's clock, `changed_at` is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import and_, bindparam, case, func, select, update

from syncwatch.model import ATTEMPTS, SECOND, Millis, Operation, Status
from syncwatch.store.dialect import insert
from syncwatch.store.schema import executions, tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Row

FINAL = (Status.SUCCEED, Status.FAILED, Status.STOPPED)


TAG_DELETION = "tag deletion"
OPERATIONS = {
    Operation.COPY: ("copy", ""),
    Operation.DELETION: ("deletion", TAG_DELETION, ""),
}
"""Harbor's words for what a task does; one that is known by a webhook alone has none yet."""


@dataclass(frozen=True, slots=True)
class SeenExecution:
    """An execution as Harbor's feed tells of it."""

    execution_id: int
    policy_id: int
    trigger: str
    status: str
    status_text: str
    total: int
    start_at: Millis | None
    end_at: Millis | None


@dataclass(frozen=True, slots=True)
class SeenTask:
    """A task as Harbor tells of it."""

    task_id: int
    execution_id: int
    policy_id: int
    operation: str
    source_repository: str
    repository: str
    items: int | None
    status: str
    start_at: Millis | None
    end_at: Millis | None


@dataclass(frozen=True, slots=True)
class DueTask:
    """A task whose images the planner has to find out. `refs` is None where no webhook told."""

    task_id: int
    execution_id: int
    policy_id: int
    trigger: str
    operation: str
    source_repository: str
    start_at: Millis | None
    refs: tuple[str, ...] | None


def known(connection: Connection, harbor: str, ids: Sequence[int]) -> dict[int, Row[Any]]:
    """Rows of these executions that are kept."""
    query = select(executions).where(
        executions.c.harbor == harbor, executions.c.execution_id.in_(ids)
    )
    return {row.execution_id: row for row in connection.execute(query)}


def see(
    connection: Connection,
    harbor: str,
    seen: Sequence[SeenExecution],
    now: Millis,
    began: Millis = 0,
) -> set[int]:
    """Keep executions as they are now; the ids of those that are news, to be followed at once.

    One that started before `began` (Harbor's clock) never enters the count of ended executions.
    """
    before = known(connection, harbor, [one.execution_id for one in seen])
    news = set()
    for one in seen:
        row, values = before.get(one.execution_id), _values(one)
        if row is not None and all(getattr(row, name) == v for name, v in values.items()):
            continue
        news.add(one.execution_id)
        values |= {"changed_at": now, "due_at": now}
        if row is None:
            counted = one.start_at is not None and one.start_at < began
            connection.execute(
                insert(connection)(executions)
                .values(harbor=harbor, execution_id=one.execution_id, counted=counted, **values)
                .on_conflict_do_nothing()
            )
        else:
            connection.execute(_of_execution(harbor, one.execution_id).values(**values))
    return news


def _values(seen: SeenExecution) -> dict[str, Any]:
    return {
        "policy_id": seen.policy_id,
        "trigger": seen.trigger,
        "status": seen.status,
        "status_text": seen.status_text[:1000],
        "total": seen.total,
        "start_at": seen.start_at,
        "end_at": seen.end_at,
    }


def _of_execution(harbor: str, execution_id: int) -> Any:
    return update(executions).where(
        executions.c.harbor == harbor, executions.c.execution_id == execution_id
    )


def set_execution(connection: Connection, harbor: str, execution_id: int, **values: object) -> None:
    """Write what was learnt of an execution; the names are columns of `schema.executions`."""
    connection.execute(_of_execution(harbor, execution_id).values(**values))


def wake_execution(connection: Connection, harbor: str, execution_id: int, now: Millis) -> None:
    """A webhook spoke of it: ask for it at once, if it is known; the feed finds it otherwise."""
    set_execution(connection, harbor, execution_id, due_at=now)


def due(connection: Connection, harbor: str, now: Millis, limit: int) -> list[Row[Any]]:
    """Executions that are to be asked for, those waiting longest first."""
    query = (
        select(executions)
        .where(
            executions.c.harbor == harbor,
            executions.c.due_at.is_not(None),
            executions.c.due_at <= now,
        )
        .order_by(executions.c.due_at)
        .limit(limit)
    )
    return list(connection.execute(query))


def see_task(connection: Connection, harbor: str, seen: SeenTask, now: Millis) -> bool:
    """Keep a task as it is now; True when that is news. A task's first sight is planned."""
    values = {
        "execution_id": seen.execution_id,
        "policy_id": seen.policy_id,
        "operation": seen.operation,
        "source_repository": seen.source_repository,
        "repository": seen.repository,
        "items": seen.items,
        "status": seen.status,
        "start_at": seen.start_at,
        "end_at": seen.end_at,
    }
    before = _task(connection, harbor, seen.task_id)
    if before is not None and all(getattr(before, name) == v for name, v in values.items()):
        return False
    first = before is None or not before.status
    values["changed_at"] = now
    if first:
        values["plan_due_at"] = now
    if _attempt_failed(before, seen):
        values["failures"] = (before.failures if before is not None else 0) + 1
    _put_task(connection, harbor, seen.task_id, values)
    return True


def _attempt_failed(before: Row[Any] | None, seen: SeenTask) -> bool:
    """Whether this is the end of an attempt that was not seen before: attempts end apart."""
    if seen.status != Status.FAILED:
        return False
    return before is None or before.status != Status.FAILED or before.end_at != seen.end_at


def _task(connection: Connection, harbor: str, task_id: int) -> Row[Any] | None:
    query = select(tasks).where(tasks.c.harbor == harbor, tasks.c.task_id == task_id)
    return connection.execute(query).one_or_none()


def _put_task(connection: Connection, harbor: str, task_id: int, values: dict[str, Any]) -> None:
    # Not every value is known at the first word of a task: a webhook may come before the API.
    fresh: dict[str, Any] = {
        "operation": "",
        "source_repository": "",
        "repository": "",
        "status": "",
    }
    fresh |= {"errors": 0, "failures": 0}
    connection.execute(
        insert(connection)(tasks)
        .values(harbor=harbor, task_id=task_id, **(fresh | values))
        .on_conflict_do_update(index_elements=list(tasks.primary_key.columns), set_=values)
    )


def hint(
    connection: Connection,
    harbor: str,
    task_id: int,
    execution_id: int,
    references: Sequence[str],
    now: Millis,
    *,
    failed: bool,
) -> None:
    """What a REPLICATION webhook tells of a task: its references, and that an attempt failed."""
    before = _task(connection, harbor, task_id)
    values: dict[str, Any] = {"execution_id": execution_id, "changed_at": now}
    if references:
        values["refs"] = msgspec.json.encode(list(references)).decode()
        if before is not None and before.status and before.refs is None:
            values["plan_due_at"] = now
    if failed:
        values["errors"] = (before.errors if before is not None else 0) + 1
    _put_task(connection, harbor, task_id, values)


def to_plan(connection: Connection, harbor: str, now: Millis, limit: int) -> list[DueTask]:
    """Tasks whose images the planner has to find out."""
    query = (
        select(tasks, executions.c.trigger, executions.c.start_at.label("began"))
        .join(executions, _same_execution())
        .where(tasks.c.harbor == harbor, tasks.c.plan_due_at <= now)
        .order_by(tasks.c.task_id)
        .limit(limit)
    )
    return [
        DueTask(
            row.task_id,
            row.execution_id,
            row.policy_id,
            row.trigger,
            row.operation,
            row.source_repository,
            row.began,
            _refs(row.refs),
        )
        for row in connection.execute(query)
    ]


def planned(connection: Connection, harbor: str, again: Mapping[int, Millis | None]) -> None:
    """The planner is done with these tasks, or wants them again at a moment."""
    statement = update(tasks).where(tasks.c.harbor == harbor, tasks.c.task_id == bindparam("task"))
    connection.execute(
        statement.values(plan_due_at=bindparam("at")),
        [{"task": task_id, "at": at} for task_id, at in again.items()],
    )


def _same_execution() -> Any:
    return and_(
        executions.c.harbor == tasks.c.harbor, executions.c.execution_id == tasks.c.execution_id
    )


def references(row: Row[Any]) -> tuple[str, ...] | None:
    """The tags or digests that a task is for; None where no webhook told."""
    return _refs(row.refs)


def _refs(text: str | None) -> tuple[str, ...] | None:
    return tuple(msgspec.json.decode(text)) if text is not None else None


def tasks_of(connection: Connection, harbor: str, execution_id: int) -> list[Row[Any]]:
    """The tasks kept of an execution."""
    query = select(tasks).where(tasks.c.harbor == harbor, tasks.c.execution_id == execution_id)
    return list(connection.execute(query))


def runs_for(
    connection: Connection,
    harbor: str,
    policy_id: int,
    source_repository: str,
    since: Millis,
    operation: Operation = Operation.COPY,
) -> list[Row[Any]]:
    """Tasks of a policy and repository in executions since a moment (Harbor's clock).

    They copy, or they delete, as `operation` says.
    """
    query = (
        select(
            tasks,
            executions.c.status_text,
            executions.c.trigger,
            executions.c.start_at.label("began"),
        )
        .join(executions, _same_execution())
        .where(
            tasks.c.harbor == harbor,
            tasks.c.policy_id == policy_id,
            tasks.c.source_repository == source_repository,
            tasks.c.operation.in_(OPERATIONS[operation]),
            executions.c.start_at >= since,
        )
        .order_by(tasks.c.execution_id.desc())
        .limit(50)
    )
    return list(connection.execute(query))


def deletes(
    connection: Connection,
    harbor: str,
    policy_id: int,
    source_repository: str,
    reference: str,
    since: Millis,
) -> str:
    """How a policy deletes a reference in an execution since a moment (Harbor's clock).

    Harbor's word for the operation; nothing where no task that names the reference is known.
    """
    found = runs_for(connection, harbor, policy_id, source_repository, since, Operation.DELETION)
    words = (row.operation for row in found if reference in (references(row) or ()))
    return next((word for word in words if word), "")


def without_tasks(
    connection: Connection, harbor: str, policy_id: int, since: Millis
) -> list[Row[Any]]:
    """Executions of a policy since a moment (Harbor's clock) for which no task is known."""
    query = (
        select(executions)
        .where(
            executions.c.harbor == harbor,
            executions.c.policy_id == policy_id,
            executions.c.start_at >= since,
            ~select(tasks.c.task_id).where(_same_execution()).exists(),
        )
        .order_by(executions.c.execution_id.desc())
        .limit(20)
    )
    return list(connection.execute(query))


def last_touch(
    connection: Connection, harbor: str, repository: str, open_since: Millis
) -> tuple[bool, Millis]:
    """Whether a run may still touch a repository at a destination, and when the last one ended.

    A failed task counts as open while Harbor may try it again (changed since `open_since`, ours).
    Ends are Harbor's clock, 0 for never.
    """
    row = connection.execute(
        select(
            func.max(tasks.c.end_at),
            func.max(
                _may_go_on(open_since),
            ),
        ).where(tasks.c.harbor == harbor, tasks.c.repository == repository)
    ).one()
    return bool(row[1]), int(row[0] or 0)


def _may_go_on(open_since: Millis) -> Any:
    table = tasks.c
    retried = and_(
        table.status == Status.FAILED,
        table.errors < ATTEMPTS,
        table.failures < ATTEMPTS,
        table.changed_at > open_since,
    )
    return case((table.status.in_((Status.IN_PROGRESS, Status.PENDING)), 1), (retried, 1), else_=0)


SLACK = SECOND
"""Tag times and execution starts are taken by different parts of Harbor, a moment apart."""
