"""Looks a second at a real docker-registry, against skopeo in a loop and in eight processes.

A look is the plain check of level `matched`: what the tag names, and whether the bytes are there
and hash to the digest. The peers hash what `skopeo inspect --raw` fetched, with sha256sum; every
digest is compared with that of what was pushed. Rounds are interleaved, figures are medians, each
ratio is taken within a round.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from measuring import TESTS, Figure, cpu_seconds, median, program, ratio, table

from syncwatch.lab import images
from syncwatch.outbound import Outbound
from syncwatch.runtime import Clock
from syncwatch.verify.registry import RegistryClient

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

sys.path.insert(0, str(TESTS))
from servers.docker_registry import DockerRegistry, docker_registry

ROUNDS = 5
REPOSITORIES, TAGS = 60, 10
CONCURRENCY = 8
"""What a destination is asked at once by default."""

LOOPED, SPREAD = 40, 100
"""Images a round for the skopeo loop, and for eight of it at once."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """One tag of the registry and the digest it names."""

    repository: str
    tag: str
    digest: str


@dataclass
class Contender:
    """One way to check; each round's rate in checks a second and CPU in ms a check."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


async def fill(registry: DockerRegistry, repositories: int = REPOSITORIES) -> list[Pushed]:
    """Push all images; the tags of a repository share their blobs, which makes it quick."""
    turns = asyncio.Semaphore(CONCURRENCY)

    async def push(repository: str) -> list[Pushed]:
        async with turns:
            base = images.image(repository)
            pushed = []
            for number in range(TAGS):
                # A space more is another digest, and the same image.
                body = base.manifest + b" " * number
                blobs = base.blobs if number == 0 else ()
                one = images.Image(base.media_type, body, blobs)
                tag = f"1.{number}"
                pushed.append(Pushed(repository, tag, await registry.push(repository, tag, one)))
            return pushed

    names = [f"team{number % 10}/service-{number:03}" for number in range(repositories)]
    return [one for some in await asyncio.gather(*map(push, names)) for one in some]


async def look_at_all(client: RegistryClient, wanted: Sequence[Pushed]) -> int:
    """Look at each, eight at a time; how many requests that took."""
    waiting = iter(wanted)
    requests = 0

    async def work() -> None:
        nonlocal requests
        for one in waiting:
            seen = await client.look(one.repository, one.tag, {one.digest})
            if seen.served != one.digest or seen.level != "matched":
                raise RuntimeError(f"{one} was seen as {seen}")
            requests += len(seen.requests)

    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    return requests


def skopeo_loop(host: str, wanted: Sequence[Pushed]) -> set[str]:
    """A shell's loop, one image after the other; the digests it found."""
    loop = (
        "while read one; do "
        'skopeo inspect --raw --tls-verify=false "docker://$one" | sha256sum; done'
    )
    return _digests(["sh", "-c", loop], host, wanted)


def skopeo_spread(host: str, wanted: Sequence[Pushed]) -> set[str]:
    """Eight at once."""
    one = 'skopeo inspect --raw --tls-verify=false "docker://$0" | sha256sum'
    return _digests(["xargs", "-P8", "-n1", "sh", "-c", one], host, wanted)


def _digests(command: Sequence[str], host: str, wanted: Sequence[Pushed]) -> set[str]:
    names = "".join(f"{host}/{one.repository}:{one.tag}\n" for one in wanted)
    told = subprocess.run(command, input=names, check=True, capture_output=True, text=True).stdout
    return {f"sha256:{line.split()[0]}" for line in told.splitlines()}


def peer_round(
    contender: Contender,
    way: Callable[[str, Sequence[Pushed]], set[str]],
    host: str,
    wanted: Sequence[Pushed],
) -> None:
    before, began = _children_cpu(), time.perf_counter()
    found = way(host, wanted)
    taken = time.perf_counter() - began
    if found != {one.digest for one in wanted}:
        raise RuntimeError("skopeo found other digests")
    contender.rates.append(len(wanted) / taken)
    contender.cpu.append((_children_cpu() - before) * 1000 / len(wanted))


def _children_cpu() -> float:
    """CPU seconds of ended child processes; docker-registry lives on and is not among them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _registry_pid() -> int:
    children = Path("/proc/self/task").glob("*/children")
    return int(next(words for one in children if (words := one.read_text())).split()[0])


async def contend(folder: Path) -> list[Figure]:
    """All rounds, against one registry."""
    ours, loop, spread = Contender(), Contender(), Contender()
    served: list[float] = []
    requests = checks = 0
    async with docker_registry(folder) as registry:
        wanted, pid = await fill(registry), _registry_pid()
        outbound = Outbound(timeout=10.0, concurrency=CONCURRENCY)
        client = RegistryClient(
            url=registry.url, outbound=outbound, credentials=lambda: None, clock=Clock().now
        )
        for number in range(ROUNDS):
            server, cpu, began = cpu_seconds(pid), time.process_time(), time.perf_counter()
            requests += await look_at_all(client, wanted)
            taken = time.perf_counter() - began
            ours.rates.append(len(wanted) / taken)
            ours.cpu.append((time.process_time() - cpu) * 1000 / len(wanted))
            served.append((cpu_seconds(pid) - server) * 1000 / len(wanted))
            checks += len(wanted)
            first = number * LOOPED
            peer_round(loop, skopeo_loop, registry.host, wanted[first : first + LOOPED])
            first = number * SPREAD
            peer_round(spread, skopeo_spread, registry.host, wanted[first : first + SPREAD])
        await outbound.close()
    return _figures(ours, loop, spread, requests / checks, median(served))


def _figures(
    ours: Contender, loop: Contender, spread: Contender, requests: float, served: float
) -> list[Figure]:
    compared, by_eight = ratio(ours.rates, loop.rates), ratio(ours.rates, spread.rates)
    return [
        Figure("`skopeo inspect --raw` in a loop, digest compared", _peer(loop)),
        Figure("the same, eight at once (`xargs -P8`)", _peer(spread)),
        Figure(
            "looks at docker-registry, eight at once, digest and bytes compared",
            f"{median(ours.rates):.0f}/s = {compared:.1f} × the loop, {by_eight:.1f} × `-P8`; "
            f"{median(ours.cpu):.2f} ms CPU each, and {served:.2f} ms of the registry's; "
            f"{requests:.2f} requests each",
            "≥ 25 × the loop",
        ),
    ]


def _peer(one: Contender) -> str:
    return f"{median(one.rates):.0f}/s; {median(one.cpu):.1f} ms CPU each"


def measure(folder: Path) -> list[Figure]:
    for needed in ("docker-registry", "skopeo"):
        if program(needed) is None:
            return [Figure("Checks of a registry", f"not measured: {needed} is not installed")]
    return uvloop.run(contend(folder))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="syncwatch-checks-") as folder:
        print(table(measure(Path(folder))))


if __name__ == "__main__":
    main()
