"""Opening the store: SQLite or PostgreSQL, one writer, many readers.

All that is written in this process goes through one connection in a thread of its own, in the
order asked for. What arrives while a transaction is being committed is taken together into the
next one (group commit), which is where the speed of durable acknowledgements comes from. With
SQLite the single writer also keeps clear of its WAL-reset bug (two writing connections, fixed in
3.51.3).

What is to be done is a plain function of a SQLAlchemy connection: no other work of ours can come
between its reading and its writing. Threads instead of an async driver were measured: such a
driver for SQLite changes threads eight times a statement, and cost four fifths of all CPU.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from syncwatch.errors import StoreError
from syncwatch.store.migrations import upgrade

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL

    _Work = tuple[Callable[[Connection], Any], asyncio.Future[Any]]

T = TypeVar("T")

GROUP_SECONDS = 0.005
"""How long one transaction may go on taking more work, so that nobody waits long behind others."""

WAITING = 20_000
"""How many pieces of work may wait; above it a StoreError says so at once."""

READERS = 4


class Database:
    """The store, open. Every method raises StoreError when the store does not take or give."""

    def __init__(self, url: str) -> None:
        self._url = _driver_url(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._waiting = 0
        self._writer: Engine | None = None
        self._reader: Engine | None = None
        self._thread: threading.Thread | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store reader")
        self._lock: int | None = None
        self.trouble = ""
        """Why the last thing written could not be; empty while writing goes well."""

    async def open(self) -> None:
        """Lock (SQLite), connect, bring the schema up to date, start the writer."""
        if self.is_sqlite:
            self._take_lock()
        self._writer = self._engine(readers=False)
        self._reader = self._engine(readers=True)
        try:
            await asyncio.to_thread(self._upgrade, self._writer)
        except Exception as error:  # noqa: BLE001 - mapped and told
            await self.close()
            raise _mapped(error) from None
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._write_forever, args=(self._writer, loop), name="store writer"
        )
        self._thread.start()

    async def close(self) -> None:
        """Finish what was asked for, then let go of everything."""
        if self._thread:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        # A reader that still holds a connection would leave it open for ever.
        await asyncio.to_thread(self._readers.shutdown, wait=True, cancel_futures=True)
        for engine in (self._reader, self._writer):
            if engine:
                engine.dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in a transaction and return what it returned, once that is durable.

        It is done in the writer's thread, and maybe again from the start after a failure of
        another piece of the same transaction: it must change nothing but the database.
        """
        if self._thread is None:
            raise StoreError("the store is not open")
        if self._waiting >= WAITING:
            raise StoreError("the store is not keeping up: too much is waiting")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting += 1
        self._queue.put((work, future))
        return await future

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` reads, in a snapshot of its own, in a reader's thread."""
        if self._reader is None:
            raise StoreError("the store is not open")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._readers, _in_connection, self._reader, work)
        except (SQLAlchemyError, OSError) as error:
            raise _mapped(error) from None

    @staticmethod
    def _upgrade(engine: Engine) -> None:
        with engine.begin() as connection:
            upgrade(connection)

    def _write_forever(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        """The writer's thread."""
        while (first := self._queue.get()) is not None:
            group = [first]
            try:
                outcomes = self._commit(engine, group)
            except Exception as error:  # noqa: BLE001 - the writer must outlive every failure
                # One piece spoilt the transaction: do each alone, so that only that one fails.
                outcomes = (
                    [_mapped(error)]
                    if len(group) == 1
                    else [_outcome(engine, work) for work, _ in group]
                )
            loop.call_soon_threadsafe(self._tell, group, outcomes)

    def _commit(self, engine: Engine, group: list[_Work]) -> list[Any]:
        """Do the first piece and all that come while it lasts, then commit."""
        until = time.monotonic() + GROUP_SECONDS
        with engine.begin() as connection:
            results = [group[0][0](connection)]
            while time.monotonic() < until:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    self._queue.put(None)
                    break
                group.append(more)
                results.append(more[0](connection))
        return results

    def _tell(self, group: list[_Work], outcomes: list[Any]) -> None:
        """In the loop's thread: whoever waits learns what came of it."""
        self._waiting -= len(group)
        failed = [one for one in outcomes if isinstance(one, StoreError) and one.of_the_store]
        self.trouble = failed[-1].message if failed else ""
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def _engine(self, *, readers: bool) -> Engine:
        engine = create_engine(
            self._url,
            poolclass=QueuePool,
            pool_size=READERS if readers else 1,
            max_overflow=0,
            pool_pre_ping=not self.is_sqlite,
            connect_args={} if self.is_sqlite else _POSTGRESQL,
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


_POSTGRESQL: dict[str, Any] = {
    "connect_timeout": 5,
    "options": "-c statement_timeout=20000 -c lock_timeout=10000 -c timezone=UTC",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
"""No statement and no dead connection may hold the writer for ever."""


def _in_connection(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.connect() as connection:
        return work(connection)


def _outcome(engine: Engine, work: Callable[[Connection], Any]) -> Any:
    """What a piece alone returns, or the error it raises."""
    try:
        with engine.begin() as connection:
            return work(connection)
    except Exception as error:  # noqa: BLE001 - told to whoever asked
        return _mapped(error)


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


def _mapped(error: Exception) -> Exception:
    """The error in our words: a driver's text may hold statements, values and passwords."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    if isinstance(error, (SQLAlchemyError, OSError)):
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
