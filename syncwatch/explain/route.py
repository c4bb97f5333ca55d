"""`GET /api/v1/explain`: will this image go there, since when, and how far did it come.

Comes in: a REF, and maybe a destination. Goes out: policy by policy, and what came of it so far;
what nothing is written down of is looked at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from syncwatch.explain import telling
from syncwatch.explain.causes import COVERS_NOW
from syncwatch.explain.telling import EXPLAIN, ExplainQuery
from syncwatch.model import MINUTE, Level
from syncwatch.report.bodies import RefusedError
from syncwatch.report.routing import asked as asked_of
from syncwatch.store import policies
from syncwatch.store.looks import Wanted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from syncwatch.config import DestinationSettings
    from syncwatch.explain.answering import Answering
    from syncwatch.explain.looking import Looking
    from syncwatch.explain.telling import Source
    from syncwatch.explain.weighing import Judged
    from syncwatch.report.operations import Operation
    from syncwatch.runtime import Clock
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LOOKS_MOST = 20
"""How many names one question has looked at."""
LOOK_SECONDS = 10.0
"""How long they may take: somebody waits for the answer."""


class Explaining:
    """Answers why. `entry` is what the configuration says of a destination."""

    def __init__(
        self,
        *,
        answering: Answering,
        looking: Looking,
        database: Database,
        clock: Clock,
        entry: Callable[[Destination], DestinationSettings],
    ) -> None:
        self._answering = answering
        self._looking = looking
        self._database = database
        self._clock = clock
        self._entry = entry

    def routes(self, guarded: Callable[[Handler, Operation], Handler]) -> list[web.RouteDef]:
        """The route, for those who may read."""
        return [web.get("/api/v1/explain", guarded(self.explain, EXPLAIN))]

    async def explain(self, request: web.Request) -> web.Response:
        """Policy by policy, and what came of it so far: 200, else RefusedError."""
        query = asked_of(request, ExplainQuery)
        where = query.destination or ""
        asked = await self._answering.question(query.image, [where] if where else [])
        sources, notes = await self._answering.sources(asked)
        host = asked.wanted.stranger
        if host and not await self._answering.is_project(host, sources):
            raise RefusedError(404, "not_found", nobodys(host))
        told = telling.answer(asked.text, where, await self._looked(sources), notes)
        return web.Response(body=msgspec.json.encode(told), content_type="application/json")

    async def _looked(self, sources: Sequence[Source]) -> list[Source]:
        """The same with looks at what should, or may, be somewhere unknown to us."""
        known = await self._database.read(policies.known_destinations)
        present = {one.id: one for one in known if one.gone_at is None}
        wanted: dict[int, Wanted] = {}
        for judged in (one for source in sources for one in source.judged):
            found = self._wanted(judged, present)
            if found is not None and len(wanted) < LOOKS_MOST:
                wanted[id(judged)] = found
        since = self._clock.now() - MINUTE
        seen = await self._looking.see(set(wanted.values()), since, LOOK_SECONDS)

        def with_look(one: Judged) -> Judged:
            return replace(one, seen=seen[wanted[id(one)]]) if id(one) in wanted else one

        return [
            replace(source, judged=[with_look(one) for one in source.judged]) for source in sources
        ]

    def _wanted(self, one: Judged, present: Mapping[int, Destination]) -> Wanted | None:
        answer, digest = one.answer, one.image.digest
        there = present.get(answer.destination_id or 0)
        if one.row is not None or digest is None or there is None or answer.repository is None:
            return None
        if answer.covers is False and answer.cause not in COVERS_NOW:
            return None
        level = min(self._entry(there).level, Level.READABLE, key=lambda each: each.depth)
        return Wanted((there.id, answer.repository, one.image.reference), digest, level)


def nobodys(host: str) -> str:
    """The sentence about a host that nobody owns."""
    return f"image: {host} is the host of no Harbor and no destination here."
