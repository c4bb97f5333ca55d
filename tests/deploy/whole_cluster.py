"""The tests' Kubernetes with all that a Deployment needs: controllers, addresses, an image.

What kube-proxy and DNS do elsewhere is done here by forwarding: a Service's address is put on the
node's bridge, and whoever connects to it gets an address of its Endpoints.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from servers.kubernetes.cluster import kubernetes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from servers.kubernetes.cluster import Kubernetes

PREPARED = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "syncwatch" / "deploy"
"""What `tests/deploy/prepare` makes."""
IMAGE, CONTROLLERS = PREPARED / "syncwatch.oci", PREPARED / "kube-controller-manager"

PODS, GATEWAY = "10.197.0.0/16", "10.197.0.1"
"""A network of its own, for other tests have theirs meanwhile; and the node, as pods reach it."""
API_SERVER = "10.198.0.1"
"""The first address of Services, which is that of the API server."""


def prepared() -> None:
    """Skip where there is no image, no controllers or no kubectl: nothing in CI makes them."""
    if not IMAGE.exists() or not CONTROLLERS.exists():
        pytest.skip("no image of syncwatch: tests/deploy/prepare builds one (root on Debian)")
    for program in ("kubectl", "skopeo"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


@dataclass
class Whole:
    """A cluster where Deployments run."""

    kubernetes: Kubernetes
    folder: Path
    _listening: list[asyncio.Server] = field(default_factory=list)

    def kubectl(self, *command: str) -> str:
        """What kubectl says; an error fails the test with its words."""
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.kubeconfig), *command],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(self.folder)},
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr.decode()}{done.stdout.decode()}"
        return done.stdout.decode()

    def get(self, *what: str) -> Any:
        return json.loads(self.kubectl("get", *what, "-o", "json"))

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    def run(self, namespace: str, pod: str, command: str) -> tuple[bool, str]:
        """Whether a command in a pod's container, of the name of its namespace, ended with 0; what
        it said.

        The kubelet itself is asked, for the API server has no name service to find it by. It parts
        the command at each space.
        """
        query = urllib.parse.urlencode({"cmd": command})
        status, said = self._of_kubelet("POST", f"/run/{namespace}/{pod}/{namespace}?{query}")
        return status == 200, said

    def log(self, namespace: str, pod: str) -> str:
        return self._of_kubelet("GET", f"/containerLogs/{namespace}/{pod}/{namespace}")[1]

    def _of_kubelet(self, method: str, path: str) -> tuple[int, str]:
        _, node = self.kubernetes.request("GET", "/api/v1/nodes/node-1")
        port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
        own = dataclasses.replace(self.kubernetes, url=f"https://127.0.0.1:{port}")
        status, said = own.request(method, path)
        return status, said if isinstance(said, str) else json.dumps(said)

    async def forward(self, host: str, port: int, target: Callable[[], tuple[str, int]]) -> None:
        """Whoever connects to `host` (an address of the node from now on) gets to `target`."""
        if host != GATEWAY:
            _ip("addr", "replace", f"{host}/32", "dev", self.kubernetes.node.bridge)

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there = await asyncio.open_connection(*target())
            except (OSError, LookupError):
                writer.transport.abort()
                return
            # Whoever is cut off at the end is no news.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(_pass_on(reader, there[1]), _pass_on(there[0], writer))

        self._listening.append(await asyncio.start_server(take, host, port))

    async def from_pods(self, url: str) -> None:
        """A server on loopback can be reached by pods, at GATEWAY and its own port."""
        port = int(url.rpartition(":")[2])
        await self.forward(GATEWAY, port, lambda: ("127.0.0.1", port))

    async def expose(self, namespace: str, name: str) -> str:
        """The address of a Service, which leads to whichever pod is ready; `http://HOST:PORT`."""
        service = self.get("service", name, "-n", namespace)
        host, port = service["spec"]["clusterIP"], service["spec"]["ports"][0]["port"]

        def ready() -> tuple[str, int]:
            path = f"/api/v1/namespaces/{namespace}/endpoints/{name}"
            _, endpoints = self.kubernetes.request("GET", path)
            subset = endpoints.get("subsets", [{}])[0]
            if not subset.get("addresses"):
                raise LookupError(f"nobody is ready behind {name}")
            return subset["addresses"][0]["ip"], subset["ports"][0]["port"]

        await self.forward(host, port, ready)
        return f"http://{host}:{port}"

    async def close(self) -> None:
        for one in self._listening:
            one.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while body := await reader.read(65536):
            writer.write(body)
            await writer.drain()
    writer.close()


def _ip(*command: str) -> None:
    subprocess.run(["ip", *command], check=True, capture_output=True, timeout=10)


@contextlib.contextmanager
def with_controllers() -> Iterator[Kubernetes]:
    """A cluster with its controllers, whose pods have a way to Services."""
    prepared()
    with kubernetes() as one:
        _ip("link", "add", one.node.bridge, "type", "bridge")
        _ip("addr", "add", f"{GATEWAY}/16", "dev", one.node.bridge)
        _ip("link", "set", one.node.bridge, "up")
        network = one.folder / "cni/10-tests.conflist"
        settings = json.loads(network.read_text())
        settings["plugins"][0]["ipam"] |= {
            "ranges": [[{"subnet": PODS}]],
            "routes": [{"dst": "10.198.0.0/16"}],
        }
        network.write_text(json.dumps(settings))
        one.processes.start(
            "controllers",
            str(CONTROLLERS),
            f"--kubeconfig={one.kubeconfig(one.folder / 'controllers.kubeconfig')}",
            f"--root-ca-file={one.folder}/apiserver/apiserver.crt",
            f"--service-account-private-key-file={one.folder}/accounts.key",
            "--leader-elect=false",
            "--port=0",
            "--secure-port=0",
        )
        try:
            yield one
        finally:
            one.processes.stop("controllers")


@contextlib.asynccontextmanager
async def whole(one: Kubernetes, folder: Path) -> AsyncIterator[Whole]:
    """Its API server, where pods look for it."""
    found = Whole(one, folder)
    one.kubeconfig(found.kubeconfig)
    port = int(one.url.rpartition(":")[2])
    await found.forward(API_SERVER, 443, lambda: ("127.0.0.1", port))
    try:
        yield found
    finally:
        await found.close()
