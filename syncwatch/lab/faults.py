"""What can be wrong with a destination, each on a switch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from aiohttp import web

from syncwatch.lab.distribution import Kind, OciError, Target

if TYPE_CHECKING:
    from collections.abc import Collection

    from syncwatch.lab.contents import Manifest

HTML_PAGE = "<!doctype html><html><body><h1>Welcome to the proxy</h1></body></html>"


class Fault(StrEnum):
    """One way of a registry to disappoint. Refused connections: `await registry.stop()`."""

    RESET = "reset"
    """The connection is closed instead of an answer."""
    HANG = "hang"
    """The request is taken and never answered (until `clear` or `stop`)."""
    SLOW = "slow"
    """The answer comes `registry.slow_seconds` late."""
    DRIP = "drip"
    """The body comes byte by byte, `registry.drip_seconds` apart."""
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    TAG_NOT_FOUND = "tag_not_found"
    """404 for manifests asked by tag."""
    DIGEST_NOT_FOUND = "digest_not_found"
    """404 for manifests asked by digest."""
    GET_NOT_FOUND = "get_not_found"
    """HEAD of a manifest answers, GET is 404."""
    RATE_LIMITED = "rate_limited"
    """429 with `Retry-After: registry.retry_after`."""
    SERVER_ERROR = "server_error"
    BAD_GATEWAY = "bad_gateway"
    UNAVAILABLE = "unavailable"
    POLICY_BLOCKED = "policy_blocked"
    """412 on manifests, as a Harbor that found a vulnerability."""
    HTML = "html"
    """200 and an HTML page instead of anything."""
    WRONG_DIGEST = "wrong_digest"
    """Docker-Content-Digest names another digest."""
    NO_DIGEST = "no_digest"
    """Docker-Content-Digest is not sent."""
    ALTERED = "altered"
    """The manifest's bytes are not those of the digest that was asked for."""
    ACCEPT_TRAP = "accept_trap"
    """404 for an index when Accept does not name index types (docker-registry 2.8.2)."""
    BLOB_NOT_FOUND = "blob_not_found"
    BLOB_TRUNCATED = "blob_truncated"
    """A blob is half as long as its descriptor says."""
    EMPTY_206 = "empty_206"
    """A range of a blob is answered 206 with no bytes."""
    REDIRECT = "redirect"
    """307 for blobs, to another host (`registry.redirect_to`) that refuses an Authorization."""
    REDIRECT_LOOP = "redirect_loop"
    """307 for blobs, to themselves."""
    TOKEN_DOWN = "token_down"  # noqa: S105 - the name of a fault
    """The token endpoint answers 500."""


_MANIFESTS = frozenset({Kind.MANIFEST})
_BLOBS = frozenset({Kind.BLOB})
_SCOPES = {
    Fault.TAG_NOT_FOUND: _MANIFESTS,
    Fault.DIGEST_NOT_FOUND: _MANIFESTS,
    Fault.GET_NOT_FOUND: _MANIFESTS,
    Fault.POLICY_BLOCKED: _MANIFESTS,
    Fault.WRONG_DIGEST: _MANIFESTS,
    Fault.NO_DIGEST: _MANIFESTS,
    Fault.ALTERED: _MANIFESTS,
    Fault.ACCEPT_TRAP: _MANIFESTS,
    Fault.BLOB_NOT_FOUND: _BLOBS,
    Fault.BLOB_TRUNCATED: _BLOBS,
    Fault.EMPTY_206: _BLOBS,
    Fault.REDIRECT: _BLOBS,
    Fault.REDIRECT_LOOP: _BLOBS,
    Fault.TOKEN_DOWN: frozenset[Kind](),
}
_READS_ONLY = frozenset(_SCOPES)

_REFUSALS = {
    Fault.UNAUTHORIZED: (401, "UNAUTHORIZED", "authentication required"),
    Fault.FORBIDDEN: (403, "DENIED", "requested access to the resource is denied"),
    Fault.RATE_LIMITED: (429, "TOOMANYREQUESTS", "too many requests"),
    Fault.SERVER_ERROR: (500, "UNKNOWN", "unknown error"),
    Fault.BAD_GATEWAY: (502, "UNKNOWN", "bad gateway"),
    Fault.UNAVAILABLE: (503, "UNAVAILABLE", "service unavailable"),
    Fault.BLOB_NOT_FOUND: (404, "BLOB_UNKNOWN", "blob unknown to registry"),
}


@dataclass(slots=True)
class _Switch:
    fault: Fault
    repository: str | None
    reference: str | None
    left: int | None


class Switchboard:
    """The faults that are on. A fault with `times` switches itself off after that many uses."""

    def __init__(self) -> None:
        self._on: list[_Switch] = []
        self._released = asyncio.Event()

    def switch_on(
        self, fault: Fault, repository: str | None, reference: str | None, times: int | None
    ) -> None:
        """From now on, for the named repository and reference or for all."""
        self._on.append(_Switch(fault, repository, reference, times))

    def clear(self) -> None:
        """Switch all off; what hangs is let go."""
        self._on.clear()
        self._released.set()
        self._released = asyncio.Event()

    async def hang(self) -> None:
        """Wait until `clear`."""
        await self._released.wait()

    def takes(self, fault: Fault, method: str, target: Target) -> bool:
        """Whether the fault strikes this request; counts the use."""
        scope = _SCOPES.get(fault)
        if scope is not None and target.kind not in scope:
            return False
        if fault in _READS_ONLY and method not in ("GET", "HEAD"):
            return False
        return self._use(fault, target.repository, target.reference)

    def takes_token(self) -> bool:
        """Whether the token endpoint is down."""
        return self._use(Fault.TOKEN_DOWN, "", "")

    def first(self, faults: Collection[Fault], method: str, target: Target) -> Fault | None:
        """The first of the faults that strikes this request."""
        return next((fault for fault in faults if self.takes(fault, method, target)), None)

    def _use(self, fault: Fault, repository: str, reference: str) -> bool:
        for switch in self._on:
            if switch.fault is not fault or switch.left == 0:
                continue
            if switch.repository not in (None, repository):
                continue
            if switch.reference not in (None, reference):
                continue
            if switch.left is not None:
                switch.left -= 1
            return True
        return False


def refusal(
    switches: Switchboard, method: str, target: Target, *, retry_after: int
) -> OciError | None:
    """The error that a fault answers this request with; None when none does."""
    found = switches.first(tuple(_REFUSALS), method, target)
    if found is not None:
        status, code, message = _REFUSALS[found]
        headers = {"Retry-After": str(retry_after)} if found is Fault.RATE_LIMITED else {}
        return OciError(status, code, message, headers=headers)
    if switches.takes(Fault.POLICY_BLOCKED, method, target):
        message = "current image with 1 vulnerabilities cannot be pulled"
        return OciError(412, "PROJECTPOLICYVIOLATION", message)
    by_digest = ":" in target.reference
    hidden = Fault.DIGEST_NOT_FOUND if by_digest else Fault.TAG_NOT_FOUND
    gone = switches.takes(hidden, method, target) or (
        method == "GET" and switches.takes(Fault.GET_NOT_FOUND, method, target)
    )
    return OciError(404, "MANIFEST_UNKNOWN", "manifest unknown") if gone else None


def accept_trap(request: web.BaseRequest, manifest: Manifest | None) -> OciError | None:
    """docker-registry's 404 for an index whose types the client does not accept."""
    accepted = ",".join(request.headers.getall("Accept", []))
    if manifest is None or not manifest.is_index or manifest.media_type in accepted:
        return None
    message = "OCI index found, but accept header does not support OCI indexes"
    return OciError(404, "MANIFEST_UNKNOWN", message)


def altered(answer: web.Response, switches: Switchboard, method: str, target: Target) -> None:
    """Spoil a manifest's answer in place, as the faults say."""
    if switches.takes(Fault.WRONG_DIGEST, method, target):
        answer.headers["Docker-Content-Digest"] = "sha256:" + "0" * 64
    if switches.takes(Fault.NO_DIGEST, method, target):
        answer.headers.popall("Docker-Content-Digest", None)
        answer.headers.popall("Etag", None)
    if isinstance(answer.body, bytes) and switches.takes(Fault.ALTERED, method, target):
        answer.body = answer.body.replace(b'"schemaVersion":2', b'"schemaVersion" :2')


def html_page() -> web.Response:
    """What a captive portal or a proxy says."""
    return web.Response(text=HTML_PAGE, content_type="text/html")


async def drip(request: web.BaseRequest, answer: web.Response, pause: float) -> web.StreamResponse:
    """The same answer, its body byte by byte, `pause` seconds apart."""
    body = answer.body if isinstance(answer.body, bytes) and request.method != "HEAD" else b""
    slow = web.StreamResponse(status=answer.status, headers=answer.headers)
    if request.method != "HEAD":
        slow.content_length = len(body)
    await slow.prepare(request)
    for position in range(len(body)):
        await slow.write(body[position : position + 1])
        await asyncio.sleep(pause)
    await slow.write_eof()
    return slow
