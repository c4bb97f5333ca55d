"""A destination: an OCI registry in memory, with faults on a switch and a log of what was asked."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from aiohttp import web

from syncwatch.lab import faults, images
from syncwatch.lab.contents import Contents
from syncwatch.lab.distribution import (
    API_VERSION,
    Distribution,
    Kind,
    OciError,
    PullThrough,
    Target,
    json_answer,
    target_of,
)
from syncwatch.lab.faults import STORAGE_FAULTS, Fault, Switchboard
from syncwatch.lab.listener import Listener
from syncwatch.lab.storage import SIGNATURE, Asked, Storage, asked
from syncwatch.lab.tokens import Tokens, asked_access, basic_credentials

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    from syncwatch.lab.images import Image

__all__ = ["Asked", "Fault", "LabRegistry"]

_WRONG = (Fault.RESET, Fault.HANG, Fault.HTML)


class LabRegistry:
    """A registry on a free loopback port: anonymous, htpasswd-like Basic, or Bearer.

    `users` None lets everybody in; `bearer` sends clients to a token endpoint of its own;
    `anonymous_pull` lets nobody pull beside the users. `users` may change while it runs.
    DELETE works by digest only, as on docker-registry. `pull_through` is the URL of a registry
    that this one is a cache of.
    """

    def __init__(
        self,
        name: str = "registry",
        *,
        users: Mapping[str, str] | None = None,
        bearer: bool = False,
        anonymous_pull: bool = False,
        referrers: bool = False,
        pull_through: str | None = None,
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
        self.retry_after: int | str = 1
        """Seconds, or a date as HTTP writes it."""
        self.unavailable_for: int | str | None = None
        """The Retry-After of Fault.UNAVAILABLE: seconds, or a date."""
        self.redirect_to: str | None = None
        """Base URL that redirected blobs are sent to; default: this registry as `localhost`."""
        self.realm: str | None = None
        """The token endpoint that a Bearer challenge names; default: this registry's own."""
        self.switches = Switchboard()
        self._bearer = bearer
        self._anonymous_pull = anonymous_pull
        self._storage = Storage(self.contents.bytes, self.switches, self)
        self._distribution = (
            Distribution(self.contents, referrers=referrers)
            if pull_through is None
            else PullThrough(self.contents, pull_through)
        )
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
        self.switches.clear()
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
        self.switches.switch_on(fault, repository, reference, times)

    def clear(self) -> None:
        """Switch every fault off."""
        self.switches.clear()

    def push(self, repository: str, tag: str, image: Image) -> str:
        """Put an image there without HTTP; its digest is returned."""
        return self.contents.put_image(repository, tag, image).digest

    def digest(self, repository: str, reference: str) -> str | None:
        """The digest a tag or digest answers with; None when absent."""
        found = self.contents.manifest(repository, reference)
        return found.digest if found else None

    def push_referrer_fallback(self, repository: str, subject: Image, *referrers: Image) -> str:
        """Put referrers there as clients do where the referrers API is missing.

        Each goes by digest, their list under `images.fallback_tag(subject)`, whose digest is
        returned.
        """
        listed = images.fallback_index(*referrers)
        return self.push(repository, images.fallback_tag(subject), listed)

    def truncate_blob(self, digest: str, by: int = 1) -> None:
        """The blob's file lacks its last `by` bytes."""
        body = self.contents.bytes[digest]
        self.contents.bytes[digest] = body[: max(len(body) - by, 0)]

    def corrupt_blob(self, digest: str) -> None:
        """Every byte of the blob is another one, and there are as many."""
        body = self.contents.bytes[digest]
        self.contents.bytes[digest] = bytes(byte ^ 0xFF for byte in body)

    def empty_blob(self, digest: str) -> None:
        """The blob's file is there and has no bytes."""
        self.contents.bytes[digest] = b""

    def corrupt_manifest(self, repository: str, digest: str) -> None:
        """The manifest says the same in other bytes, and is still served as `digest`."""
        held = self.contents.repository(repository).manifests
        held[digest] = replace(held[digest], body=held[digest].body + b"\n")

    def lose_child(self, repository: str, reference: str, number: int = 0) -> str:
        """The `number`th entry of an index is gone, manifest or blob; its digest is returned."""
        found = self.contents.manifest(repository, reference)
        if found is None:
            raise KeyError(reference)
        lost = str(found.document()["manifests"][number]["digest"])
        held = self.contents.repository(repository)
        held.manifests.pop(lost, None)
        held.blobs.discard(lost)
        return lost

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
        application.router.add_route("*", Storage.PATH, self._ask_storage)
        application.router.add_route("*", "/v2{tail:.*}", self._ask)
        return application

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        """One request under /v2: faults first, then the registry; logged either way."""
        status = 0
        try:
            answer = await self._answer(request)
            status = answer.given if isinstance(answer, faults.Gone) else answer.status
        finally:
            self.requests.append(asked(request, status))
        return answer

    async def _ask_storage(self, request: web.Request) -> web.StreamResponse:
        answer = await self._storage.answer(request)
        self.requests.append(asked(request, answer.status))
        return answer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        target = target_of(request)
        if target is None:
            return web.Response(status=404, text="404 page not found\n", headers=API_VERSION)
        match self.switches.first(_WRONG, request.method, target):
            case Fault.RESET:
                return faults.reset(request)
            case Fault.HANG:
                await self.switches.hang()
            case Fault.HTML:
                return faults.html_page()
        if self.switches.takes(Fault.SLOW, request.method, target):
            await asyncio.sleep(self.slow_seconds)
        try:
            answer = await self._serve(request, target)
        except OciError as error:
            answer = error.answer()
        return await faults.spoil(request, answer, self.switches, target, self)

    async def _serve(self, request: web.Request, target: Target) -> web.StreamResponse:
        refused = faults.refusal(self.switches, request.method, target, self)
        if refused is not None:
            raise self._with_challenge(refused, target, request.method)
        self._admit(request, target)
        if "If-None-Match" in request.headers and self.switches.takes(
            Fault.NOT_MODIFIED_LIE, request.method, target
        ):
            return web.Response(status=304, headers=API_VERSION)
        if target.kind is Kind.MANIFEST:
            return await self._serve_manifest(request, target)
        if target.kind is Kind.BLOB and (spoilt := self._spoilt_blob(request, target)):
            return spoilt
        return await self._distribution.serve(request, target)

    async def _serve_manifest(self, request: web.Request, target: Target) -> web.StreamResponse:
        if self.switches.takes(Fault.ACCEPT_TRAP, request.method, target):
            found = self.contents.manifest(target.repository, target.reference)
            if trapped := faults.accept_trap(request, found):
                raise trapped
        answer = await self._distribution.serve(request, target)
        if isinstance(answer, web.Response):
            faults.altered(answer, self.switches, request.method, target)
        return answer

    def _spoilt_blob(self, request: web.Request, target: Target) -> web.Response | None:
        body = self.contents.blob(target.repository, target.reference)
        if body is None:
            return None
        if self.switches.takes(Fault.REDIRECT_LOOP, request.method, target):
            return web.Response(status=307, headers={"Location": str(request.url)})
        if self._moves(request.method, target):
            base = self.redirect_to or self.url.replace("127.0.0.1", "localhost")
            location = f"{base}/storage/{target.repository}/{target.reference}?{SIGNATURE}"
            return web.Response(status=307, headers={"Location": location})

        def give(whole: bytes) -> web.Response:
            return self._distribution.give_blob(request, whole, target.reference)

        return faults.damaged_blob(self.switches, request, target, body, give)

    def _moves(self, method: str, target: Target) -> bool:
        """Whether to redirect; a fault of the storage is counted there."""
        redirected = self.switches.takes(Fault.REDIRECT, method, target)
        return redirected or self.switches.has(STORAGE_FAULTS, method, target)

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
        if self.switches.takes(Fault.EXPIRED_TOKEN, request.method, target):
            self.tokens.revoke()
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
            realm = self.realm or f"{self.url}/token"
            challenge = f'Bearer realm="{realm}",service="{self.name}"'
            if target.repository:
                actions = "pull" if method in ("GET", "HEAD") else "pull,push"
                challenge += f',scope="repository:{target.repository}:{actions}"'
        refused.headers = {**refused.headers, "WWW-Authenticate": challenge}
        return refused

    async def _token(self, request: web.Request) -> web.StreamResponse:
        answer = self._token_answer(request)
        self.requests.append(asked(request, answer.status))
        return answer

    def _token_answer(self, request: web.Request) -> web.Response:
        if self.switches.takes_token():
            return OciError(500, "UNKNOWN", "unknown error").answer()
        credentials = basic_credentials(request.headers.get("Authorization"))
        known = self._knows(credentials)
        if not known and (credentials is not None or not self._anonymous_pull):
            return OciError(401, "UNAUTHORIZED", "authentication required").answer()
        asked = asked_access(request.query.getall("scope", []))
        granted = asked if known else [access for access in asked if access[1] == "pull"]
        holder = credentials[0] if credentials else ""
        return json_answer(self.tokens.issue(holder, granted))
