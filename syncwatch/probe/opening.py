"""Who we are at one cluster's API: a client by its kubeconfig, or by the pod's service account.

The library is imported with the first request: it costs half a second and forty megabytes, which
nobody pays who probes no cluster. It reads kubeconfigs and keeps tokens; its models are not used.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from syncwatch.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


CHECK = "Check it with: kubectl --kubeconfig FILE get pods"
"""What to do about a kubeconfig that cannot be used."""

IN_VAIN, REFUSED_FOR = 2, 10.0
"""After so many refusals of what was just read it is not read for so many seconds."""


class Client:
    """The library's client, as one reading of the configuration made it."""

    def __init__(self, api: Any, read_of: float | None) -> None:
        self.api = api
        self.read_of = read_of
        self.users = 0
        self.was_taken = False


class Opening:
    """Opens clients of one cluster. `kubeconfig` None: the cluster that this process runs in.

    A client lasts until the kubeconfig is changed or its credential refused; requests that are
    under way end before its connections do. `timeout` (seconds) is for reading the kubeconfig,
    which may run a program.
    """

    def __init__(
        self, name: str, *, kubeconfig: Path | None, context: str | None, timeout: float
    ) -> None:
        self._name = name
        self._kubeconfig = kubeconfig
        self._context = context
        self._timeout = timeout
        self._client: Client | None = None
        self._reading: asyncio.Task[Any] | None = None
        self._reading_of: float | None = None
        self._in_vain = 0
        self._not_before = 0.0
        self._refused_of: float | None = None
        self._gate = asyncio.Lock()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """The client, for one request. Raises ClusterError (misconfigured)."""
        client = await self._open()
        client.users += 1
        try:
            yield client
        finally:
            client.users -= 1
            if client is not self._client and not client.users:
                await client.api.close()

    def refused(self, client: Client) -> None:
        """Its credential was not taken: the next request reads the configuration anew.

        One that was never taken and is refused again is not read all the time: that may run a
        program.
        """
        if self._client is not client:
            return
        self._client = None
        self._in_vain = 0 if client.was_taken else self._in_vain + 1
        if self._in_vain >= IN_VAIN:
            self._not_before, self._refused_of = time.monotonic() + REFUSED_FOR, client.read_of

    def taken(self, client: Client) -> None:
        """Its credential is good."""
        client.was_taken, self._in_vain = True, 0

    async def close(self) -> None:
        """End all connections."""
        if self._reading is not None:
            self._reading.cancel()
        client, self._client = self._client, None
        if client is not None:
            await client.api.close()

    async def _open(self) -> Client:
        async with self._gate:
            changed = await asyncio.to_thread(self._changed_at)
            if self._client is not None and changed != self._client.read_of:
                before, self._client = self._client, None
                if not before.users:
                    await before.api.close()
            if self._client is None:
                self._mind_refusals(changed)
                self._client = Client(await self._read(changed), changed)
            return self._client

    def _mind_refusals(self, changed: float | None) -> None:
        if changed == self._refused_of and time.monotonic() < self._not_before:
            words = f"Cluster {self._name} does not accept the credential, as it just said."
            raise ClusterError("unauthorized", words)

    def _changed_at(self) -> float | None:
        try:
            return self._kubeconfig.stat().st_mtime if self._kubeconfig else None
        except OSError:
            return None

    async def _read(self, changed: float | None) -> Any:
        """The library's client. A program that hangs is waited for by whoever comes next, so that
        there is never more than one of it."""
        if self._reading is None or self._reading_of != changed:
            self._reading = asyncio.create_task(self._connect(), name=f"read {self._name}")
            self._reading_of = changed
        reading = self._reading
        # Its error is told to whoever waits; nobody may.
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        ended, _ = await asyncio.wait([reading], timeout=self._timeout)
        if not ended:
            words = f"Cluster {self._name}: {self._kubeconfig} was not read in {self._timeout:g} s"
            cure = "The program that it names for a credential may hang: run it by hand."
            raise ClusterError("misconfigured", f"{words}.", cure=cure)
        self._reading = None
        return reading.result()

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
            # A file ends with a newline, mostly; a header may not.
            settings.api_key = {name: key.strip() for name, key in settings.api_key.items()}
            return library.client.ApiClient(configuration=settings)
        except Exception as error:  # noqa: BLE001 - whatever a kubeconfig may hold
            raise self._misconfigured(error) from None

    def _misconfigured(self, error: Exception) -> ClusterError:
        """The text of the error stays out: a kubeconfig holds credentials."""
        if self._kubeconfig is None:
            words = f"Cluster {self._name} has no kubeconfig, and this is no pod in a cluster"
            if os.environ.get("KUBERNETES_SERVICE_HOST"):
                words = f"Cluster {self._name}: the pod's service account cannot be used"
            cure = "Set kubeconfig, or let the pod have its service account's token."
            return ClusterError("misconfigured", f"{words}.", cure=cure)
        context = f", context {self._context}" if self._context else ""
        words = f"Cluster {self._name}: {self._kubeconfig}{context} cannot be used"
        return ClusterError("misconfigured", f"{words} ({type(error).__name__}).", cure=CHECK)
