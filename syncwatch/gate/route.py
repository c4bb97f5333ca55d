"""The gate's HTTP. GET asks; POST asks the same by its parameters, for tools that can only POST."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from syncwatch.gate.answers import GateAnswer
from syncwatch.gate.asked import GateQuery, read
from syncwatch.gate.deciding import USABLE
from syncwatch.report.operations import Answer, Operation
from syncwatch.report.routing import asked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from syncwatch.gate.waiting import Waiting

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

AGAIN = {"Retry-After": "seconds after which to ask again"}
GATE = Operation(
    "gate",
    "whether an image is usable where it is to be deployed",
    {
        200: Answer("it is usable; with `always=200` whatever the answer", GateAnswer),
        404: Answer("it is not there, and nothing expects it there", GateAnswer),
        409: Answer("it is not there yet, and may still come", GateAnswer, headers=AGAIN),
        422: Answer("it failed, or the level cannot be reached there", GateAnswer),
        503: Answer("Harbor or the destination could not be asked", GateAnswer, headers=AGAIN),
    },
    query=GateQuery,
    details="Harbor is asked for each question what the tag names; a look at the destination that "
    "is older than `max_age`, or proves less than `level`, is taken anew. Of several destinations "
    "the worst decides, in the order 422, 503, 409, 404, 200; with `any=1` the best, in the order "
    "200, 409, 503, 422, 404.",
)
POSTED = replace(
    GATE,
    name="gateByPost",
    summary="the same for tools that can only POST: the body is not read",
)


class Gate:
    """Answers whether an image is usable. `answered` is told each status that was given."""

    def __init__(self, waiting: Waiting, answered: Callable[[int], None]) -> None:
        self._waiting = waiting
        self._answered = answered

    def routes(self, guarded: Callable[[Handler, Operation], Handler]) -> list[web.RouteDef]:
        """The routes, for those who may read."""
        return [
            web.get("/api/v1/gate", guarded(self.gate, GATE), allow_head=False),
            web.post("/api/v1/gate", guarded(self.gate, POSTED)),
        ]

    async def gate(self, request: web.Request) -> web.Response:
        """200 usable · 409 not yet · 422 failed · 404 not there nor expected · 503 cannot ask."""
        question, manner = read(asked(request, GateQuery))
        answer = await self._waiting.answer(question, manner, lambda: _is_gone(request))
        self._answered(answer.status)
        headers = {"Cache-Control": "no-store"}
        if answer.retry_after is not None:
            headers["Retry-After"] = str(answer.retry_after)
        return web.Response(
            status=USABLE if manner.always else answer.status,
            body=msgspec.json.encode(answer),
            content_type="application/json",
            headers=headers,
        )


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
