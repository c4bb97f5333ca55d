"""HEAD each tag of a full registry once: a C client's ceiling, our requests, aiohttp's own.

Three clients at the same docker-registry, and at an nginx that answers the same to everything,
where the client is what limits: hb.c, which does nothing but ask and compare; `Outbound.ask`, as
the daemon sends all it sends; and a loop over a bare aiohttp session, tuned as one would by its
documentation. Each compares status and Docker-Content-Digest of every answer. Rounds are
interleaved, figures are medians, each ratio is taken within a round.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import uvloop
from checks import TAGS, fill
from measuring import HERE, TESTS, Figure, median, program, ratio, table
from yarl import URL

from syncwatch.outbound import Outbound
from syncwatch.verify.manifest import ACCEPT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

sys.path.insert(0, str(TESTS))
from servers import free_port
from servers.docker_registry import docker_registry

ROUNDS = 5
REPOSITORIES = 300
WIDTHS = (8, 32)
"""Requests under way at once: what a destination gets by default, and where throughput is flat."""

DIGEST_HEADER = "Docker-Content-Digest"
HEADERS = {"Accept": ACCEPT}
FIXED = "sha256:" + "5" * 64
"""What nginx answers."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where to ask, for which paths, and the digest that each has to answer; what limits there."""

    name: str
    port: int
    wanted: Sequence[tuple[str, str]]
    aim: str

    @property
    def requests(self) -> Sequence[tuple[str, str]]:
        """(URL, digest) of each."""
        return [(f"http://127.0.0.1:{self.port}{path}", digest) for path, digest in self.wanted]


@dataclass
class Client:
    """One way to ask all of it; each round's rate in requests a second, CPU in µs a request."""

    name: str
    ask_all: Callable[[], Awaitable[tuple[float, float]]]
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    async def play(self, requests: int) -> None:
        """One round; `ask_all` gives seconds, and seconds of CPU."""
        seconds, cpu = await self.ask_all()
        self.rates.append(requests / seconds)
        self.cpu.append(cpu * 1e6 / requests)


async def ask_in_c(hb: Path, server: Server, width: int, folder: Path) -> tuple[float, float]:
    listed = folder / "requests"
    listed.write_text("".join(f"{path} {digest}\n" for path, digest in server.wanted))
    told = subprocess.run(  # noqa: ASYNC221 - the loop has nothing else to do meanwhile
        [hb, str(server.port), str(width), listed], check=True, capture_output=True, text=True
    ).stdout.split()
    return float(told[0]), float(told[1])


async def ask_in_python(
    head: Callable[[str], Awaitable[tuple[int, Mapping[str, str]]]], server: Server, width: int
) -> tuple[float, float]:
    requests = server.requests
    waiting = iter(requests)

    async def work() -> None:
        for url, digest in waiting:
            status, headers = await head(url)
            if status != 200 or headers.get(DIGEST_HEADER) != digest:
                raise RuntimeError(f"{url} answered {status}, {headers.get(DIGEST_HEADER)}")

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(width)))
    return time.perf_counter() - began, time.process_time() - cpu


async def by_outbound(outbound: Outbound, url: str) -> tuple[int, Mapping[str, str]]:
    answer = await outbound.ask("HEAD", url, headers=HEADERS)
    return answer.status, answer.headers


async def by_aiohttp(session: aiohttp.ClientSession, url: str) -> tuple[int, Mapping[str, str]]:
    target = URL(url, encoded=True)
    async with session.head(target, headers=HEADERS, allow_redirects=False) as answer:
        return answer.status, answer.headers


async def contend(hb: Path, server: Server, width: int, folder: Path) -> list[Client]:
    """All rounds of the three at one server."""
    outbound = Outbound(timeout=10.0, concurrency=width)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=width),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(),
    ) as session:
        clients = [
            Client("hb.c", partial(ask_in_c, hb, server, width, folder)),
            Client(
                "Outbound.ask",
                partial(ask_in_python, partial(by_outbound, outbound), server, width),
            ),
            Client(
                "aiohttp's session",
                partial(ask_in_python, partial(by_aiohttp, session), server, width),
            ),
        ]
        for _ in range(ROUNDS):
            for client in clients:
                await client.play(len(server.wanted))
    await outbound.close()
    return clients


def _figures(server: Server, width: int, clients: Sequence[Client]) -> list[Figure]:
    ceiling, ours, bare = clients
    asked = f"HEAD of a manifest at {server.name}, {width} at once"
    compared = ratio(ours.rates, ceiling.rates)
    return [
        Figure(f"{asked}: {ceiling.name}", _one(ceiling)),
        Figure(f"{asked}: {ours.name}", f"{_one(ours)}; {compared:.2f} of hb.c", server.aim),
        Figure(
            f"{asked}: {bare.name}", f"{_one(bare)}; {ratio(bare.rates, ceiling.rates):.2f} of hb.c"
        ),
    ]


def _one(client: Client) -> str:
    return f"{median(client.rates):,.0f}/s, {median(client.cpu):.0f} µs CPU each"


@asynccontextmanager
async def full_registry(folder: Path) -> AsyncIterator[Server]:
    """Debian's docker-registry with all images pushed."""
    async with docker_registry(folder) as registry:
        pushed = await fill(registry, REPOSITORIES)
        wanted = [(f"/v2/{one.repository}/manifests/{one.tag}", one.digest) for one in pushed]
        port = int(registry.host.rpartition(":")[2])
        yield Server("docker-registry", port, wanted, "≥ 0.87 of hb.c")


@asynccontextmanager
async def fixed_reply(folder: Path, nginx: str) -> AsyncIterator[Server]:
    """An nginx of one worker that says to each request what a registry says."""
    port = free_port()
    (folder / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {folder}/pid; error_log stderr error;
        events {{ worker_connections 512; }}
        http {{
          access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
          server {{
            listen 127.0.0.1:{port};
            default_type application/vnd.oci.image.manifest.v1+json;
            location / {{
              add_header {DIGEST_HEADER} {FIXED};
              add_header Docker-Distribution-Api-Version registry/2.0;
              return 200 "{{}}";
            }}
          }}
        }}
    """)
    process = await asyncio.create_subprocess_exec(
        nginx, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")
    )
    try:
        await _listening(port)
        paths = [
            f"/v2/team{number % 10}/service-{number:03}/manifests/1.{tag}"
            for number in range(REPOSITORIES)
            for tag in range(TAGS)
        ]
        yield Server("nginx", port, [(path, FIXED) for path in paths], "")
    finally:
        process.kill()
        await process.wait()


async def _listening(port: int) -> None:
    for _ in range(100):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return
    raise TimeoutError("nginx does not listen")


def compiled(folder: Path) -> Path:
    hb = folder / "hb"
    subprocess.run(["gcc", "-O2", "-o", hb, HERE / "hb.c"], check=True)
    return hb


async def all_figures(folder: Path) -> list[Figure]:
    hb, nginx = compiled(folder), program("nginx")
    figures: list[Figure] = []
    async with full_registry(folder) as server:
        for width in WIDTHS:
            figures += _figures(server, width, await contend(hb, server, width, folder))
    if nginx is None:
        return [*figures, Figure("HEAD at nginx", "not measured: nginx is not installed")]
    async with fixed_reply(folder, nginx) as server:
        for width in WIDTHS:
            figures += _figures(server, width, await contend(hb, server, width, folder))
    return figures


def measure(folder: Path) -> list[Figure]:
    for needed in ("gcc", "docker-registry"):
        if program(needed) is None:
            return [Figure("Plain checks", f"not measured: {needed} is not installed")]
    return uvloop.run(all_figures(folder))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="syncwatch-plain-") as folder:
        print(table(measure(Path(folder))))


if __name__ == "__main__":
    main()
