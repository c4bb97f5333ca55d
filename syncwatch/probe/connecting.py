"""Requests to one cluster's API server, and what its refusals mean.

Comes in: a path and parameters; goes out: JSON of a bounded size, or a ClusterError.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from syncwatch.errors import ClusterError
from syncwatch.probe.opening import CHECK, Opening
from syncwatch.runtime import redact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

BODY_LIMIT = 16 * 1024 * 1024
"""Bytes of an answer that are read at most: a page of 500 pods has some two."""

WORDS = 500
"""Characters that are told of what an API server said."""

NO_API = "Let the kubeconfig name the API server itself; no API server redirects."

WAITED_FOR = 5.0
"""Seconds of a Retry-After that are waited for at once."""
QUIET = 60.0
"""Seconds of it that nothing is asked any more, at most."""


class Gone(ClusterError):  # noqa: N818 - what the API calls it: 410, reason Expired
    """The list or watch cannot go on from where it was: it has to begin anew."""

    def __init__(self, name: str) -> None:
        super().__init__("server", f"Cluster {name} no longer keeps what it is asked for (410).")


class _Status(msgspec.Struct):
    message: str = ""
    reason: str = ""


class Connection:
    """A cluster's API. `kubeconfig` None: the cluster that this process runs in.

    `allowed` is waited for before each request (see `store.holding`).
    """

    def __init__(
        self,
        name: str,
        *,
        kubeconfig: Path | None,
        context: str | None,
        timeout: float,
        allowed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.name = name
        self._timeout = timeout
        self._allowed = allowed
        self._quiet_until = 0.0
        self._opening = Opening(name, kubeconfig=kubeconfig, context=context, timeout=timeout)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: dict[str, Any] | None = None,
    ) -> dict[str, Any] | None:
        """The answer; None for 404. Raises ClusterError, and Gone for a 410."""
        asked = (method, path, query or {}, body, self._timeout)
        async with self._asked(*asked) as response:
            data = await self._read(response)
        pause = _again_in(response)
        if pause is None:
            return self._answer(response, data, method)
        await asyncio.sleep(pause)
        async with self._asked(*asked) as response:
            data = await self._read(response)
        return self._answer(response, data, method)

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], within: float
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """The answer's bytes as they come, for `within` seconds at most."""
        async with self._asked("GET", path, query, None, within) as response:
            if response.status != 200:
                self._answer(response, await self._read(response), "GET")
                raise ClusterError("misconfigured", f"Cluster {self.name} has no {path}.")
            yield response.content

    async def close(self) -> None:
        """End all connections."""
        await self._opening.close()

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: dict[str, Any] | None,
        within: float,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        quiet = self._quiet_until - time.monotonic()
        if quiet > 0:
            words = f"Cluster {self.name} is left alone for as long as it told us to (429)."
            raise ClusterError("throttled", words, retry_after=quiet)
        if self._allowed is not None:
            await self._allowed()
        try:
            async with self._opening.client() as client:
                response: aiohttp.ClientResponse = await client.api.call_api(
                    path,
                    method,
                    query_params=list(query.items()),
                    header_params=dict.fromkeys(("Accept", "Content-Type"), "application/json"),
                    body=body,
                    auth_settings=["BearerToken"],
                    _preload_content=False,
                    _request_timeout=within,
                )
                async with response:
                    if response.history:
                        words = f"Cluster {self.name} sends us elsewhere ({response.status})."
                        raise ClusterError("misconfigured", words, cure=NO_API)
                    if response.status == 401:
                        self._opening.refused(client)
                    else:
                        self._opening.taken(client)
                    yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Its text may hold the URL with a token in it; the kind of error is enough.
            words = redact(str(getattr(error, "strerror", "") or ""))[:WORDS]
            told = f"{type(error).__name__} {words}".strip()
            raise ClusterError(
                "unreachable", f"Cluster {self.name} does not answer ({told})."
            ) from None
        except ValueError:
            # As of a credential with a character that no header may have; its text would show it.
            words = f"Cluster {self.name} cannot be asked with what its kubeconfig says."
            raise ClusterError("misconfigured", words, cure=CHECK) from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        data = bytearray()
        async for piece in response.content.iter_any():
            data += piece
            if len(data) > BODY_LIMIT:
                words = f"Cluster {self.name} answered with more than {BODY_LIMIT} bytes."
                raise ClusterError("server", words)
        return bytes(data)

    def _answer(
        self, response: aiohttp.ClientResponse, data: bytes, method: str
    ) -> dict[str, Any] | None:
        status = response.status
        if 200 <= status < 300:
            return self._decoded(data)
        if status == 410:
            raise Gone(self.name)
        try:
            told = msgspec.json.decode(data, type=_Status)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            told = _Status()
        if status == 404 and not (method == "POST" and told.message):
            return None
        raise self._refusal(method, status, told, response)

    def _decoded(self, data: bytes) -> dict[str, Any]:
        try:
            return msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            words = f"Cluster {self.name} answered with what is no JSON."
            raise ClusterError("server", words) from None

    def _refusal(
        self, method: str, status: int, told: _Status, response: aiohttp.ClientResponse
    ) -> ClusterError:
        words = redact(" ".join(told.message.split()))[:WORDS]
        said = f" ({words})" if words else ""
        if status == 401:
            message = f"Cluster {self.name} does not accept the credential{said}."
            return ClusterError("unauthorized", message)
        # A pod may also be refused, for what it is: by a quota, Pod Security, a webhook.
        if status == 403 and (method != "POST" or ("cannot " in words and "User " in words)):
            message = f"Cluster {self.name} does not allow it{said}."
            return ClusterError("forbidden", message)
        if status == 404:
            message = f"Cluster {self.name} has no place for probes{said}."
            cure = "Create the namespace, or set probe.namespace to one that is there."
            return ClusterError("misconfigured", message, cure=cure)
        if status == 429:
            message = f"Cluster {self.name} has too many requests to answer{said}."
            after = _retry_after(response)
            self._quiet_until = time.monotonic() + min(after or 0.0, QUIET)
            return ClusterError("throttled", message, retry_after=after)
        if status < 500 or "webhook" in words:
            message = f"Cluster {self.name} refused it{said}."
            return ClusterError("refused", message)
        return ClusterError("server", f"Cluster {self.name} answered {status}{said}.")


def _again_in(response: aiohttp.ClientResponse) -> float | None:
    """Seconds after which it is asked once more; None where that is of no use."""
    if response.status == 401:
        # The token may have expired, or the file have been changed meanwhile.
        return 0.0
    after = _retry_after(response)
    return after if response.status == 429 and after is not None and after < WAITED_FOR else None


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    try:
        return float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None
