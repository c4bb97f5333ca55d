"""What a check down to the bytes costs: bytes, requests and time, against copying the image.

A 20-layer image and an index of three platforms lie in a real docker-registry. Each contender asks
through a relay that counts what goes by. First: nothing is known. Later: the blobs were proven
within a day. The peers are `skopeo copy --all` to a directory, and our own full check, which reads
and hashes everything.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from measuring import TESTS, Figure, median, program, table

from syncwatch.lab import images
from syncwatch.model import Level
from syncwatch.outbound import Outbound
from syncwatch.runtime import Clock
from syncwatch.verify.look import Depth
from syncwatch.verify.registry import RegistryClient
from syncwatch.verify.walk import Vouched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

    from syncwatch.lab.images import Image

sys.path.insert(0, str(TESTS))
from servers.docker_registry import docker_registry

ROUNDS = 5
LAYER = 2 * 1024 * 1024
REPOSITORY, TAG = "apps/web", "1.0"
_REQUEST = re.compile(rb"(?:GET|HEAD) /v2/[^ ]* HTTP/1\.1\r\n")


@dataclass
class Relay:
    """Hands bytes on to a registry, and counts them and the requests among them."""

    target: tuple[str, int]
    port: int = 0
    requests: int = 0
    received: int = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def forget(self) -> None:
        self.requests = self.received = 0

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection(*self.target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(reader, out))
                group.create_task(self._answer(there, writer))
        except* (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            out.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            self.requests += len(_REQUEST.findall(piece))
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            self.received += len(piece)
            writer.write(piece)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def relaying(url: str) -> AsyncIterator[Relay]:
    host, _, port = url.rpartition("/")[2].partition(":")
    relay = Relay((host, int(port)))
    server = await asyncio.start_server(relay.relay, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()


@dataclass
class Cost:
    """What one way took, a value a round."""

    requests: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    async def take(self, relay: Relay, way: Callable[[], Awaitable[None]]) -> None:
        relay.forget()
        began = time.perf_counter()
        await way()
        self.seconds.append(time.perf_counter() - began)
        self.requests.append(relay.requests)
        self.received.append(relay.received)

    def __str__(self) -> str:
        size = median(self.received)
        shown = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
        return f"{median(self.requests):.0f} requests, {shown}, {median(self.seconds) * 1e3:.0f} ms"


def subjects() -> dict[str, Image]:
    """What is looked at: layers of 2 MiB that nothing compresses."""
    twenty = images.image("twenty", layers=20, size=LAYER)
    three = images.index(
        *(images.image("three", layers=5, size=LAYER, architecture=one) for one in ARCHITECTURES)
    )
    return {"a 20-layer image": twenty, "an index of three platforms, 5 layers each": three}


ARCHITECTURES = ("amd64", "arm64", "s390x")


async def costs(relay: Relay, digest: str, folder: Path) -> dict[str, Cost]:
    """All ways in turn, so often."""
    told = {name: Cost() for name in ("first", "later", "full", "skopeo")}
    for number in range(ROUNDS):
        outbound = Outbound(timeout=10.0, concurrency=8)
        client = RegistryClient(
            url=f"http://{relay.host}",
            outbound=outbound,
            credentials=lambda: None,
            clock=Clock().now,
        )

        async def look(depth: Depth, client: RegistryClient = client) -> None:
            seen = await client.look(REPOSITORY, TAG, {digest}, depth=depth)
            if not seen.proves(digest, Level.READABLE):
                raise RuntimeError(f"{digest} was seen as {seen}")

        async def all_known(digests: Collection[str]) -> Vouched:
            return Vouched(proven=frozenset(digests))

        later = Depth(Level.READABLE, known=all_known, conditional=True)
        await told["first"].take(relay, partial(look, Depth(Level.READABLE)))
        await told["later"].take(relay, partial(look, later))
        await told["full"].take(relay, partial(look, Depth(Level.READABLE, full=True)))
        await outbound.close()
        place = folder / f"copy-{digest[-8:]}-{number}"
        await told["skopeo"].take(relay, partial(copy, relay.host, place))
    return told


async def copy(host: str, place: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        "skopeo", "copy", "--insecure-policy", "--all", "--quiet", "--src-tls-verify=false",
        f"docker://{host}/{REPOSITORY}:{TAG}", f"dir:{place}",
    )  # fmt: skip
    if await process.wait():
        raise RuntimeError("skopeo copy failed")


async def compare(folder: Path) -> list[Figure]:
    figures = []
    async with docker_registry(folder) as registry, relaying(registry.url) as relay:
        for what, image in subjects().items():
            digest = await registry.push(REPOSITORY, TAG, image)
            told = await costs(relay, digest, folder)
            less = median(told["skopeo"].received) / median(told["first"].received)
            figures += [
                Figure(f"`skopeo copy --all` of {what}", str(told["skopeo"])),
                Figure("a full check: everything read and hashed", str(told["full"])),
                Figure(
                    "a first look, every byte's end read", f"{told['first']}; 1/{less:.0f} of it"
                ),
                Figure("a later look, within a day", str(told["later"])),
            ]
    return figures


def measure(folder: Path) -> list[Figure]:
    for needed in ("docker-registry", "skopeo"):
        if program(needed) is None:
            return [Figure("Looks down to the bytes", f"not measured: {needed} is not installed")]
    return uvloop.run(compare(folder))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="syncwatch-benchmarks-") as name:
        print(table(measure(Path(name))))


if __name__ == "__main__":
    main()
