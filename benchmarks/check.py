"""`syncwatch check` of 3,000 tags at a real docker-registry, against skopeo and regsync.

The source is the lab's Harbor in a process of its own, which `check` lists by itself; skopeo is
given the names, and regsync lists the registry itself as its source. Then the same with 20 ms
between client and registry, by a relay that delays 10 ms each way (and a new connection by 20 ms,
as its handshake would). Like is compared with like: `check --quick` asks what names mean, as the
peers do; the default level is told beside it. Each of ours is a whole run of the command, start
included. The peers are measured over a sample and told as a rate. Rounds are interleaved, figures
are medians, each ratio is taken within a round.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
import yaml
from checks import Pushed, fill
from measuring import TESTS, Figure, line_of, median, program, python, ratio, table

from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

sys.path.insert(0, str(TESTS))
from servers.docker_registry import DockerRegistry, docker_registry

ROUNDS = 3
REPOSITORIES, TAGS = 300, 10
SAMPLE, SPREAD = 100, 200
"""Images a round for the skopeo loop, and for eight of it at once."""

SYNCED = 100
"""Repositories a round for regsync."""

ONE_WAY = 0.010
"""Seconds that the relay holds back what passes in either direction."""

WIDE = 64
"""`--concurrency` of the runs that hide the distance."""

SYNCWATCH = str(Path(sys.executable).with_name("syncwatch"))


@dataclass
class Way:
    """One way to compare: `run` gives how many tags it compared; rates a second, CPU ms each."""

    name: str
    run: Callable[[], int]
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def play(self) -> None:
        """One round."""
        used, began = _children_cpu(), time.perf_counter()
        count = self.run()
        self.rates.append(count / (time.perf_counter() - began))
        self.cpu.append((_children_cpu() - used) * 1000 / count)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours(config: Path, *options: str) -> int:
    """The command as people run it; every tag has to be verified."""
    command = [SYNCWATCH, "check", "-c", str(config), "--output", "json", *options]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    summary = json.loads(told)["summary"]
    if summary["verified"] != REPOSITORIES * TAGS:
        raise RuntimeError(f"it said {summary}")
    return int(summary["verified"])


def skopeo(host: str, wanted: Sequence[Pushed], at_once: int) -> int:
    """`skopeo inspect --raw | sha256sum` of each, so many at once."""
    one = 'skopeo inspect --raw --tls-verify=false "docker://$0" | sha256sum'
    command = ["xargs", f"-P{at_once}", "-n1", "sh", "-c", one]
    names = "".join(f"{host}/{one.repository}:{one.tag}\n" for one in wanted)
    told = subprocess.run(command, input=names, check=True, capture_output=True, text=True).stdout
    found = {f"sha256:{line.split()[0]}" for line in told.splitlines()}
    if found != {one.digest for one in wanted}:
        raise RuntimeError("skopeo found other digests")
    return len(wanted)


def regsync(command: str, config: Path) -> int:
    """`regsync check`: lists the source's tags, and asks source and target for each digest."""
    ended = subprocess.run(
        [command, "check", "-c", str(config), "-v", "info"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(config.parent)},
    )
    words = ended.stdout + ended.stderr
    if "Image sync needed" in words:
        raise RuntimeError(f"regsync: {words[:500]}")
    return SYNCED * TAGS


def regsync_config(path: Path, source: str, target: str, names: Sequence[str]) -> Path:
    """Every repository, eight tags at once."""
    plain = [{"registry": host, "tls": "disabled", "reqConcurrent": 8} for host in (source, target)]
    document = {
        "version": 1,
        "creds": plain,
        "defaults": {"parallel": 8},
        "sync": [
            {"source": f"{source}/{one}", "target": f"{target}/{one}", "type": "repository"}
            for one in names[:SYNCED]
        ],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def config_for(folder: Path, login: dict[str, Any], name: str) -> Path:
    """Settings that know the Harbor and use the destination as it is."""
    path = folder / f"{name}.yml"
    path.write_text(yaml.safe_dump({"harbors": [{"name": "main", **login}]}))
    return path


@asynccontextmanager
async def relayed(port: int) -> AsyncIterator[int]:
    """The relay in a process of its own; its port."""
    with python("check.py", "relay", str(port)) as process:
        yield int(await asyncio.to_thread(line_of, process))


@contextmanager
def harbor(registry: str) -> Iterator[dict[str, Any]]:
    """The lab's Harbor, filled, in a process of its own; how to log in."""
    with python("check.py", "harbor", registry) as process:
        yield json.loads(line_of(process))


async def compare(folder: Path) -> list[Figure]:
    """Near, then far."""
    figures = []
    async with docker_registry(folder) as registry:
        wanted = await fill(registry, REPOSITORIES)
        near = int(registry.host.rpartition(":")[2])
        figures += await _compared(folder, registry, near, wanted, "near")
        async with relayed(near) as far:
            figures += await _compared(folder, registry, far, wanted, "20 ms away")
    return figures


async def _compared(
    folder: Path, registry: DockerRegistry, port: int, wanted: Sequence[Pushed], where: str
) -> list[Figure]:
    host = f"127.0.0.1:{port}"
    names = sorted({one.repository for one in wanted})
    peer = _regsync_command()
    synced = regsync_config(folder / "regsync.yml", f"localhost:{_port(registry)}", host, names)
    with harbor(f"http://{host}") as login:
        config = config_for(folder, login, "check")
        quick = Way("`check --quick`", lambda: ours(config, "--quick"))
        wide = Way(
            f"`check --quick --concurrency {WIDE}`",
            lambda: ours(config, "--quick", "--concurrency", str(WIDE)),
        )
        deep = Way("`check`, level readable", lambda: ours(config))
        loop = Way("`skopeo inspect --raw`, one by one", lambda: skopeo(host, sample(wanted), 1))
        spread = Way("the same by `xargs -P8`", lambda: skopeo(host, sample(wanted, SPREAD), 8))
        ways = [quick, wide, deep, loop, spread]
        if peer:
            ways.append(Way("`regsync check`, parallel 8", lambda: regsync(peer, synced)))
        for _ in range(ROUNDS):
            for way in ways:
                await asyncio.to_thread(way.play)
                print(f"{where}: {way.name} {way.rates[-1]:.0f}/s", file=sys.stderr)
    return _figures(ways, where)


def sample(wanted: Sequence[Pushed], count: int = SAMPLE) -> Sequence[Pushed]:
    """So many of them, from all over."""
    return wanted[:: len(wanted) // count][:count]


def _figures(ways: Sequence[Way], where: str) -> list[Figure]:
    quick, wide, deep, *peers = ways
    aims = ["25", "15", "2"] if where == "near" else ["200", "–", "–"]
    figures = [
        Figure(
            f"{one.name}, {where}",
            f"{median(one.rates):.0f}/s; {median(one.cpu):.2f} ms CPU each",
        )
        for one in peers
    ]
    for one in (quick, wide, deep):
        ratios = ", ".join(f"{ratio(one.rates, peer.rates):.1f}" for peer in peers)
        seconds = REPOSITORIES * TAGS / median(one.rates)
        figures.append(
            Figure(
                f"{one.name}, {where}",
                f"{seconds:.1f} s for all = {median(one.rates):.0f}/s = {ratios} × these; "
                f"{median(one.cpu):.2f} ms CPU each",
                f"{', '.join(aims)} ×" if one is quick else "",
            )
        )
    return figures


def _port(registry: DockerRegistry) -> int:
    return int(registry.host.rpartition(":")[2])


def _regsync_command() -> str | None:
    return os.environ.get("REGSYNC") or program("regsync")


class _Passing(asyncio.Protocol):
    """One side of a relayed connection: hands on what it gets, late."""

    def __init__(self, other: _Passing | None = None) -> None:
        self.other = other
        self.transport: asyncio.Transport | None = None
        self.ready_at = 0.0
        self.waiting: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        loop = asyncio.get_running_loop()
        if self.other is not None:
            for piece in self.waiting:
                self.send(piece)
        # The three packets of a handshake: one way there and one back.
        self.ready_at = loop.time() + 2 * ONE_WAY

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            loop = asyncio.get_running_loop()
            loop.call_at(max(loop.time(), self.ready_at) + ONE_WAY, self.other.send, data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self.other is not None:
            asyncio.get_running_loop().call_later(3 * ONE_WAY, self.other.end)

    def send(self, data: bytes) -> None:
        if self.transport is None:
            self.waiting.append(data)
        elif not self.transport.is_closing():
            self.transport.write(data)

    def end(self) -> None:
        if self.transport is not None:
            self.transport.close()


class _Accepting(_Passing):
    """The client's side; it opens the other one."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self._opening: asyncio.Task[Any] | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.other = _Passing(self)
        loop = asyncio.get_running_loop()
        other = self.other
        self._opening = loop.create_task(
            loop.create_connection(lambda: other, "127.0.0.1", self._port)
        )


async def relay(port: int) -> None:
    """Listen, say where, and pass on until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Accepting(port), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def serve_harbor(registry: str) -> None:
    """The lab's Harbor with the same tags, and a rule that copies all of them there."""
    async with LabHarbor().serving() as lab:
        for number in range(REPOSITORIES):
            name = f"team{number % 10}/service-{number:03}"
            base = images.image(name)
            for one in range(TAGS):
                body = base.manifest + b" " * one
                lab.push(name, f"1.{one}", images.Image(base.media_type, body, base.blobs))
        lab.create_registry("cluster1", registry)
        lab.create_policy("to-cluster1", "cluster1", pattern="**")
        user, password = lab.create_robot("syncwatch")
        login = {"url": lab.url, "username": user, "password": password}
        print(json.dumps(login), flush=True)
        await asyncio.Event().wait()


def measure(folder: Path) -> list[Figure]:
    for needed in ("docker-registry", "skopeo"):
        if program(needed) is None:
            return [Figure("check", f"not measured: {needed} is not installed")]
    return uvloop.run(compare(folder))


def main() -> None:
    if sys.argv[1:2] == ["relay"]:
        uvloop.run(relay(int(sys.argv[2])))
    elif sys.argv[1:2] == ["harbor"]:
        uvloop.run(serve_harbor(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory(prefix="syncwatch-check-") as folder:
            print(table(measure(Path(folder))))


if __name__ == "__main__":
    main()
