"""The inbox: webhook bodies, durable before they are answered, planned later.

In: `intake`, one delivery a request. Out: `plan`, in the order of arrival. A delivery is told from
its repeats by `sameness`: a CloudEvents id, else a hash of the body, which counts for an hour.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select, update

from syncwatch.errors import StoreError
from syncwatch.store.schema import deliveries, harbors

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection

    from syncwatch.model import Millis
    from syncwatch.store.database import Database

WAITING = 5_000
"""How many deliveries may wait for their commit; above it they are refused (503)."""

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
        self._flush: asyncio.Task[None] | None = None

    async def add(self, delivery: NewDelivery) -> bool:
        """Make the delivery durable; False when it is a repeat. Raises StoreError when it is not.

        Nothing is lost when the caller is cancelled: the delivery is written all the same.
        """
        if len(self._waiting) >= WAITING:
            raise StoreError("too many deliveries wait for the store")
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((delivery, future))
        if self._flush is None:
            self._flush = asyncio.create_task(self._flush_all(), name="inbox")
        return await future

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
            fresh = await self._database.write(lambda connection: add(connection, rows))
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
    new = [row for row, is_fresh in zip(rows, fresh, strict=True) if is_fresh]
    if new:
        connection.execute(deliveries.insert(), [_values(row) for row in new])
        newest = {row.harbor: row.received_at for row in new}
        connection.execute(
            update(harbors).where(harbors.c.name == bindparam("h")),
            [{"h": name, "last_webhook_at": at} for name, at in newest.items()],
        )
    return fresh


def _seen(connection: Connection, rows: Sequence[NewDelivery]) -> dict[tuple[str, str], Millis]:
    found = connection.execute(
        select(deliveries.c.harbor, deliveries.c.sameness, deliveries.c.received_at)
        .where(deliveries.c.sameness.in_({row.sameness for row in rows}))
        .where(deliveries.c.harbor.in_({row.harbor for row in rows}))
        .order_by(deliveries.c.received_at)
    )
    return {(harbor, sameness): at for harbor, sameness, at in found}


def _values(row: NewDelivery) -> dict[str, object]:
    return {
        "harbor": row.harbor,
        "received_at": row.received_at,
        "sameness": row.sameness,
        "event": row.event,
        "body": row.body,
        "due_at": row.received_at,
    }


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
