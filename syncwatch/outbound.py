"""Every outgoing HTTP call: in come method, URL and headers, out goes a bounded `Answer`.

Whatever goes wrong on the way leaves as an `OutboundError` in words of ours. They name the peer as
scheme://host:port only: a path's query may hold a token, a URL may hold a password, and aiohttp's
own texts hold both. Redirects are answers here, since only the caller knows which host may see its
credentials.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
import zlib
from typing import TYPE_CHECKING

import aiohttp
import msgspec
from yarl import URL

from syncwatch import __version__
from syncwatch.errors import OutboundError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from multidict import CIMultiDictProxy

USER_AGENT = f"syncwatch/{__version__}"
BODY_LIMIT = 64 * 1024
"""Bytes of a body that is a token, an error or a page of JSON (design, section 6, Bounds)."""

_KINDS = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    412: "policy_blocked",
    429: "rate_limited",
}
_OK = 200
_NO_SUCH_PART = 416
_CUT_SHORT = frozenset({*range(200, 300), _NO_SUCH_PART})
"""Statuses whose body need not be read to its end, where the caller knows what is enough."""

_URL = re.compile(
    r"https?://(?:[^]\[/?#@]*@)?(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?:[/?#][!-~]*)?",
    re.IGNORECASE | re.ASCII,
)

_TROUBLE = (OSError, ValueError, zlib.error, aiohttp.ClientError, OutboundError)


def kind_of(status: int) -> str | None:
    """The bounded word for an HTTP status, None for 2xx."""
    if 200 <= status < 300:
        return None
    if status >= 500:
        return "server_error"
    return _KINDS.get(status, "unreadable_answer")


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a peer answered.

    `body` is decoded (gzip, deflate) and never longer than the limit asked for; `seconds` runs from
    asking to the last byte read. `whole` is False where the body went on after `enough` of it,
    `cut` is True where it ended in good order before the length that its headers gave.
    """

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    seconds: float
    whole: bool = True
    cut: bool = False


class Outbound:
    """All requests to one peer (a Harbor, a destination): one session, one connection pool.

    At most `concurrency` requests are under way at once. Who waits for a turn has not begun to be
    timed: `timeout` (seconds) runs from the connection to the last byte, so that neither a busy
    pool looks like a dead peer nor a dripping body lives for ever. `ca_file` adds its certificates
    to the system's. `observe` is told the status or "error", and the seconds, once a request.
    `allowed` is waited for at the last moment before each, when its connection stands.
    """

    def __init__(
        self,
        *,
        timeout: float,
        concurrency: int = 8,
        ca_file: Path | None = None,
        insecure_skip_verify: bool = False,
        observe: Callable[[str, float], None] = lambda _code, _seconds: None,
        user_agent: str = USER_AGENT,
        allowed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._timeout = timeout
        self._concurrency = concurrency
        self._ca_file = ca_file
        self._observe = observe
        self._user_agent = user_agent
        self._allowed = allowed
        self._turns = asyncio.Semaphore(concurrency)
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        # aiohttp's own shared context knows the system's authorities: True asks for it.
        self._tls: ssl.SSLContext | bool = not insecure_skip_verify

    async def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        body_limit: int = BODY_LIMIT,
        enough: int | None = None,
    ) -> Answer:
        """One request, one answer, whatever its status; `url` is percent-encoded already.

        With `enough`, a good answer (2xx) is read until so many bytes of its body have come; one
        that does not announce its length is read up to `body_limit`.
        Raises OutboundError with kind `unreachable`, `tls_error` or `unreadable_answer`.
        """
        target = _target(url)
        async with self._turns:
            began = time.perf_counter()
            try:
                session = self._session or await self._open()
                sending = session.request(
                    method, target, headers=headers, json=json, allow_redirects=False, ssl=self._tls
                )
                async with asyncio.timeout(self._timeout):
                    response = await sending
                    good = enough if response.status in _CUT_SHORT else None
                    try:
                        body, cut = await _read(response, body_limit, good, target)
                        whole = good is None or cut or response.content.at_eof()
                    finally:
                        response.release()  # which closes the connection where bytes are left
            except _TROUBLE as error:
                # No cause is chained: the words of a library may hold the whole URL.
                raise self._failed(error, target, began) from None
            seconds = time.perf_counter() - began
        self._observe(str(response.status), seconds)
        return Answer(response.status, response.headers, body, seconds, whole, cut)

    async def pour(
        self, url: str, into: Callable[[bytes], Awaitable[None]], headers: Mapping[str, str]
    ) -> Answer:
        """A GET whose good body (200) goes `into` somebody piece by piece, as slowly as that one
        takes it; `whole` tells whether it came to its end. The timeout is that of each piece.

        Raises OutboundError as `ask` does, and what `into` raises.
        """
        target = _target(url)
        async with self._turns:
            began = time.perf_counter()
            try:
                session = self._session or await self._open()
                async with asyncio.timeout(self._timeout):
                    response = await session.get(
                        target, headers=headers, allow_redirects=False, ssl=self._tls
                    )
                try:
                    if response.status == _OK:
                        body, whole = b"", await self._poured(response, into, target)
                    else:
                        async with asyncio.timeout(self._timeout):
                            body, whole = (await _read(response, BODY_LIMIT, None, target))[0], True
                finally:
                    response.release()
            except _TROUBLE as error:
                raise self._failed(error, target, began) from None
            seconds = time.perf_counter() - began
        self._observe(str(response.status), seconds)
        return Answer(response.status, response.headers, body, seconds, whole, not whole)

    async def _poured(
        self,
        response: aiohttp.ClientResponse,
        into: Callable[[bytes], Awaitable[None]],
        target: URL,
    ) -> bool:
        if _decoder(response.headers.get("Content-Encoding", ""), target) is not None:
            raise _unreadable(target, "the body is in a coding that was not asked for")
        try:
            while True:
                async with asyncio.timeout(self._timeout):
                    piece = await response.content.readany()
                if not piece:
                    return True
                await into(piece)
        except aiohttp.ClientPayloadError as error:
            if _was_reset(error):
                raise
            return False

    def _failed(self, error: Exception, target: URL, began: float) -> OutboundError:
        self._observe("error", time.perf_counter() - began)
        return error if isinstance(error, OutboundError) else self._explained(error, target)

    async def close(self) -> None:
        """Close all connections; the next request would open new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _open(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None:
                if self._ca_file is not None and self._tls is True:
                    # Loading authorities takes about 20 ms, which the loop should not lose.
                    self._tls = await asyncio.to_thread(_trusting, self._ca_file)
                self._session = self._new_session()
            return self._session

    def _new_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # whoever asks has waited for a turn, which are as many
            # Named, because aiohttp takes aiodns by itself once it is importable, which leaks file
            # descriptors (aiodns #175, #191).
            resolver=aiohttp.ThreadedResolver(),
        )
        return aiohttp.ClientSession(
            connector=connector,
            # Harbor sets a session cookie with each answer, and prefers it to what we send.
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),
            auto_decompress=False,
            trace_configs=[_waiting_for(self._allowed)] if self._allowed else None,
            headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity"},
        )

    def _explained(self, error: Exception, target: URL) -> OutboundError:
        kind, words = _diagnosis(error, self._timeout)
        return OutboundError(kind, f"{_origin(target)}: {words}")


def _waiting_for(allowed: Callable[[], Awaitable[None]]) -> aiohttp.TraceConfig:
    async def wait(*_told: object) -> None:
        await allowed()

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(wait)
    tracing.on_connection_reuseconn.append(wait)
    return tracing


def _target(url: str) -> URL:
    # A space or a line break would end up in the request line, for the URL is sent as it is.
    if _URL.fullmatch(url) is None:
        raise OutboundError("unreadable_answer", "a URL that is not one cannot be asked")
    try:
        return URL(url, encoded=True)
    except ValueError:
        raise OutboundError("unreadable_answer", "a URL that is not one cannot be asked") from None


def _origin(target: URL) -> str:
    return f"{target.scheme}://{target.host_subcomponent}:{target.port}"


def _trusting(ca_file: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Private authorities made by hand often lack a key identifier; Python 3.13 began to mind.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:
        words = "holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise OutboundError("tls_error", f"the CA file {ca_file} cannot be used: {words}") from None
    return context


async def _read(
    response: aiohttp.ClientResponse, limit: int, enough: int | None, target: URL
) -> tuple[bytes, bool]:
    """The decoded body, and whether it was cut short in good order (told only with `enough`).

    Raises OutboundError where it, or what it unpacks to, exceeds `limit`.
    """
    if response.method == "HEAD" or (enough is not None and response.status == _NO_SUCH_PART):
        # docker-registry 2.8.2 announces the blob's length for its few words about a 416.
        return b"", False
    decoder = _decoder(response.headers.get("Content-Encoding", ""), target)
    announced = decoder is None and response.content_length is not None
    stop = None if enough is None else enough if announced else limit + 1
    chunks = []
    received = size = 0
    try:
        async for chunk in response.content.iter_any():
            received += len(chunk)
            if decoder is not None:
                chunk = decoder.decompress(chunk, limit - size + 1)
            size += len(chunk)
            if max(received, size) > limit and stop is None:
                raise _unreadable(target, f"the body is longer than {limit} bytes")
            chunks.append(chunk)
            if stop is not None and max(received, size) >= stop:
                return b"".join(chunks), False
    except aiohttp.ClientPayloadError as error:
        if stop is None or _was_reset(error):
            raise
        return b"".join(chunks), True
    if decoder is not None and received and not decoder.eof:
        raise _unreadable(target, "the compressed body ends too early")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks), False


def _was_reset(error: aiohttp.ClientPayloadError) -> bool:
    """Whether the network ended the body, and not the peer in good order.

    A registry whose file is shorter than its records does the latter; only aiohttp's text tells.
    """
    return "ConnectionResetError" in str(error)


def _decoder(encoding: str, target: URL) -> zlib._Decompress | None:
    """What undoes a coding that we asked the peer not to use (`Accept-Encoding: identity`)."""
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return None
    if encoding in {"gzip", "x-gzip", "deflate"}:
        return zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: tell gzip and zlib by their header
    raise _unreadable(target, "the body is in a coding that was not asked for")


def _unreadable(target: URL, words: str) -> OutboundError:
    return OutboundError("unreadable_answer", f"{_origin(target)}: {words}")


def _diagnosis(error: Exception, timeout: float) -> tuple[str, str]:
    """The kind of an error, and its cause in words that cannot hold a secret."""
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientOSError):
        return "unreachable", f"no complete answer within {timeout:g} s"
    trouble = _tls_trouble(error)
    if trouble is not None:
        return "tls_error", trouble
    if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror):
        return "unreachable", "the name is not known to DNS, or DNS does not answer"
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL | zlib.error):
        return "unreadable_answer", "the answer is not HTTP that can be understood"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "unreachable", "the connection was lost in the middle of the body"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "unreachable", "the connection was closed before an answer came"
    if isinstance(error, OSError):
        return "unreachable", _system_words(error)
    if isinstance(error, aiohttp.ClientConnectionError):
        return "unreachable", "the connection was lost"
    return "unreadable_answer", "the answer is not HTTP that can be understood"


def _tls_trouble(error: BaseException | None) -> str | None:
    while error is not None:
        # aiohttp's own subclasses of SSLError lack the attributes of what they wrap.
        if not isinstance(error, aiohttp.ClientConnectorError):
            if isinstance(error, ssl.SSLCertVerificationError):
                return f"the certificate is not accepted: {error.verify_message.rstrip('.')}"
            if isinstance(error, ssl.SSLError):
                return _handshake_words(error.reason or "")
        error = error.__cause__
    return None


def _handshake_words(reason: str) -> str:
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
        return "the port does not speak TLS"
    words = reason.replace("_", " ").lower()
    return f"the TLS handshake failed: {words}" if words else "the TLS handshake failed"


def _system_words(error: OSError) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "the connection was reset"
    return f"no connection: {(error.strerror or 'no reason given').lower()}"
