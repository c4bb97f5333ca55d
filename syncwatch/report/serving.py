"""What is no HTTP, or more of it than is read, refused in the form of all errors.

Comes in: what aiohttp could not parse. Goes out: 400 as JSON. aiohttp would show the bytes that it
stumbled over, in its answer and in the log, and there may be a credential in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from syncwatch.report.routing import error_answer
from syncwatch.runtime import log, where

if TYPE_CHECKING:
    from aiohttp.web_request import BaseRequest

NO_HTTP = "That is no HTTP that can be read; ask again with a client that speaks it."
TOO_LONG = "The request line or a header is longer than 8190 bytes; ask for less at once."


class _Connection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what no handler was asked, or no handler answered; ends the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("A part of the answer is sent already.")
        if status == 400:
            log.info("no_http", remote=request.remote, error=type(exc).__name__)
            words = TOO_LONG if isinstance(exc, LineTooLong) else NO_HTTP
            answer = error_answer(status, "bad_request", words)
        else:
            told = where(exc) if exc else ""
            log.error("answer_crashed", error=type(exc).__name__, where=told)
            answer = error_answer(status, "internal_server_error", "This is a bug of syncwatch.")
        answer.force_close()
        return answer


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """As web.AppRunner, but for its answers to what cannot be read."""

    async def _make_server(self) -> _Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,  # noqa: SLF001 - aiohttp has no other way to choose the protocol
            **made._kwargs,  # noqa: SLF001
        )
