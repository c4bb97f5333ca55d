"""One repository of the sweep: read from Harbor, held against what is known, and written down.

Comes in: its name, and the rules. Goes out: generations of what was not known, references for the
planner to ask for, and the destinations' lists that are to be compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.errors import OutboundError
from syncwatch.harbor.client import PAGE_SIZE
from syncwatch.plan.comparing import Comparison
from syncwatch.plan.keeping import WRITTEN_AT_ONCE
from syncwatch.store import orphans, subjects, sweeps

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sqlalchemy import Connection

    from syncwatch.config import HarborSettings
    from syncwatch.harbor.client import HarborClient
    from syncwatch.model import Millis
    from syncwatch.plan.keeping import Keeping
    from syncwatch.plan.scope import Scope
    from syncwatch.plan.sources import Sources
    from syncwatch.runtime import Clock, Signals
    from syncwatch.store.database import Database

PAGES = 10_000
"""Pages of one repository that are read at most: a million artifacts."""
LARGEST_LIST = 20_000
"""References of one repository that are kept to be compared with a destination's list."""
OF_ALL = frozenset({"unauthorized", "rate_limited"})
"""Trouble that is never one repository's own."""


@dataclass
class Reading:
    """A repository that is being read, a page at a time; `page` is the next one."""

    repository: str
    scope: Scope
    comparison: Comparison
    whole: bool
    page: int = 1


class Repositories:
    """Compares repositories of one Harbor. `spend` is told of each question."""

    def __init__(
        self,
        *,
        harbor: HarborSettings,
        client: HarborClient,
        keeping: Keeping,
        sources: Sources,
        database: Database,
        clock: Clock,
        signals: Signals,
        spend: Callable[[int], None],
    ) -> None:
        self.troubled: dict[str, str] = {}
        """Repositories that could not be read, and why."""
        self._name = harbor.name
        self._beyond_every: Millis = round(harbor.orphans_every.total_seconds() * 1000)
        self._client = client
        self._keeping = keeping
        self._sources = sources
        self._database = database
        self._clock = clock
        self._signals = signals
        self._spend = spend

    async def begin(
        self, repository: str, scope: Scope, until: Millis, *, whole: bool = False
    ) -> Reading | None:
        """Begin with a repository; None where nobody wants anything of it.

        The rules are known up to `until` (Harbor's clock). In a `whole` pass its destinations are
        asked what they have beyond it.
        """
        known = await self._known(repository)
        revisions = scope.of(repository)
        if not revisions and not known:
            return None
        return Reading(repository, scope, Comparison(repository, revisions, until), whole)

    async def go_on(self, reading: Reading) -> bool:
        """Read and compare its next page; True when that was all of it, or it cannot be read.

        Raises OutboundError for trouble that is Harbor's, and not this repository's own.
        """
        try:
            ended = await self._take_page(reading)
        except OutboundError as error:
            if error.kind == "forbidden":
                self._sources.refuse("list", reading.repository.partition("/")[0])
            elif not await self.is_own(error):
                raise
            else:
                self.troubled[reading.repository] = error.message
            return True
        if ended:
            await self._end(reading)
        return ended

    async def is_own(self, error: OutboundError) -> bool:
        """Whether Harbor answers otherwise, so that the trouble is what was asked for."""
        if error.kind in OF_ALL:
            return False
        self._spend(1)
        try:
            await self._client.system_info()
        except OutboundError:
            return False
        return True

    def forget_troubles(self, project: str, seen: Collection[str]) -> None:
        """All repositories of a project were seen: the others are no longer there."""
        gone = [one for one in self.troubled if one.startswith(f"{project}/") and one not in seen]
        for one in gone:
            del self.troubled[one]

    def forget_beyond(self, scope: Scope) -> None:
        """Repositories that no rule reaches any more trouble nobody."""
        beyond = [one for one in self.troubled if one[-1] != "/" and not scope.of(one)]
        for one in beyond:
            del self.troubled[one]

    async def _known(self, repository: str) -> list[sweeps.KnownSubject]:
        return await self._database.read(lambda c: sweeps.known_of(c, self._name, repository))

    async def _take_page(self, reading: Reading) -> bool:
        read_at = self._clock.now()
        self._spend(1)
        listed = await self._client.artifact_page(reading.repository, reading.page)
        # What is known may have changed since the page before.
        known = await self._known(reading.repository)
        news = reading.comparison.take(listed, known, read_at)
        for begin in range(0, len(news.told), WRITTEN_AT_ONCE):
            part = news.told[begin : begin + WRITTEN_AT_ONCE]
            names = {(one.event.repository, one.event.reference) for one in part}
            answers = {name: news.answers[name] for name in names}
            await self._keeping.write(part, answers, [], self._clock.now())
        reading.page += 1
        return len(listed) < PAGE_SIZE or reading.page > PAGES

    async def _end(self, reading: Reading) -> None:
        self.troubled.pop(reading.repository, None)
        now = self._clock.now()
        missing = reading.comparison.missing(await self._known(reading.repository))
        if missing:
            await self._database.write(lambda c: subjects.ask_source(c, missing, now))
            self._signals.wake(f"plan {self._name}")
        if reading.whole:
            there = reading.comparison.references
            await self._ask_beyond(reading.scope, reading.repository, there, now)

    async def _ask_beyond(
        self, scope: Scope, repository: str, there: Collection[str], now: Millis
    ) -> None:
        """Have each destination's own list compared with the source's, once in a while."""
        if len(there) > LARGEST_LIST:
            return
        before = now - self._beyond_every
        places = sorted(scope.places(repository))

        def wanted(connection: Connection) -> list[tuple[int, str]]:
            return [
                place
                for place in places
                if orphans.is_wanted(connection, *place, repository, before)
            ]

        def ask(connection: Connection) -> None:
            for place in asked:
                orphans.ask(connection, *place, repository, there, now)

        if asked := await self._database.read(wanted):
            await self._database.write(ask)
