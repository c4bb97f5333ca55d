"""What this replica holds of the leases, and for how long it may be sure of it.

Comes in: turns of `leases` in PostgreSQL. Goes out: what may be worked on. A lease is no longer
worked on some time before another replica could have it, by a clock of this machine that nobody
sets: neither a database that is away nor a process that was stopped for a while makes two work on
the same thing.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from syncwatch.errors import StoreError
from syncwatch.runtime import log
from syncwatch.store import leases, notices

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from sqlalchemy import Connection

    from syncwatch.runtime import Signals
    from syncwatch.store.database import Database
    from syncwatch.store.leases import Turn

LASTS = 2 / 3
"""Of the configured time: a lease runs out so long after it was renewed, so that whoever is to take
it has done so within the whole of it."""
EVERY = 1 / 6
"""Of the configured time: between two turns."""
MARGIN = 1 / 12
"""Of the configured time: work stops so long before its lease runs out."""
HANDED = 1 / 10
"""Of the configured time: gauges of a lease that its holder gave back are shown so much later: one
scrape of all replicas must not find them at both."""

HELD_AGAIN = 0.05
"""Seconds until who waits for a lease looks again."""

LOOP = "leases"


def _since_boot() -> float:
    """Seconds; unlike `time.monotonic` it goes on while the machine sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Holding:
    """The leases of one replica `me`, renewed by `turn`, watched by `guard`.

    `wanted` reads which there are to hold, `stop` ends the work on one. `lease` is in seconds.
    """

    def __init__(
        self,
        *,
        database: Database,
        signals: Signals,
        me: str,
        lease: float,
        wanted: Callable[[Connection], Collection[str]],
        stop: Callable[[str], Awaitable[None]],
    ) -> None:
        self._database = database
        self._signals = signals
        self._me = me
        self._lease = lease
        self._wanted = wanted
        self._stop = stop
        self._held: dict[str, float] = {}
        self._giving: set[str] = set()
        self._until = 0.0
        self._alive = 0
        self._failing = False

    def holds(self, name: str) -> bool:
        """Whether this lease may be worked on now."""
        return name in self._held and name not in self._giving and _since_boot() < self._until

    async def held(self, name: str) -> None:
        """Wait until this lease may be worked on; `stop` ends who waits for one that is lost.

        A process that was stopped for a while goes on where it was, before `guard` does.
        """
        while not self.holds(name):  # noqa: ASYNC110 - time alone ends it, without an event
            await asyncio.sleep(HELD_AGAIN)

    def shows(self, name: str) -> bool:
        """Whether its gauges are this replica's."""
        return self.holds(name) and _since_boot() >= self._held[name]

    def names(self) -> list[str]:
        """All that may be worked on now."""
        return [name for name in self._held if self.holds(name)]

    async def turn(self) -> float:
        """Renew, take, give back; seconds until the next turn."""
        began = _since_boot()
        every = self._lease * EVERY
        lasts = round(self._lease * LASTS * 1000)
        try:
            found = await self._database.write_apart(
                lambda c: leases.turn(c, self._me, self._wanted(c), lasts)
            )
        except StoreError as error:
            if not self._failing:
                log.warning("leases_not_renewed", reason=str(error))
            self._failing = True
            return every
        self._failing = False
        until = began + self._lease * (LASTS - MARGIN)
        if _since_boot() >= until:
            return 0.0
        self._until = until
        await self._adopt(found)
        if found.alive != self._alive:
            self._meet(found.alive)
        return min(every, (found.next_in or lasts) / 1000 + 0.02)

    async def guard(self) -> None:
        """For ever: stop the work on leases that could not be renewed in time."""
        while True:
            left = self._until - _since_boot()
            if self._held and left <= 0:
                await self._lose(list(self._held))
            await asyncio.sleep(min(max(left, 0.01), 1.0) if self._held else self._lease * EVERY)

    async def leave(self) -> None:
        """Give everything back at once; its work has stopped."""
        self._held.clear()

        def leave(connection: Connection) -> None:
            leases.leave(connection, self._me)
            notices.send(connection, self._me, [LOOP])

        try:
            await self._database.write_apart(leave)
        except StoreError as error:
            log.warning("leases_not_given_back", reason=str(error))

    async def _adopt(self, found: Turn) -> None:
        """Work on what is mine from now on, and on nothing else."""
        now = _since_boot()
        lost = [name for name in self._held if name not in found.mine]
        fresh = sorted(found.mine - self._held.keys())
        for name in fresh:
            self._held[name] = now + (self._lease * HANDED if name in found.handed else 0.0)
            log.info("lease_taken", lease=name, replica=self._me)
        if fresh:
            self._signals.wake("destinations")
        await self._lose(lost)
        if found.too_many:
            await self._give_back(found.too_many)

    def _meet(self, alive: int) -> None:
        """Others are to see soon that there is one more, or one less."""
        log.info("replicas_alive", replicas=alive, replica=self._me)
        if self._alive == 0 and self._signals.elsewhere is not None:
            self._signals.elsewhere(LOOP)
        self._alive = alive

    async def _lose(self, names: Collection[str]) -> None:
        for name in names:
            self._held.pop(name, None)
            log.warning("lease_lost", lease=name, replica=self._me)
        await self._end(names)

    async def _give_back(self, names: Collection[str]) -> None:
        """First their gauges go, then the work ends, then others may have them."""
        self._giving |= set(names)
        try:
            await self._end(names)

            def release(connection: Connection) -> None:
                leases.release(connection, self._me, names)
                notices.send(connection, self._me, [LOOP])

            await self._database.write_apart(release)
        except StoreError as error:
            log.warning("leases_not_given_back", reason=str(error))
        finally:
            for name in names:
                self._held.pop(name, None)
            self._giving -= set(names)
        log.info("lease_given_back", leases=sorted(names), replica=self._me)

    async def _end(self, names: Iterable[str]) -> None:
        await asyncio.gather(*(self._stop(name) for name in names))
