"""A connection in a thread of its own, by which one thing after another is written.

What arrives while a transaction is being committed is taken together into the next one (group
commit), which is where the speed of durable acknowledgements comes from.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from syncwatch.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

    _Work = tuple[Callable[[Connection], Any], asyncio.Future[Any]]

T = TypeVar("T")

GROUP_SECONDS = 0.005
"""How long one transaction may go on taking more work, so that nobody waits long behind others."""

STUCK = 4.0
"""Seconds without any answer that are trouble, though nothing has failed yet."""

WAITING = 20_000
"""How many pieces of work may wait; above it a StoreError says so at once."""

ORDER = "select pg_advisory_xact_lock(7379637)"
"""PostgreSQL: who holds this writes alone, until the transaction ends, whatever its connection."""


class Writer:
    """Writes through one connection of `engine`, in the order asked for.

    `in_order` (PostgreSQL) makes its transactions and those of other replicas' writers come one
    after the other, as they do within one process: what a piece of work has read holds until it
    has written, and no two can wait for each other.
    """

    def __init__(self, engine: Engine, name: str, *, in_order: bool) -> None:
        self._engine = engine
        self._in_order = in_order
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._waiting = 0
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write_forever, name=name)
        self._trouble = ""
        self._told_at = 0.0
        self._thread.start()

    @property
    def trouble(self) -> str:
        """Why the last thing written could not be; empty while writing goes well."""
        if self._waiting and time.monotonic() - self._told_at > STUCK:
            return "the store does not answer in time"
        return self._trouble

    async def close(self) -> None:
        """Finish what was asked for."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """As `Database.write`."""
        if self._waiting >= WAITING:
            raise StoreError("the store is not keeping up: too much is waiting")
        future: asyncio.Future[T] = self._loop.create_future()
        if not self._waiting:
            self._told_at = time.monotonic()
        self._waiting += 1
        self._queue.put((work, future))
        return await future

    def _write_forever(self) -> None:
        """The writer's thread."""
        while (first := self._queue.get()) is not None:
            group = [first]
            try:
                outcomes = self._commit(group)
            except Exception as error:  # noqa: BLE001 - the writer must outlive every failure
                # One piece spoilt the transaction: do each alone, so that only that one fails.
                outcomes = (
                    [mapped(error)]
                    if len(group) == 1
                    else [self._outcome(work) for work, _ in group]
                )
            self._loop.call_soon_threadsafe(self._tell, group, outcomes)

    def _commit(self, group: list[_Work]) -> list[Any]:
        """Do the first piece and all that come while it lasts, then commit."""
        with self._transaction() as connection:
            until = time.monotonic() + GROUP_SECONDS
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

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            if self._in_order:
                connection.exec_driver_sql(ORDER)
            yield connection

    def _outcome(self, work: Callable[[Connection], Any]) -> Any:
        """What a piece alone returns, or the error it raises."""
        try:
            with self._transaction() as connection:
                return work(connection)
        except Exception as error:  # noqa: BLE001 - told to whoever asked
            return mapped(error)

    def _tell(self, group: list[_Work], outcomes: list[Any]) -> None:
        """In the loop's thread: whoever waits learns what came of it."""
        self._waiting -= len(group)
        self._told_at = time.monotonic()
        failed = [one for one in outcomes if isinstance(one, StoreError) and one.of_the_store]
        self._trouble = failed[-1].message if failed else ""
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def mapped(error: Exception) -> Exception:
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
    ("lock timeout", "another replica holds it for too long"),
    ("onnection", "no connection to the database server"),
)


def _words(cause: BaseException) -> str:
    told = str(cause)
    for part, words in _KNOWN:
        if part in told:
            return words
    return type(cause).__name__
