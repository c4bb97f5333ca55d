"""The inbox: webhook bodies, durable before they are answered, planned later.

In: `intake`, one delivery a request. Out: `plan`, in the order of arrival. A delivery is told from
its repeats by `sameness`: a CloudEvents id, else a hash of the body, which counts for an hour.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from syncwatch.errors import StoreError
from syncwatch.store.schema import deliveries

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection

    from syncwatch.model import Millis
    from syncwatch.store.database import Database

WAITING = 5_000
"""How many deliveries may wait for their commit; above it they are refused (503)."""

EXPIRY_SECONDS = 0.25
"""How often those are looked for that have waited too long."""

GROUP = 256
"""How many deliveries one transaction takes."""


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A webhook body as it came.

    `event` is Harbor's type; `sameness` an id that Harbor gave, or a hash of the body. An equal
    one within `same_for` is a repeat; None is for ever.
    """

    harbor: str
    received_at: Millis
    sameness: str
    same_for: Millis | None
    event: str
    body: bytes


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """A delivery that is due."""

    id: int
    harbor: str
    received_at: Millis
    event: str
    body: bytes


class Inbox:
    """Takes deliveries one by one and commits them together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[NewDelivery, asyncio.Future[bool]]] = []
        self._answers: deque[tuple[float, asyncio.Future[bool]]] = deque()
        self._flush: asyncio.Task[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None

    async def add(self, delivery: NewDelivery, within: float) -> bool:
        """Make the delivery durable; False when it is a repeat.

        Raises StoreError when it is not, or not `within` so many seconds. Nothing is lost when the
        caller is cancelled or told so: the delivery may be written all the same.
        """
        if len(self._waiting) >= WAITING:
            raise StoreError("too many deliveries wait for the store")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((delivery, future))
        self._answers.append((loop.time() + within, future))
        # One timer for all that wait: a timeout a request costs more than the rest of it.
        if self._expiry is None:
            self._expiry = loop.call_later(EXPIRY_SECONDS, self._expire)
        if self._flush is None:
            self._flush = asyncio.create_task(self._flush_all(), name="inbox")
        return await future

    def _expire(self) -> None:
        """Tell those that have waited too long; all are given the same time, so the first is."""
        loop = asyncio.get_running_loop()
        while self._answers and (self._answers[0][1].done() or self._answers[0][0] <= loop.time()):
            future = self._answers.popleft()[1]
            if not future.done():
                future.set_exception(StoreError("the store does not answer in time"))
        again = bool(self._answers)
        self._expiry = loop.call_later(EXPIRY_SECONDS, self._expire) if again else None

    async def _flush_all(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
                await self._flush_group(group)
        finally:
            self._flush = None

    async def _flush_group(self, group: list[tuple[NewDelivery, asyncio.Future[bool]]]) -> None:
        rows = [delivery for delivery, _ in group]
        try:
            fresh = await self._database.write_beside(lambda connection: add(connection, rows))
        except Exception as error:  # noqa: BLE001 - each waiting request is told
            outcomes: list[bool | Exception] = [error] * len(group)
        else:
            outcomes = list(fresh)
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def add(connection: Connection, rows: Sequence[NewDelivery]) -> list[bool]:
    """Insert what is no repeat; one answer a row, False for a repeat."""
    if not rows:
        return []
    seen = _seen(connection, rows)
    fresh: list[bool] = []
    for row in rows:
        key = (row.harbor, row.sameness)
        before = seen.get(key)
        repeat = before is not None and (
            row.same_for is None or row.received_at - before <= row.same_for
        )
        fresh.append(not repeat)
        if not repeat:
            seen[key] = row.received_at
    new = [_columns(row) for row, is_fresh in zip(rows, fresh, strict=True) if is_fresh]
    if new:
        # Plain SQL here and below: building the statement cost three times what it does.
        marks = ", ".join([_mark(connection)] * len(new[0]))
        columns = "harbor, received_at, sameness, event, body, due_at"
        statement = f"insert into deliveries ({columns}) values ({marks})"  # noqa: S608 - no values
        connection.exec_driver_sql(statement, new)
    return fresh


def _seen(connection: Connection, rows: Sequence[NewDelivery]) -> dict[tuple[str, str], Millis]:
    given = tuple({row.sameness for row in rows})
    marks = ", ".join([_mark(connection)] * len(given))
    columns = "harbor, sameness, received_at"
    statement = f"select {columns} from deliveries where sameness in ({marks})"  # noqa: S608
    found = connection.exec_driver_sql(f"{statement} order by received_at", given)
    return {(harbor, sameness): at for harbor, sameness, at in found}


def _mark(connection: Connection) -> str:
    return "?" if connection.dialect.name == "sqlite" else "%s"


def _columns(row: NewDelivery) -> tuple[object, ...]:
    return (row.harbor, row.received_at, row.sameness, row.event, row.body, row.received_at)


def due(connection: Connection, harbor: str, now: Millis, limit: int) -> list[StoredDelivery]:
    """Deliveries of a harbor that are to be planned now, oldest first."""
    table = deliveries.c
    found = connection.execute(
        select(table.id, table.harbor, table.received_at, table.event, table.body)
        .where(table.harbor == harbor, table.due_at.is_not(None), table.due_at <= now)
        .order_by(table.id)
        .limit(limit)
    )
    return [StoredDelivery(*row) for row in found]


def done(connection: Connection, ids: Collection[int]) -> None:
    """These deliveries are planned."""
    connection.execute(update(deliveries).where(deliveries.c.id.in_(ids)).values(due_at=None))


def later(connection: Connection, ids: Collection[int], due_at: Millis) -> None:
    """These deliveries are to be planned again at `due_at`."""
    connection.execute(update(deliveries).where(deliveries.c.id.in_(ids)).values(due_at=due_at))
