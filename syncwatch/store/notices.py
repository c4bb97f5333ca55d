"""Wake-ups between replicas, by PostgreSQL's NOTIFY.

A replica tells the others which loops have something to do that do not run in it; whoever runs one
wakes it. A notice that is lost costs time and nothing else: every loop looks by itself in a while.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy import text

from syncwatch.errors import StoreError
from syncwatch.runtime import log

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from syncwatch.runtime import Signals
    from syncwatch.store.database import Database

CHANNEL = "syncwatch"

PAUSE = 0.05
"""Seconds between two notices of a replica: what comes meanwhile goes together."""

LISTEN_AGAIN = 1.0
"""Seconds until a connection that was lost is opened again."""

WAITING_MOST = 10_000
"""Names that wait to be sent; more are left out."""

NAMES_AT_ONCE = 100
"""A notice may have 8,000 bytes."""


def send(connection: Connection, me: str, names: Collection[str]) -> None:
    """Tell the other replicas that these loops have something to do, when this transaction ends."""
    query = text("select pg_notify(:channel, :words)")
    connection.execute(query, {"channel": CHANNEL, "words": "\n".join([me, *names])})


class Notices:
    """Sends and hears notices from `start` to `stop`. `me` is this replica's name."""

    def __init__(self, database: Database, signals: Signals, me: str) -> None:
        self._database = database
        self._signals = signals
        self._me = me
        self._waiting: dict[str, None] = {}
        self._more = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """From now on wake-ups of loops that do not run here go to the other replicas."""
        self._signals.elsewhere = self.tell
        loops = (self._send_forever, self._listen_forever)
        self._tasks = [asyncio.create_task(one(), name="notices") for one in loops]

    async def stop(self) -> None:
        """Neither tell nor hear."""
        self._signals.elsewhere = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def tell(self, name: str) -> None:
        """Have that loop woken wherever it runs; never waits, never fails."""
        if len(self._waiting) < WAITING_MOST:
            self._waiting[name] = None
        self._more.set()

    async def _send_forever(self) -> None:
        while True:
            await self._more.wait()
            names = [*self._waiting][:NAMES_AT_ONCE]
            for name in names:
                del self._waiting[name]
            if not self._waiting:
                self._more.clear()
            try:
                await self._database.write_apart(lambda c: send(c, self._me, names))  # noqa: B023
            except StoreError as error:
                log.debug("notice_not_sent", reason=str(error))
            await asyncio.sleep(PAUSE)

    async def _listen_forever(self) -> None:
        # Imported where it is used: a store in SQLite needs no driver of PostgreSQL.
        import psycopg  # noqa: PLC0415

        lost = False
        while True:
            try:
                await self._listen()
            except (psycopg.Error, OSError) as error:
                # Once, and by its type: its words may hold what the connection was opened with.
                if not lost:
                    log.warning("notices_interrupted", error=type(error).__name__)
                lost = True
            else:
                lost = False
            await asyncio.sleep(LISTEN_AGAIN)

    async def _listen(self) -> None:
        import psycopg  # noqa: PLC0415

        arguments = self._database.driver_arguments() | {"autocommit": True}
        connection = await psycopg.AsyncConnection.connect(**arguments)
        async with connection:
            await connection.execute(f"listen {CHANNEL}")
            self._signals.hear_all()
            async for notice in connection.notifies():
                sender, *names = notice.payload.split("\n")
                for name in names if sender != self._me else ():
                    self._signals.hear(name)
