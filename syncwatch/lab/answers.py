"""How the lab Harbor's API answers: JSON, errors, and what every answer carries."""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid
from typing import TYPE_CHECKING, Any

from aiohttp import web

from syncwatch.lab.distribution import OciError
from syncwatch.lab.faults import html_page

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from syncwatch.lab.world import World

SESSION = "sid"
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class RefusedError(Exception):
    """An error answer `{"errors": [{code, message}]}` with its status."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    def answer(self) -> web.Response:
        """The error as Harbor writes it (src/lib/http/error.go)."""
        document = {"errors": [{"code": self.code, "message": self.message}]}
        body = json.dumps(document, separators=(",", ":")) + "\n"
        headers = {"Content-Type": "application/json; charset=utf-8", **self.headers}
        return web.Response(status=self.status, text=body, headers=headers)


def not_found(what: str) -> RefusedError:
    """404 `… not found`."""
    return RefusedError(404, "NOT_FOUND", f"{what} not found")


def json_answer(
    document: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """A JSON answer with Harbor's content type."""
    body = (json.dumps(document, separators=(",", ":")) + "\n").encode()
    named = {"Content-Type": "application/json", **(headers or {})}
    return web.Response(status=status, body=body, headers=named)


def created(request: web.Request, identifier: int, document: Any = None) -> web.Response:
    """201 with the Location of what was made; the body is empty unless given."""
    location = {"Location": f"{request.path.rstrip('/')}/{identifier}"}
    if document is not None:
        return json_answer(document, status=201, headers=location)
    return bare(201, location)


def bare(status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer without body or content type."""
    answer = web.Response(status=status, headers=headers)
    answer.headers.popall("Content-Type", None)
    return answer


async def json_body(request: web.Request) -> dict[str, Any]:
    """The request's JSON object. Raises RefusedError (422) when it is none."""
    try:
        parsed = await request.json()
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise RefusedError(422, "UNPROCESSABLE_ENTITY", "parsing body failed")
    return parsed


def around(world: World) -> Middleware:
    """The middleware of every request: switches, CSRF, errors, the session cookie."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        if world.switches.slow_seconds:
            await asyncio.sleep(world.switches.slow_seconds)
        if world.switches.html:
            return html_page()
        try:
            _admit(world, request)
            answered = await handler(request)
        except (RefusedError, OciError) as refused:
            answered = refused.answer()
        except web.HTTPNotFound:
            answered = not_found("the requested path").answer()
        if answered.prepared:
            return answered
        if request.path.startswith("/v2/"):
            answered.headers["X-Request-ID"] = str(uuid.uuid4())
        if request.path.startswith("/api/"):
            # Harbor opens a session for whoever asks; a client that keeps it is asked for CSRF.
            answered.set_cookie(SESSION, secrets.token_hex(16), path="/", httponly=True)
        return answered

    return answer


def _admit(world: World, request: web.Request) -> None:
    if world.switches.broken:
        raise RefusedError(500, "UNKNOWN", "internal server error")
    if request.method not in _WRITES:
        return
    if SESSION in request.cookies:
        raise RefusedError(403, "FORBIDDEN", "CSRF token not found in request")
    if world.switches.read_only:
        message = "The system is in read only mode. Any modification is prohibited."
        raise RefusedError(403, "DENIED", message)
