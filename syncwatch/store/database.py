"""Opening the store: SQLite or PostgreSQL, one writer, many readers.

All that is written in this process goes through one connection in a thread of its own, in the
order asked for (`writer`). With SQLite the single writer also keeps clear of its WAL-reset bug (two
writing connections, fixed in 3.51.3). With PostgreSQL the writers of all replicas take turns, so
that nothing that is decided from rows can be decided twice; deliveries and leases, which decide
nothing, have connections of their own and wait for nobody.

What is to be done is a plain function of a SQLAlchemy connection: no other work of ours can come
between its reading and its writing. Threads instead of an async driver were measured: such a
driver for SQLite changes threads eight times a statement, and cost four fifths of all CPU.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import create_engine, delete, event, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from syncwatch.errors import StoreError
from syncwatch.store.migrations import upgrade
from syncwatch.store.schema import replicas
from syncwatch.store.writer import Writer, mapped

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL

T = TypeVar("T")

READERS = 4
SOON = 3.0
"""Seconds, well below those that Prometheus gives a scrape (10)."""


class Database:
    """The store, open. Every method raises StoreError when the store does not take or give."""

    def __init__(self, url: str) -> None:
        self._url = _driver_url(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self._engines: list[Engine] = []
        self._writer: Writer | None = None
        self._inbox: Writer | None = None
        self._reader: Engine | None = None
        self._apart: Engine | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store reader")
        self._alone = ThreadPoolExecutor(1, thread_name_prefix="store apart")
        self._lock: int | None = None
        self._unread = ""

    @property
    def trouble(self) -> str:
        """Why the last thing could not be written, or be read soon; empty while all goes well."""
        writers = [one for one in (self._writer, self._inbox) if one is not None]
        return next((one.trouble for one in writers if one.trouble), self._unread)

    async def try_again(self) -> None:
        """Where there was trouble, do what says whether it is so still.

        Nothing else may come to be written by that connection, as nobody delivers to a daemon that
        is not ready. Raises StoreError while the trouble lasts.
        """
        for writer in (self._writer, self._inbox):
            if writer is not None and writer.trouble:
                await writer.write(_come_and_go)
        if self._unread:
            await self.read_soon(_look)

    async def open(self) -> None:
        """Lock (SQLite), connect, bring the schema up to date, start the writers."""
        if self.is_sqlite:
            self._take_lock()
        writing = self._engine(1)
        self._reader = self._engine(READERS, readers=True)
        try:
            await asyncio.to_thread(self._upgrade, writing)
        except Exception as error:  # noqa: BLE001 - mapped and told
            await self.close()
            raise mapped(error) from None
        self._writer = Writer(writing, "store writer", in_order=not self.is_sqlite)
        if not self.is_sqlite:
            self._apart = self._engine(1, **_BRIEFLY)
            self._inbox = Writer(self._engine(1), "store inbox", in_order=False)

    async def close(self) -> None:
        """Finish what was asked for, then let go of everything."""
        writers, self._writer, self._inbox = (self._inbox, self._writer), None, None
        for writer in writers:
            if writer is not None:
                await writer.close()
        # One that still holds a connection would leave it open for ever.
        for threads in (self._readers, self._alone):
            await asyncio.to_thread(threads.shutdown, wait=True, cancel_futures=True)
        while self._engines:
            self._engines.pop().dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in a transaction and return what it returned, once that is durable.

        It is done in the writer's thread, and maybe again from the start after a failure of
        another piece of the same transaction: it must change nothing but the database.
        """
        if self._writer is None:
            raise StoreError("the store is not open")
        return await self._writer.write(work)

    async def write_beside(self, work: Callable[[Connection], T]) -> T:
        """As `write`, for rows that nothing is decided from: it waits for no other replica."""
        if self._inbox is None:
            return await self.write(work)
        return await self._inbox.write(work)

    async def write_apart(self, work: Callable[[Connection], T]) -> T:
        """As `write`, on a connection of its own (PostgreSQL): what must not wait behind others.

        It fails soon, rather than wait for a server that does not answer.
        """
        if self._apart is None:
            return await self.write(work)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._alone, _in_transaction, self._apart, work)
        except (SQLAlchemyError, OSError) as error:
            raise mapped(error) from None

    def driver_arguments(self) -> dict[str, Any]:
        """PostgreSQL: what a connection of the driver's own is opened with."""
        if self._apart is None:
            raise StoreError("the store is not open")
        return {**self._apart.dialect.create_connect_args(self._url)[1], **_POSTGRESQL}

    async def read_soon(self, work: Callable[[Connection], T]) -> T:
        """As `read`, for who asks us and does not wait long: a server may hang for minutes."""
        try:
            async with asyncio.timeout(SOON):
                found = await self.read(work)
        except TimeoutError:
            self._unread = "the store does not answer in time"
            raise StoreError(self._unread) from None
        self._unread = ""
        return found

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` reads, in a snapshot of its own, in a reader's thread."""
        if self._reader is None:
            raise StoreError("the store is not open")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._readers, _in_connection, self._reader, work)
        except (SQLAlchemyError, OSError) as error:
            raise mapped(error) from None

    @staticmethod
    def _upgrade(engine: Engine) -> None:
        with engine.begin() as connection:
            upgrade(connection)

    def _engine(self, connections: int, *, readers: bool = False, **arguments: Any) -> Engine:
        engine = create_engine(
            self._url,
            poolclass=QueuePool,
            pool_size=connections,
            max_overflow=0,
            pool_pre_ping=not self.is_sqlite,
            connect_args={} if self.is_sqlite else _POSTGRESQL | arguments,
        )
        if self.is_sqlite:
            _tune_sqlite(engine, readers=readers)
        self._engines.append(engine)
        return engine

    def _take_lock(self) -> None:
        path = Path(self._url.database or "")
        try:
            self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"{path} is in use by another syncwatch",
                cure="SQLite serves one process; use store: postgresql://… for several replicas",
            ) from None
        except OSError as error:
            raise StoreError(f"{path} cannot be opened: {error.strerror}") from None


_POSTGRESQL: dict[str, Any] = {
    "connect_timeout": 5,
    "options": "-c statement_timeout=20000 -c lock_timeout=10000 -c timezone=UTC"
    " -c idle_in_transaction_session_timeout=10000",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""No statement and no dead connection may hold the writer for ever, nor a replica that was stopped
in the middle of a transaction those of the others."""

_BRIEFLY: dict[str, Any] = {
    "connect_timeout": 2,
    "options": "-c statement_timeout=3000 -c lock_timeout=2000 -c timezone=UTC"
    " -c idle_in_transaction_session_timeout=2000",
    "tcp_user_timeout": 3000,
}


def _in_connection(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.connect() as connection:
        return work(connection)


def _in_transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def _come_and_go(connection: Connection) -> None:
    """A row that is gone before anybody can see it, and yet has to be written (a full disk)."""
    connection.execute(insert(replicas).values(id="", seen_at=0))
    connection.execute(delete(replicas).where(replicas.c.id == ""))


def _look(connection: Connection) -> None:
    connection.execute(select(replicas.c.id).limit(1))


def _driver_url(url: str) -> URL:
    parsed = make_url(url)
    drivers = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}
    return parsed.set(drivername=drivers[parsed.get_backend_name()])


def _tune_sqlite(engine: Engine, *, readers: bool) -> None:
    pragmas = ["journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"]
    pragmas += ["wal_autocheckpoint=0", "query_only=1"] if readers else ["wal_autocheckpoint=2000"]

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        # The driver would begin transactions by itself, and only before some statements.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if readers else "BEGIN IMMEDIATE")
