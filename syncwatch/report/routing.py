"""Where routes and their descriptions meet: handlers that carry an Operation, errors as JSON.

Comes in: handlers of any part. Goes out: handlers for aiohttp, and for an application the list of
what it serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from aiohttp import hdrs, web

from syncwatch.errors import StoreError
from syncwatch.report.bodies import RefusedError
from syncwatch.report.operations import Error, ErrorWords, Guard, QueryError, read_query
from syncwatch.runtime import is_one_of, log, where

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from syncwatch.report.operations import Operation

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Form = TypeVar("Form", bound=msgspec.Struct)
ASKED = web.RequestKey("syncwatch.asked", msgspec.Struct)
NOBODY_WRITES = (
    "Nobody may write while the configuration has neither token nor token_file; set one."
)
NO_STORE = {hdrs.CACHE_CONTROL: "no-store"}
"""No cache keeps an answer: it is out of date a moment later."""


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


def guarded(
    handler: Handler, operation: Operation, token: Callable[[], Sequence[str] | None]
) -> Handler:
    """The handler for those who have the token, its query read, its errors as JSON.

    `token` gives the values that are accepted, None where everybody may read.
    """

    async def answer(request: web.Request) -> web.StreamResponse:
        accepted = token()
        if accepted is None and operation.guard is Guard.WRITE:
            return error_answer(403, "forbidden", NOBODY_WRITES)
        if accepted is not None and not _has_token(request, accepted):
            words = "Send Authorization: Bearer with the token."
            return error_answer(401, "unauthorized", words, {hdrs.WWW_AUTHENTICATE: "Bearer"})
        try:
            request[ASKED] = read_query(request.query.items(), operation.query)
            told = await handler(request)
        except QueryError as error:
            return error_answer(400, "bad_request", f"{error}.")
        except RefusedError as refused:
            return error_answer(refused.status, refused.code, str(refused))
        except StoreError as error:
            return error_answer(503, "store_unavailable", str(error))
        told.headers.update(NO_STORE)
        return told

    return described(answer, operation)


def _has_token(request: web.Request, accepted: Sequence[str]) -> bool:
    kind, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return is_one_of(given.strip(), accepted) and kind.lower() == "bearer"


def json_answer(value: object, status: int = 200) -> web.Response:
    """A value of `answers` as JSON. No cache keeps it: it is out of date a moment later."""
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, content_type="application/json", headers=NO_STORE)


def error_answer(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An error in the one form of all."""
    answer = json_answer(Error(ErrorWords(code, message)), status)
    answer.headers.update(headers or {})
    return answer


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers of aiohttp itself (no such route, wrong method) in the form of all our errors."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = error.reason.lower().replace(" ", "_")
        words = f"{request.method} {request.path}: {error.reason}."
        return error_answer(error.status, code, words, _kept(error))
    except Exception as error:  # noqa: BLE001 - a bug in one answer is told like any error
        # A traceback would show texts that may hold anything.
        log.error(
            "answer_crashed", path=request.path, error=type(error).__name__, where=where(error)
        )
        words = "This is a bug of syncwatch; its log says where it is."
        return error_answer(500, "internal_server_error", words)


def _kept(error: web.HTTPException) -> dict[str, str]:
    """What a client needs of aiohttp's own headers."""
    kept: Any = error.headers
    return {name: kept[name] for name in (hdrs.ALLOW, hdrs.RETRY_AFTER) if name in kept}
