"""A destination: an OCI registry in memory, with faults on a switch and a log of what was asked."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from syncwatch.lab import faults
from syncwatch.lab.contents import Contents
from syncwatch.lab.distribution import (
    API_VERSION,
    Distribution,
    Kind,
    OciError,
    Target,
    json_answer,
    target_of,
)
from syncwatch.lab.faults import Fault, Switchboard
from syncwatch.lab.listener import Listener
from syncwatch.lab.tokens import Tokens, asked_access, basic_credentials

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    from syncwatch.lab.images import Image

_WRONG = (Fault.RESET, Fault.HANG, Fault.HTML)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as the registry saw it; `status` is 0 where no answer was given."""

    method: str
    path: str
    status: int
    authorized: bool
    """Whether an Authorization header was sent, good or not."""
    host: str
    user_agent: str


class LabRegistry:
    """A registry on a free loopback port: anonymous, htpasswd-like Basic, or Bearer.

    `users` None lets everybody in; `bearer` sends clients to a token endpoint of its own;
    `anonymous_pull` lets nobody pull beside the users. `users` may change while it runs.
    DELETE works by digest only, as on docker-registry.
    """

    def __init__(
        self,
        name: str = "registry",
        *,
        users: Mapping[str, str] | None = None,
        bearer: bool = False,
        anonymous_pull: bool = False,
        referrers: bool = False,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.name = name
        self.users: dict[str, str] | None = None if users is None else dict(users)
        self.requests: list[Asked] = []
        self.contents = Contents()
        self.tokens = Tokens(time.time, 300)
        self.slow_seconds = 0.5
        self.drip_seconds = 0.05
        self.retry_after = 1
        self.redirect_to: str | None = None
        """Base URL that redirected blobs are sent to; default: this registry as `localhost`."""
        self._bearer = bearer
        self._anonymous_pull = anonymous_pull
        self._switches = Switchboard()
        self._distribution = Distribution(self.contents, referrers=referrers)
        self._listener = Listener(self._application, port=port, tls=tls)

    @property
    def url(self) -> str:
        """Where it listens, `http://127.0.0.1:PORT`."""
        return self._listener.url

    @property
    def host(self) -> str:
        """`127.0.0.1:PORT`, as image references write it."""
        return self.url.partition("://")[2]

    async def start(self) -> None:
        """Listen, on the same port as before."""
        await self._listener.start()

    async def stop(self) -> None:
        """Refuse connections; what it holds stays."""
        self._switches.clear()
        await self._listener.stop()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[LabRegistry]:
        """Listen for the length of a `with` block."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    def fault(
        self,
        fault: Fault,
        repository: str | None = None,
        reference: str | None = None,
        times: int | None = None,
    ) -> None:
        """Switch a fault on: for one repository, one tag or digest, or so many times only."""
        self._switches.switch_on(fault, repository, reference, times)

    def clear(self) -> None:
        """Switch every fault off."""
        self._switches.clear()

    def push(self, repository: str, tag: str, image: Image) -> str:
        """Put an image there without HTTP; its digest is returned."""
        return self.contents.put_image(repository, tag, image).digest

    def digest(self, repository: str, reference: str) -> str | None:
        """The digest a tag or digest answers with; None when absent."""
        found = self.contents.manifest(repository, reference)
        return found.digest if found else None

    def lose_blob(self, digest: str) -> None:
        """The blob's file is gone, in every repository."""
        self.contents.bytes.pop(digest, None)

    def lose_manifest(self, repository: str, digest: str) -> None:
        """The manifest is gone; tags still name it."""
        self.contents.repository(repository).manifests.pop(digest, None)

    def lose_tag(self, repository: str, tag: str) -> None:
        """The tag is gone; its manifest stays, by digest."""
        self.contents.repository(repository).tags.pop(tag, None)

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=0)
        application.router.add_get("/token", self._token)
        application.router.add_route("*", "/storage/{digest}", self._storage)
        application.router.add_route("*", "/v2{tail:.*}", self._ask)
        return application

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        """One request under /v2: faults first, then the registry; logged either way."""
        status = 0
        try:
            answer = await self._answer(request)
            status = answer.status
        finally:
            self._note(request, status)
        return answer

    def _note(self, request: web.Request, status: int) -> None:
        agent = request.headers.get("User-Agent", "")
        sent = "Authorization" in request.headers
        self.requests.append(
            Asked(request.method, request.path_qs, status, sent, request.host, agent)
        )

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        target = target_of(request)
        if target is None:
            return web.Response(status=404, text="404 page not found\n", headers=API_VERSION)
        match self._switches.first(_WRONG, request.method, target):
            case Fault.RESET:
                return self._reset(request)
            case Fault.HANG:
                await self._switches.hang()
            case Fault.HTML:
                return faults.html_page()
        if self._switches.takes(Fault.SLOW, request.method, target):
            await asyncio.sleep(self.slow_seconds)
        try:
            answer = await self._serve(request, target)
        except OciError as error:
            answer = error.answer()
        if isinstance(answer, web.Response) and self._switches.takes(
            Fault.DRIP, request.method, target
        ):
            return await faults.drip(request, answer, self.drip_seconds)
        return answer

    def _reset(self, request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def _serve(self, request: web.Request, target: Target) -> web.StreamResponse:
        refused = faults.refusal(
            self._switches, request.method, target, retry_after=self.retry_after
        )
        if refused is not None:
            raise self._with_challenge(refused, target, request.method)
        self._admit(request, target)
        if target.kind is Kind.MANIFEST:
            return await self._serve_manifest(request, target)
        if target.kind is Kind.BLOB and (spoilt := self._spoilt_blob(request, target)):
            return spoilt
        return await self._distribution.serve(request, target)

    async def _serve_manifest(self, request: web.Request, target: Target) -> web.StreamResponse:
        if self._switches.takes(Fault.ACCEPT_TRAP, request.method, target):
            found = self.contents.manifest(target.repository, target.reference)
            if trapped := faults.accept_trap(request, found):
                raise trapped
        answer = await self._distribution.serve(request, target)
        if isinstance(answer, web.Response):
            faults.altered(answer, self._switches, request.method, target)
        return answer

    def _spoilt_blob(self, request: web.Request, target: Target) -> web.Response | None:
        body = self.contents.blob(target.repository, target.reference)
        if body is None:
            return None
        if self._switches.takes(Fault.REDIRECT_LOOP, request.method, target):
            return web.Response(status=307, headers={"Location": str(request.url)})
        if self._switches.takes(Fault.REDIRECT, request.method, target):
            base = self.redirect_to or self.url.replace("127.0.0.1", "localhost")
            location = f"{base}/storage/{target.reference}"
            return web.Response(status=307, headers={"Location": location})
        if self._switches.takes(Fault.BLOB_TRUNCATED, request.method, target):
            half = body[: len(body) // 2]
            return self._distribution.give_blob(request, half, target.reference)
        if "Range" in request.headers and self._switches.takes(
            Fault.EMPTY_206, request.method, target
        ):
            return web.Response(status=206, headers=API_VERSION)
        return None

    async def _storage(self, request: web.Request) -> web.StreamResponse:
        """Where redirected blobs lie: an object store, which refuses a foreign Authorization."""
        digest = request.match_info["digest"]
        body = self.contents.bytes.get(digest)
        if "Authorization" in request.headers:
            answer = web.Response(status=400, text="Only one auth mechanism allowed")
        elif body is None:
            answer = web.Response(status=404, text="NoSuchKey")
        else:
            answer = self._distribution.give_blob(request, body, digest)
        self._note(request, answer.status)
        return answer

    def _admit(self, request: web.Request, target: Target) -> None:
        """Raise the 401 of a request that may not do what it asks."""
        action = "pull" if request.method in ("GET", "HEAD") else "push"
        if self.users is None or self._may(request, target, action):
            return
        refused = OciError(401, "UNAUTHORIZED", "authentication required", headers=API_VERSION)
        refused.error["detail"] = None
        raise self._with_challenge(refused, target, request.method)

    def _may(self, request: web.Request, target: Target, action: str) -> bool:
        header = request.headers.get("Authorization", "")
        if not self._bearer:
            nobody = not header and self._anonymous_pull and action == "pull"
            return nobody or self._knows(basic_credentials(header))
        token = self.tokens.find(header.removeprefix("Bearer "))
        if token is None:
            return False
        return target.kind is Kind.BASE or (target.repository, action) in token.access

    def _knows(self, credentials: tuple[str, str] | None) -> bool:
        if credentials is None or self.users is None:
            return False
        user, password = credentials
        return self.users.get(user) == password

    def _with_challenge(self, refused: OciError, target: Target, method: str) -> OciError:
        if refused.status != 401 or self.users is None:
            return refused
        challenge = f'Basic realm="{self.name}"'
        if self._bearer:
            challenge = f'Bearer realm="{self.url}/token",service="{self.name}"'
            if target.repository:
                actions = "pull" if method in ("GET", "HEAD") else "pull,push"
                challenge += f',scope="repository:{target.repository}:{actions}"'
        refused.headers = {**refused.headers, "WWW-Authenticate": challenge}
        return refused

    async def _token(self, request: web.Request) -> web.StreamResponse:
        answer = self._token_answer(request)
        self._note(request, answer.status)
        return answer

    def _token_answer(self, request: web.Request) -> web.Response:
        if self._switches.takes_token():
            return OciError(500, "UNKNOWN", "unknown error").answer()
        credentials = basic_credentials(request.headers.get("Authorization"))
        known = self._knows(credentials)
        if not known and (credentials is not None or not self._anonymous_pull):
            return OciError(401, "UNAUTHORIZED", "authentication required").answer()
        asked = asked_access(request.query.getall("scope", []))
        granted = asked if known else [access for access in asked if access[1] == "pull"]
        holder = credentials[0] if credentials else ""
        return json_answer(self.tokens.issue(holder, granted))
