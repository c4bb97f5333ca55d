"""What can be wrong with a destination, each on a switch."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import io
import socket
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from syncwatch.lab.distribution import API_VERSION, Kind, OciError, Target, byte_range

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from syncwatch.lab.contents import Manifest

FLOOD = 5_000
"""Headers of a HEADER_FLOOD."""
GIANT = 1 << 20
"""Bytes of the one header of a GIANT_HEADER."""
BOMB = 80 << 20
"""Bytes that a GZIP_BOMB unpacks to."""

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
    """404 for manifests asked by digest; with a child's digest as reference, a lost child."""
    GET_NOT_FOUND = "get_not_found"
    """HEAD of a manifest answers, GET is 404."""
    RATE_LIMITED = "rate_limited"
    """429 with `Retry-After: registry.retry_after`."""
    SERVER_ERROR = "server_error"
    BAD_GATEWAY = "bad_gateway"
    UNAVAILABLE = "unavailable"
    """503, with `Retry-After: registry.unavailable_for` where that is set."""
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
    BLOB_UNAUTHORIZED = "blob_unauthorized"
    BLOB_FORBIDDEN = "blob_forbidden"
    BLOB_HTML = "blob_html"
    """200 and an HTML page instead of a blob or a range of it."""
    BLOB_TRUNCATED = "blob_truncated"
    """A blob is half as long as its descriptor says."""
    EMPTY_206 = "empty_206"
    """A range of a blob is answered 206 with no bytes."""
    TRUNCATED_206 = "truncated_206"
    """A blob lacks its last byte; a range beyond is answered 206 with the last byte there is."""
    NO_RANGES = "no_ranges"
    """200 and the whole blob, whatever range was asked for."""
    NO_LENGTH = "no_length"
    """Chunked, so without a Content-Length."""
    CUT_BODY = "cut_body"
    """The headers of a full answer, then the connection is closed in good order (FIN)."""
    ABORT_BODY = "abort_body"
    """The headers of a full answer, then the connection is reset (RST)."""
    ENDLESS = "endless"
    """The body goes on with spaces, chunked, until the client goes away."""
    GZIP_BOMB = "gzip_bomb"
    """`Content-Encoding: gzip`, some 80 KB that unpack to BOMB bytes."""
    HEADER_FLOOD = "header_flood"
    """FLOOD headers more than there should be."""
    GIANT_HEADER = "giant_header"
    """One header of GIANT bytes."""
    NOT_MODIFIED_LIE = "not_modified_lie"
    """304 for whatever is asked with an If-None-Match."""
    RATE_LIMIT_HEADERS = "rate_limit_headers"
    """Good answers say that they were the last: RateLimit-Limit, -Remaining: 0 and -Reset.

    RateLimit-Reset is `registry.retry_after` (draft-ietf-httpapi-ratelimit-headers-07).
    """
    REDIRECT = "redirect"
    """307 for blobs, to another host (`registry.redirect_to`) that refuses an Authorization."""
    REDIRECT_LOOP = "redirect_loop"
    """307 for blobs, to themselves."""
    STORAGE_FORBIDDEN = "storage_forbidden"
    """Blobs are redirected as by REDIRECT, to a storage that answers 403 AccessDenied."""
    STORAGE_NOT_FOUND = "storage_not_found"
    """Blobs are redirected to a storage that answers 404 NoSuchKey."""
    STORAGE_DOWN = "storage_down"
    """Blobs are redirected to a storage that answers 503."""
    EXPIRED_TOKEN = "expired_token"  # noqa: S105 - the name of a fault
    """A good Bearer token is refused, and with it every token given out so far."""
    TOKEN_DOWN = "token_down"  # noqa: S105 - the name of a fault
    """The token endpoint answers 500."""


_MANIFESTS = frozenset({Kind.MANIFEST})
_BLOBS = frozenset({Kind.BLOB})
_CONTENT = _MANIFESTS | _BLOBS
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
    Fault.BLOB_UNAUTHORIZED: _BLOBS,
    Fault.BLOB_FORBIDDEN: _BLOBS,
    Fault.BLOB_HTML: _BLOBS,
    Fault.TRUNCATED_206: _BLOBS,
    Fault.NO_RANGES: _BLOBS,
    Fault.NO_LENGTH: _CONTENT,
    Fault.CUT_BODY: _CONTENT,
    Fault.ABORT_BODY: _CONTENT,
    Fault.ENDLESS: _CONTENT,
    Fault.GZIP_BOMB: _CONTENT,
    Fault.HEADER_FLOOD: _CONTENT,
    Fault.GIANT_HEADER: _CONTENT,
    Fault.NOT_MODIFIED_LIE: _CONTENT,
    Fault.RATE_LIMIT_HEADERS: _CONTENT,
    Fault.EXPIRED_TOKEN: _CONTENT,
    Fault.REDIRECT: _BLOBS,
    Fault.REDIRECT_LOOP: _BLOBS,
    Fault.STORAGE_FORBIDDEN: _BLOBS,
    Fault.STORAGE_NOT_FOUND: _BLOBS,
    Fault.STORAGE_DOWN: _BLOBS,
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
    Fault.BLOB_UNAUTHORIZED: (401, "UNAUTHORIZED", "authentication required"),
    Fault.BLOB_FORBIDDEN: (403, "DENIED", "requested access to the resource is denied"),
}

STORAGE_FAULTS = (Fault.STORAGE_FORBIDDEN, Fault.STORAGE_NOT_FOUND, Fault.STORAGE_DOWN)


class Manners(Protocol):
    """How long faults take, and what they say of it: attributes of `LabRegistry`."""

    drip_seconds: float
    retry_after: int | str
    unavailable_for: int | str | None


class Gone(web.Response):
    """Stands for an answer whose connection is closed; `status` is what went out, 0 for nothing."""

    def __init__(self, given: int = 0) -> None:
        super().__init__()
        self.given = given


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

    def has(self, faults: Collection[Fault], method: str, target: Target) -> bool:
        """Whether one of the faults would strike this request; counts nothing."""
        return any(
            switch.fault in faults
            and switch.left != 0
            and target.kind in _SCOPES.get(switch.fault, (target.kind,))
            and method in ("GET", "HEAD")
            and switch.repository in (None, target.repository)
            and switch.reference in (None, target.reference)
            for switch in self._on
        )

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
    switches: Switchboard, method: str, target: Target, manners: Manners
) -> OciError | None:
    """The error that a fault answers this request with; None when none does."""
    found = switches.first(tuple(_REFUSALS), method, target)
    if found is not None:
        status, code, message = _REFUSALS[found]
        wait = {
            Fault.RATE_LIMITED: manners.retry_after,
            Fault.UNAVAILABLE: manners.unavailable_for,
        }.get(found)
        headers = {} if wait is None else {"Retry-After": str(wait)}
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


def reset(request: web.BaseRequest) -> Gone:
    """Close the connection instead of an answer."""
    if request.transport is not None:
        request.transport.abort()
    return Gone()


def damaged_blob(
    switches: Switchboard,
    request: web.BaseRequest,
    target: Target,
    body: bytes,
    give: Callable[[bytes], web.Response],
) -> web.Response | None:
    """A blob as the faults spoil it; None when none does. `give` answers with whole bytes."""
    method, asked = request.method, request.headers.get("Range")
    if switches.takes(Fault.BLOB_HTML, method, target):
        return html_page()
    if switches.takes(Fault.BLOB_TRUNCATED, method, target):
        return give(body[: len(body) // 2])
    if switches.takes(Fault.TRUNCATED_206, method, target):
        return _last_there_is(asked, body[:-1]) or give(body[:-1])
    if asked is None:
        return None
    if switches.takes(Fault.EMPTY_206, method, target):
        return web.Response(status=206, headers=API_VERSION)
    if switches.takes(Fault.NO_RANGES, method, target):
        headers = {**API_VERSION, "Content-Type": "application/octet-stream"}
        return web.Response(body=body, headers=headers)
    return None


def _last_there_is(asked: str | None, short: bytes) -> web.Response | None:
    """206 with what there is of the range in the short file; None where there is nothing."""
    found = byte_range(asked or "", len(short) + 1)
    if found is None or not short:
        return None
    last = min(found[1], len(short) - 1)
    first = min(found[0], last)
    headers = {**API_VERSION, "Content-Range": f"bytes {first}-{last}/{len(short)}"}
    return web.Response(status=206, body=short[first : last + 1], headers=headers)


async def spoil(
    request: web.BaseRequest,
    answer: web.StreamResponse,
    switches: Switchboard,
    target: Target,
    manners: Manners,
) -> web.StreamResponse:
    """Send the answer as the faults have it; 401s and redirects are only dripped."""
    if not isinstance(answer, web.Response) or isinstance(answer, Gone):
        return answer

    def takes(fault: Fault) -> bool:
        return switches.takes(fault, request.method, target)

    if answer.status != 401 and not 300 <= answer.status < 400:
        _more_headers(answer, takes, manners)
        if takes(Fault.NO_LENGTH):
            return await _stream(request, answer)
        if request.method == "GET":
            if takes(Fault.GZIP_BOMB):
                answer.body, answer.headers["Content-Encoding"] = gzip_bomb(), "gzip"
            if takes(Fault.CUT_BODY):
                return _cut(request, answer)
            if takes(Fault.ABORT_BODY):
                return _cut(request, answer, abort=True)
            if takes(Fault.ENDLESS):
                return await _stream(request, answer, for_ever=True)
    if takes(Fault.DRIP):
        return await drip(request, answer, manners.drip_seconds)
    return answer


def _more_headers(answer: web.Response, takes: Callable[[Fault], bool], manners: Manners) -> None:
    if answer.status < 300 and takes(Fault.RATE_LIMIT_HEADERS):
        answer.headers["RateLimit-Limit"] = "100"
        answer.headers["RateLimit-Remaining"] = "0"
        answer.headers["RateLimit-Reset"] = str(manners.retry_after)
    if takes(Fault.HEADER_FLOOD):
        answer.headers.extend({f"X-Flood-{number}": "water" for number in range(FLOOD)})
    if takes(Fault.GIANT_HEADER):
        answer.headers["X-Giant"] = "g" * GIANT


def _cut(request: web.BaseRequest, answer: web.Response, *, abort: bool = False) -> Gone:
    """The head of the answer, and the connection closed where its body should begin."""
    length = len(answer.body) if isinstance(answer.body, bytes) else 0
    lines = [f"HTTP/1.1 {answer.status} {answer.reason}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    head = "\r\n".join([*lines, f"Content-Length: {length}", "", ""])
    transport = request.transport
    if transport is not None:
        transport.write(head.encode())
        if abort:
            linger = struct.pack("ii", 1, 0)  # closing says RST instead of FIN
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
            transport.abort()
        else:
            transport.close()
    return Gone(answer.status)


async def _stream(
    request: web.BaseRequest, answer: web.Response, *, for_ever: bool = False
) -> web.StreamResponse:
    """The same answer, chunked; with `for_ever` spaces follow it until the client goes away."""
    stream = web.StreamResponse(status=answer.status, headers=answer.headers)
    await stream.prepare(request)
    if request.method != "HEAD" and isinstance(answer.body, bytes):
        await stream.write(answer.body)
    with contextlib.suppress(ConnectionResetError):
        while for_ever:
            await stream.write(b" " * 65536)
            await asyncio.sleep(0)  # a write that need not wait lets nobody else run
    return stream


@functools.cache
def gzip_bomb() -> bytes:
    """Spaces, BOMB of them, packed."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as file:
        for _ in range(BOMB >> 20):
            file.write(b" " * (1 << 20))
    return packed.getvalue()


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
