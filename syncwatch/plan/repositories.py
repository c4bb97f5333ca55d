"""One repository of the sweep: read from Harbor, held against what is known, and written down.

Comes in: its name, and the rules. Goes out: generations of what was not known, references for the
planner to ask for, and the destinations' lists that are to be compared with it.
"""

from __future__ import annotations

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
OF_ONE = frozenset({"unreadable_answer", "server_error"})
"""Trouble that may be one repository's own; any other ends the turn."""


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

    async def compare(
        self, repository: str, scope: Scope, until: Millis, *, whole: bool = False
    ) -> int:
        """One repository with what is known of it; how many tags it has.

        The rules are known up to `until` (Harbor's clock). In a `whole` pass its destinations are
        asked what they have beyond it. Raises OutboundError for trouble that is not its own.
        """
        known = await self._database.read(lambda c: sweeps.known_of(c, self._name, repository))
        revisions = scope.of(repository)
        if not revisions and not known:
            return 0
        comparison = Comparison(repository, revisions, known, until)
        try:
            await self._read(repository, comparison)
        except OutboundError as error:
            if error.kind == "forbidden":
                self._sources.refuse("list", repository.partition("/")[0])
            elif error.kind in OF_ONE:
                self.troubled[repository] = error.message
            else:
                raise
            return comparison.tags
        self.troubled.pop(repository, None)
        missing, now = comparison.missing(), self._clock.now()
        if missing:
            await self._database.write(lambda c: subjects.ask_source(c, missing, now))
            self._signals.wake(f"plan {self._name}")
        if whole:
            await self._ask_beyond(scope, repository, comparison.references, now)
        return comparison.tags

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

    async def _read(self, repository: str, comparison: Comparison) -> None:
        for page in range(1, PAGES + 1):
            read_at = self._clock.now()
            self._spend(1)
            listed = await self._client.artifact_page(repository, page)
            news = comparison.take(listed, read_at)
            for begin in range(0, len(news.told), WRITTEN_AT_ONCE):
                part = news.told[begin : begin + WRITTEN_AT_ONCE]
                names = {(one.event.repository, one.event.reference) for one in part}
                answers = {name: news.answers[name] for name in names}
                await self._keeping.write(part, answers, [], self._clock.now())
            if len(listed) < PAGE_SIZE:
                return
