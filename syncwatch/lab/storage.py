"""Where a registry's blobs lie when it redirects: an object store as S3, on a host of its own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from aiohttp import web

from syncwatch.lab import faults
from syncwatch.lab.distribution import Kind, Target, ranged
from syncwatch.lab.faults import STORAGE_FAULTS, Fault
from syncwatch.lab.listener import HOST, Listener

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from syncwatch.lab.faults import Manners, Switchboard
    from syncwatch.lab.registry import LabRegistry

SIGNATURE = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=1200&X-Amz-Signature=5ec2e7"
"""The query of a presigned address. Whoever has it may read: it belongs in no log."""

_REFUSALS = {
    Fault.STORAGE_FORBIDDEN: (403, "AccessDenied", "Request has expired"),
    Fault.STORAGE_NOT_FOUND: (404, "NoSuchKey", "The specified key does not exist."),
    Fault.STORAGE_DOWN: (503, "SlowDown", "Please reduce your request rate."),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as a server saw it; `status` is 0 where no answer was given."""

    method: str
    path: str
    status: int
    authorized: bool
    """Whether an Authorization header was sent, good or not."""
    host: str
    user_agent: str


def asked(request: web.BaseRequest, status: int) -> Asked:
    """What the log keeps of a request."""
    agent = request.headers.get("User-Agent", "")
    sent = "Authorization" in request.headers
    return Asked(request.method, request.path_qs, status, sent, request.host, agent)


class Storage:
    """The answers of an object store; faults of the registry's blobs strike here as well."""

    PATH = "/storage/{repository:.+}/{digest}"

    def __init__(self, held: dict[str, bytes], switches: Switchboard, manners: Manners) -> None:
        self._held = held
        self._switches = switches
        self._manners = manners

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """A blob by the address that the registry made; an Authorization beside it is refused."""
        digest = request.match_info["digest"]
        target = Target(Kind.BLOB, request.match_info["repository"], digest)
        return await faults.spoil(
            request, self._plain(request, target), self._switches, target, self._manners
        )

    def _plain(self, request: web.Request, target: Target) -> web.Response:
        if "Authorization" in request.headers:
            return _refused(400, "InvalidArgument", "Only one auth mechanism allowed")
        found = self._switches.first(STORAGE_FAULTS, request.method, target)
        body = self._held.get(target.reference)
        if found is None and body is None:
            found = Fault.STORAGE_NOT_FOUND
        if found is not None or body is None:
            return _refused(*_REFUSALS[found or Fault.STORAGE_NOT_FOUND])

        def give(whole: bytes) -> web.Response:
            return _object(request, whole)

        spoilt = faults.damaged_blob(self._switches, request, target, body, give)
        return spoilt or give(body)


class ObjectStore:
    """A separate server for a registry's blobs, under a host name of its own.

    While it serves, the redirects of the registry (Fault.REDIRECT, Fault.STORAGE_*) go there,
    and `requests` shows what reached it. It holds the registry's bytes, in the same dictionary.
    """

    def __init__(
        self,
        registry: LabRegistry,
        *,
        host: str = "localhost",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.bytes = registry.contents.bytes
        self.requests: list[Asked] = []
        self._registry = registry
        self._host = host
        self._storage = Storage(self.bytes, registry.switches, registry)
        self._listener = Listener(self._application, tls=tls)

    @property
    def url(self) -> str:
        """Where it listens, `http://localhost:PORT`."""
        return self._listener.url.replace(HOST, self._host)

    async def start(self) -> None:
        """Listen, and take the registry's redirects."""
        await self._listener.start()
        self._registry.redirect_to = self.url

    async def stop(self) -> None:
        """Refuse connections. The registry goes on redirecting here, as a real one would."""
        await self._listener.stop()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ObjectStore]:
        """Listen for the length of a `with` block; afterwards the redirects are as before."""
        before = self._registry.redirect_to
        await self.start()
        try:
            yield self
        finally:
            self._registry.redirect_to = before
            await self.stop()

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_route("*", Storage.PATH, self._ask)
        return application

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        status = 0
        try:
            answer = await self._storage.answer(request)
            status = answer.given if isinstance(answer, faults.Gone) else answer.status
        finally:
            self.requests.append(asked(request, status))
        return answer


def _object(request: web.Request, body: bytes) -> web.Response:
    headers = {"Accept-Ranges": "bytes", "Content-Type": "binary/octet-stream"}
    answer = ranged(request, body, headers)
    return answer if answer.status != 416 else _refused(416, "InvalidRange", "Not satisfiable")


def _refused(status: int, code: str, message: str) -> web.Response:
    """An error in S3's words (REST API, "Error responses")."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    )
    return web.Response(status=status, text=text, content_type="application/xml")
