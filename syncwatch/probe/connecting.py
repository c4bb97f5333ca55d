"""Requests to one cluster's API server: who we are there, and what its refusals mean.

Comes in: a path and parameters; goes out: JSON of a bounded size, or a ClusterError. The library is
imported with the first request: it costs half a second and forty megabytes, which nobody pays who
probes no cluster. It reads kubeconfigs and keeps tokens; its models are not used.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from syncwatch.errors import ClusterError
from syncwatch.runtime import redact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

BODY_LIMIT = 16 * 1024 * 1024
"""Bytes of an answer that are read at most: a page of 500 pods has some two."""

WORDS = 500
"""Characters that are told of what an API server said."""

WAITED_FOR = 5.0
"""Seconds of a Retry-After that are waited for at once."""


class Gone(Exception):  # noqa: N818 - what the API calls it: 410, reason Expired
    """The list or watch cannot go on from where it was: it has to begin anew."""


class _Status(msgspec.Struct):
    message: str = ""
    reason: str = ""


class Connection:
    """A cluster's API. `kubeconfig` None: the cluster that this process runs in."""

    def __init__(
        self, name: str, *, kubeconfig: Path | None, context: str | None, timeout: float
    ) -> None:
        self.name = name
        self._kubeconfig = kubeconfig
        self._context = context
        self._timeout = timeout
        self._client: Any = None
        self._read_of: float | None = None
        self._opening = asyncio.Lock()

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
        if response.status == 401:
            # The token may have expired, or the file have been changed meanwhile.
            await self.close()
        elif response.status == 429 and (_retry_after(response) or WAITED_FOR) < WAITED_FOR:
            await asyncio.sleep(_retry_after(response) or 0)
        else:
            return self._answer(response, data, method)
        async with self._asked(*asked) as response:
            data = await self._read(response)
        return self._answer(response, data, method)

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], within: float
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """The answer's bytes as they come, for `within` seconds at most."""
        async with self._asked("GET", path, query, None, within) as response:
            if response.status == 401:
                await self.close()
            if response.status != 200:
                self._answer(response, await self._read(response), "GET")
                raise ClusterError("misconfigured", f"Cluster {self.name} has no {path}.")
            yield response.content

    async def close(self) -> None:
        """End all connections; the next request reads the configuration anew."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: dict[str, Any] | None,
        within: float,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        client = await self._open()
        try:
            response: aiohttp.ClientResponse = await client.call_api(
                path,
                method,
                query_params=list(query.items()),
                header_params={"Accept": "application/json", "Content-Type": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=within,
            )
            async with response:
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Its text may hold the URL with a token in it; the kind of error is enough.
            words = redact(str(getattr(error, "strerror", "") or ""))[:WORDS]
            told = f"{type(error).__name__} {words}".strip()
            raise ClusterError(
                "unreachable", f"Cluster {self.name} does not answer ({told})."
            ) from None

    async def _open(self) -> Any:
        """The client, made anew where the kubeconfig was changed."""
        async with self._opening:
            changed = await asyncio.to_thread(self._changed_at)
            if self._client is not None and changed != self._read_of:
                await self.close()
            if self._client is None:
                self._client, self._read_of = await self._connect(), changed
            return self._client

    def _changed_at(self) -> float | None:
        try:
            return self._kubeconfig.stat().st_mtime if self._kubeconfig else None
        except OSError:
            return None

    async def _connect(self) -> Any:
        # In a thread, so that the loop goes on meanwhile.
        library = await asyncio.to_thread(importlib.import_module, "kubernetes_asyncio")
        settings = library.client.Configuration()
        # Authorities of many clusters are older than the strict rules of Python 3.13.
        settings.disable_strict_ssl_verification = True
        try:
            if self._kubeconfig is not None:
                await library.config.load_kube_config(
                    config_file=str(self._kubeconfig),
                    context=self._context,
                    client_configuration=settings,
                )
            else:
                library.config.load_incluster_config(client_configuration=settings)
            return library.client.ApiClient(configuration=settings)
        except Exception as error:  # noqa: BLE001 - whatever a kubeconfig may hold
            raise self._misconfigured(error) from None

    def _misconfigured(self, error: Exception) -> ClusterError:
        """The text of the error stays out: a kubeconfig holds credentials."""
        if self._kubeconfig is None:
            words = f"Cluster {self.name} has no kubeconfig, and this is no pod in a cluster"
            if os.environ.get("KUBERNETES_SERVICE_HOST"):
                words = f"Cluster {self.name}: the pod's service account cannot be used"
            cure = "Set kubeconfig, or let the pod have its service account's token."
            return ClusterError("misconfigured", f"{words}.", cure=cure)
        context = f", context {self._context}" if self._context else ""
        words = f"Cluster {self.name}: {self._kubeconfig}{context} cannot be used"
        cure = "Check it with: kubectl --kubeconfig FILE get pods"
        return ClusterError("misconfigured", f"{words} ({type(error).__name__}).", cure=cure)

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
            raise Gone
        try:
            told = msgspec.json.decode(data, type=_Status)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            told = _Status()
        if status == 404 and not (method == "POST" and told.message):
            return None
        raise self._refusal(status, told, response)

    def _decoded(self, data: bytes) -> dict[str, Any]:
        try:
            return msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            words = f"Cluster {self.name} answered with what is no JSON."
            raise ClusterError("server", words) from None

    def _refusal(
        self, status: int, told: _Status, response: aiohttp.ClientResponse
    ) -> ClusterError:
        words = redact(" ".join(told.message.split()))[:WORDS]
        said = f" ({words})" if words else ""
        if status == 401:
            message = f"Cluster {self.name} does not accept the credential{said}."
            return ClusterError("unauthorized", message)
        if status == 403 and "cannot " in words and "User " in words:
            message = f"Cluster {self.name} does not allow it{said}."
            return ClusterError("forbidden", message)
        if status == 404:
            message = f"Cluster {self.name} has no place for probes{said}."
            cure = "Create the namespace, or set probe.namespace to one that is there."
            return ClusterError("misconfigured", message, cure=cure)
        if status == 429:
            message = f"Cluster {self.name} has too many requests to answer{said}."
            return ClusterError("throttled", message, retry_after=_retry_after(response))
        if status < 500 or "webhook" in words:
            message = f"Cluster {self.name} refused it{said}."
            return ClusterError("refused", message)
        return ClusterError("server", f"Cluster {self.name} answered {status}{said}.")


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    try:
        return float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None
