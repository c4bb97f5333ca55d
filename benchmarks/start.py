"""From the command to a ready daemon, its memory, and what reports cost on a large store.

The daemon is started with an empty store and with one of 100,000 expectations, in turn, against
the lab's Harbor. Ready is /readyz answering 200: store open, Harbor seen.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import uvloop
import yaml
from filling import fill
from measuring import Figure, cpu_seconds, median, resident_megabytes, table

from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

ROUNDS = 5
EXPECTATIONS = 100_000
SETTLE = 1.5
"""Seconds from ready until memory is read: every loop has come round by then."""

ASKED = 15
"""How often each report is asked for."""

READY_WITHIN = 30.0
REPORTS = {
    "/metrics": "/metrics",
    "/api/v1/status": "/api/v1/status",
    "first page of 100 expectations": "/api/v1/expectations",
    "page of 1,000": "/api/v1/expectations?limit=1000",
    "100 of one state": "/api/v1/expectations?state=failed",
    "overdue, one reason": "/api/v1/expectations?overdue=true&reason=missing",
    "one repository": "/api/v1/expectations?repository=apps/team-01/service-00001&all=1",
}


@dataclass
class Starts:
    """What each start of one kind took and held."""

    ready: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon: its process and where it reports."""

    pid: int
    url: str


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration file, and where a daemon of it reports."""

    path: Path
    url: str


async def interpreter() -> float:
    """Seconds that an empty Python takes."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")
    await process.wait()
    return time.perf_counter() - began


@asynccontextmanager
async def started(
    config: Config, session: aiohttp.ClientSession, starts: Starts, settle: float = SETTLE
) -> AsyncIterator[Daemon]:
    """A daemon of its own process, ready."""
    command = "from syncwatch.cli import main; main()"
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", command, "serve", "-c", config.path, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        while not await _is_ready(session, config.url):
            if process.returncode is not None or time.perf_counter() - began > READY_WITHIN:
                raise RuntimeError("the daemon did not become ready")
            await asyncio.sleep(0.01)
        starts.ready.append(time.perf_counter() - began)
        starts.cpu.append(cpu_seconds(process.pid))
        await asyncio.sleep(settle)
        starts.resident.append(resident_megabytes(process.pid))
        yield Daemon(process.pid, config.url)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


def configuration(folder: Path, harbor: str, login: tuple[str, str]) -> Config:
    """A configuration whose store is in `folder`."""
    folder.mkdir()
    path, listen = folder / "syncwatch.yml", f"127.0.0.1:{_free_port()}"
    document = {
        "harbors": [
            {
                "name": "main",
                "url": harbor,
                "username": login[0],
                "password": login[1],
                "webhook": {"authorization": "Bearer of-this-benchmark"},
            }
        ],
        "webhook_listen": f"127.0.0.1:{_free_port()}",
        "listen": listen,
        "store": f"sqlite:///{folder}/syncwatch.db",
    }
    path.write_text(yaml.safe_dump(document))
    return Config(path, f"http://{listen}")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


async def times(session: aiohttp.ClientSession, daemon: Daemon) -> dict[str, tuple[float, int]]:
    """Median milliseconds of each report, and its size in bytes."""
    found = {}
    for name, path in REPORTS.items():
        taken, size = [], 0
        for _ in range(ASKED):
            began = time.perf_counter()
            async with session.get(daemon.url + path) as answer:
                size = len(await answer.read())
                if answer.status != 200:
                    raise RuntimeError(f"{path} is answered {answer.status}")
            taken.append((time.perf_counter() - began) * 1000)
        found[name] = (median(taken), size)
    return found


async def compare(folder: Path) -> list[Figure]:
    """All rounds: a new store, an empty one, the full one."""
    new, empty, full, bare = Starts(), Starts(), Starts(), []
    async with (
        LabHarbor().serving() as harbor,
        LabRegistry().serving() as registry,
        aiohttp.ClientSession() as session,
    ):
        harbor.create_registry("cluster1", registry.url)
        harbor.create_policy("to-cluster1", "cluster1", pattern="apps/**")
        login = harbor.create_robot("syncwatch")
        configs = {
            name: configuration(folder / name, harbor.url, login) for name in ("empty", "full")
        }
        async with started(configs["full"], session, Starts(), settle=0.0):
            pass
        await asyncio.to_thread(fill, configs["full"].path.parent / "syncwatch.db", EXPECTATIONS)
        for _ in range(ROUNDS):
            bare.append(await interpreter())
            _forget_store(configs["empty"].path.parent)
            async with started(configs["empty"], session, new, settle=0.2):
                pass
            async with started(configs["empty"], session, empty):
                pass
            async with started(configs["full"], session, full) as daemon:
                reports = await times(session, daemon)
                after = resident_megabytes(daemon.pid)
    return _figures(bare, new, empty, full, reports, after)


def _forget_store(folder: Path) -> None:
    for path in folder.glob("syncwatch.db*"):
        path.unlink()


def _figures(
    bare: Sequence[float],
    new: Starts,
    empty: Starts,
    full: Starts,
    reports: dict[str, tuple[float, int]],
    after: float,
) -> list[Figure]:
    more = median([a - b for a, b in zip(full.resident, empty.resident, strict=True)])
    figures = [
        Figure("`python -c pass`", f"{median(bare):.2f} s"),
        Figure("start to ready, new store (made on the way)", _start(new)),
        Figure("start to ready, empty store", _start(empty), "≤ 1 s"),
        Figure(f"start to ready, {EXPECTATIONS:,} expectations", _start(full), "≤ 1 s"),
        Figure(
            f"memory that {EXPECTATIONS:,} expectations add",
            f"{more:+.1f} MB; {after - median(full.resident):+.1f} MB more after all reports below",
            "≤ 10 MB",
        ),
    ]
    return figures + [
        Figure(f"{name}, {EXPECTATIONS:,} expectations", f"{taken:.1f} ms, {size / 1000:,.0f} kB")
        for name, (taken, size) in reports.items()
    ]


def _start(starts: Starts) -> str:
    return (
        f"{median(starts.ready):.2f} s ({median(starts.cpu):.2f} s CPU); "
        f"{median(starts.resident):.0f} MB RSS"
    )


def measure(folder: Path) -> list[Figure]:
    return uvloop.run(compare(folder))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="syncwatch-start-") as folder:
        print(table(measure(Path(folder))))


if __name__ == "__main__":
    main()
