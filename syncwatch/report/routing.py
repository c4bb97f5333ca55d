"""Where routes and their descriptions meet: a handler that carries its Operation.

Comes in: handlers of any part. Goes out: handlers for aiohttp, and for an application the list of
what it serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
from aiohttp import hdrs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from syncwatch.report.operations import Operation

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


Form = TypeVar("Form", bound=msgspec.Struct)
ASKED = "syncwatch.asked"


class Route(NamedTuple):
    """One route that is served; `operation` is None where nobody described it."""

    method: str
    path: str
    operation: Operation | None


def described(handler: Handler, operation: Operation) -> Handler:
    """The handler, known by its description. For a part that guards its routes itself."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    vars(answer)["operation"] = operation
    return answer


def routes_of(app: web.Application) -> list[Route]:
    """All that the application serves, by path; HEAD goes with GET."""
    served = [
        Route(one.method, one.resource.canonical, vars(one.handler).get("operation"))
        for one in app.router.routes()
        if one.resource is not None and one.method != hdrs.METH_HEAD
    ]
    return sorted(served, key=lambda one: (one.path, one.method))


def asked(request: web.Request, form: type[Form]) -> Form:
    """The query as the route's Operation has it, read before its handler is called."""
    told = request[ASKED]
    if not isinstance(told, form):
        raise TypeError(f"{request.path} is not described with {form.__name__}")
    return told
