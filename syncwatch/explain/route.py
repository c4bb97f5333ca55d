"""`GET /api/v1/explain`: will this image go there, since when, and how far did it come.

Comes in: a REF, and maybe a destination. Goes out: policy by policy, and what came of it so far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from syncwatch.explain import telling
from syncwatch.report.bodies import SHOWN, RefusedError, bad_request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from syncwatch.explain.answering import Answering

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PARAMETERS = ("image", "destination")


class Explaining:
    """Answers why."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering

    def routes(self, guarded: Callable[[Handler], Handler]) -> list[web.RouteDef]:
        """The route, for those who may read."""
        return [web.get("/api/v1/explain", guarded(self.explain))]

    async def explain(self, request: web.Request) -> web.Response:
        """Policy by policy, and what came of it so far: 200, else RefusedError."""
        query = request.query
        if unknown := sorted(set(query) - set(PARAMETERS)):
            raise bad_request(f"there is no parameter {unknown[0][:SHOWN]!a}.")
        where = query.get("destination", "")
        asked = await self._answering.question(query.get("image", ""), [where] if where else [])
        sources, notes = await self._answering.sources(asked)
        host = asked.wanted.stranger
        if host and not await self._answering.is_project(host, sources):
            raise RefusedError(404, "not_found", nobodys(host))
        told = telling.answer(asked.text, where, sources, notes)
        return web.Response(body=msgspec.json.encode(told), content_type="application/json")


def nobodys(host: str) -> str:
    """The sentence about a host that nobody owns."""
    return f"image: {host} is the host of no Harbor and no destination here."
