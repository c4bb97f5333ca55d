"""Opening the store: SQLite or PostgreSQL, one writer, many readers.

All that is written in this process goes through one connection, in the order asked for. What
arrives while a transaction is being committed is taken together into the next one (group commit),
which is where the speed of durable acknowledgements comes from. With SQLite the single writer also
keeps clear of its WAL-reset bug (two writing connections, fixed in 3.51.3).

What is to be done is a plain function of a SQLAlchemy connection: no other work of ours can come
between its reading and its writing.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from syncwatch.errors import StoreError
from syncwatch.store.migrations import upgrade

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection
    from sqlalchemy.engine import URL

    _Work = tuple[Callable[[Connection], Any], asyncio.Future[Any]]

T = TypeVar("T")

GROUP_SECONDS = 0.005
"""How long one transaction may go on taking more work, so that nobody waits long behind others."""

QUEUE = 20_000
"""How many pieces of work may wait; above it a StoreError says so at once."""

SLOWEST_SECONDS = 30.0
"""How long one transaction may take before it is given up."""


class Database:
    """The store, open. Every method raises StoreError when the store does not take or give."""

    def __init__(self, url: str) -> None:
        self._url = _driver_url(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self._waiting: asyncio.Queue[_Work | None] = asyncio.Queue(QUEUE)
        self._writer: AsyncEngine | None = None
        self._reader: AsyncEngine | None = None
        self._loop: asyncio.Task[None] | None = None
        self._lock: int | None = None

    async def open(self) -> None:
        """Lock (SQLite), connect, bring the schema up to date, start the writer."""
        if self.is_sqlite:
            self._take_lock()
        self._writer = self._engine(readers=False)
        self._reader = self._engine(readers=True)
        try:
            async with self._writer.begin() as connection:
                await connection.run_sync(upgrade)
        except (SQLAlchemyError, OSError) as error:
            await self.close()
            raise _mapped(error) from None
        self._loop = asyncio.create_task(self._write_forever(), name="store writer")

    async def close(self) -> None:
        """Finish what was asked for, then let go of everything."""
        if self._loop:
            await self._waiting.put(None)
            await self._loop
            self._loop = None
        for engine in (self._reader, self._writer):
            if engine:
                await engine.dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in a transaction and return what it returned, once that is durable.

        `work` may be done again from the start after a failure of another piece of the same
        transaction, so it must change nothing but the database.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            self._waiting.put_nowait((work, future))
        except asyncio.QueueFull:
            raise StoreError("the store is not keeping up: too much is waiting") from None
        return await future

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` reads, in a snapshot of its own."""
        if self._reader is None:
            raise StoreError("the store is not open")
        try:
            async with asyncio.timeout(SLOWEST_SECONDS), self._reader.connect() as connection:
                return await connection.run_sync(work)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise _mapped(error) from None

    async def _write_forever(self) -> None:
        while (first := await self._waiting.get()) is not None:
            group = [first]
            try:
                await self._commit(group)
            except Exception as error:  # noqa: BLE001 - the writer must outlive every failure
                await self._one_by_one(group, error)

    async def _commit(self, group: list[_Work]) -> None:
        """Do the first piece and all that come while it lasts, then commit and tell them."""
        if self._writer is None:
            raise StoreError("the store is not open")
        results: list[Any] = []
        until = time.monotonic() + GROUP_SECONDS
        async with asyncio.timeout(SLOWEST_SECONDS), self._writer.begin() as connection:
            results.append(await connection.run_sync(group[0][0]))
            while time.monotonic() < until and not self._waiting.empty():
                more = self._waiting.get_nowait()
                if more is None:
                    self._waiting.put_nowait(None)
                    break
                group.append(more)
                results.append(await connection.run_sync(more[0]))
        for (_, future), result in zip(group, results, strict=True):
            if not future.done():
                future.set_result(result)

    async def _one_by_one(self, group: list[_Work], error: Exception) -> None:
        """One piece spoilt the transaction: do each alone, so that only that one fails."""
        if len(group) == 1:
            _fail(group[0][1], error)
            return
        for work, future in group:
            try:
                result = await self._alone(work)
            except Exception as again:  # noqa: BLE001 - told to whoever asked
                _fail(future, again)
            else:
                if not future.done():
                    future.set_result(result)

    async def _alone(self, work: Callable[[Connection], T]) -> T:
        if self._writer is None:
            raise StoreError("the store is not open")
        async with asyncio.timeout(SLOWEST_SECONDS), self._writer.begin() as connection:
            return await connection.run_sync(work)

    def _engine(self, *, readers: bool) -> AsyncEngine:
        engine = create_async_engine(
            self._url,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=4 if readers else 1,
            max_overflow=0,
            pool_pre_ping=not self.is_sqlite,
            connect_args={} if self.is_sqlite else {"timeout": 5, "command_timeout": 20},
        )
        if self.is_sqlite:
            _tune_sqlite(engine, readers=readers)
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


def _driver_url(url: str) -> URL:
    parsed = make_url(url)
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    return parsed.set(drivername=drivers[parsed.get_backend_name()])


def _tune_sqlite(engine: AsyncEngine, *, readers: bool) -> None:
    pragmas = ["journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"]
    pragmas += ["wal_autocheckpoint=0", "query_only=1"] if readers else ["wal_autocheckpoint=2000"]

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        # The driver would begin transactions by itself, and only before some statements.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if readers else "BEGIN IMMEDIATE")


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(_mapped(error))


def _mapped(error: Exception) -> Exception:
    """The error in our words: a driver's text may hold statements, values and passwords."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    if isinstance(error, (SQLAlchemyError, OSError, TimeoutError)):
        return StoreError(f"the store does not answer: {_words(cause)}")
    return error


_KNOWN = (
    ("disk is full", "the disk is full"),
    ("disk I/O", "disk I/O error"),
    ("readonly", "it is read-only"),
    ("locked", "it is locked by another process"),
    ("unable to open", "its file cannot be opened"),
    ("password authentication failed", "its password is not accepted"),
    ("does not exist", "database, role or table does not exist"),
    ("starting up", "the database server is starting up"),
    ("shutting down", "the database server is shutting down"),
    ("onnection", "no connection to the database server"),
)


def _words(cause: BaseException) -> str:
    told = str(cause)
    for part, words in _KNOWN:
        if part in told:
            return words
    return type(cause).__name__
