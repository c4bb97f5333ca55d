"""What the page costs on the server: each view, asked again and again, of two sizes of store.

The daemon runs in a process of its own on the lab's Harbor; a view is timed from the request to the
last byte, on one connection.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import uvloop
from filling import fill
from measuring import Figure, median, table
from start import Config, Daemon, Starts, configuration, started

from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZES = (10_000, 100_000)
"""Expectations in the store, half of them newest generations."""
ASKED = 15
FIRST_VIEW = "first view"
VIEWS = {
    FIRST_VIEW: "/",
    "failed ones": "/?state=failed",
    "the oldest page": "/?state=any&after=1",
    "search, 1 image": "/?q=service-00001:1.3",
    "search, more than 1,000": "/?q=service",
    "search, nothing": "/?q=nothing-is-called-so",
    "search for a digest": "/?q=sha256:0123456789abcdef",
    "images by destinations": "/images",
    "only what is owed": "/images?owed=1",
    "one image": "/images/main/apps/team-01/service-00001:1.3.0",
    "policies": "/policies",
}


async def times(session: aiohttp.ClientSession, daemon: Daemon) -> dict[str, tuple[float, int]]:
    """Median milliseconds of each view, and its size in bytes."""
    found = {}
    for name, path in VIEWS.items():
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
    """Each size in a store of its own."""
    figures: list[Figure] = []
    async with (
        LabHarbor().serving() as harbor,
        LabRegistry().serving() as registry,
        aiohttp.ClientSession() as session,
    ):
        harbor.create_registry("cluster1", registry.url)
        harbor.create_policy("to-cluster1", "cluster1", pattern="apps/**")
        login = harbor.create_robot("syncwatch")
        for size in SIZES:
            config = configuration(folder / str(size), harbor.url, login)
            await _filled(config, session, size)
            async with started(config, session, Starts()) as daemon:
                figures += _figures(size, await times(session, daemon))
    return figures


async def _filled(config: Config, session: aiohttp.ClientSession, size: int) -> None:
    """A daemon was there once; then the rows, which no sweep is to find gone meanwhile."""
    async with started(config, session, Starts(), settle=3.0):
        pass
    store = config.path.parent / "syncwatch.db"
    await asyncio.to_thread(fill, store, size)
    connection = sqlite3.connect(store)
    now = int(time.time() * 1000)
    with connection:
        connection.execute("update harbors set last_sweep_at = ?, pass_ended_at = ?", (now, now))
    connection.close()


def _figures(size: int, views: dict[str, tuple[float, int]]) -> Sequence[Figure]:
    aims = {FIRST_VIEW: "< 300 ms"} if size == SIZES[0] else {}
    return [
        Figure(
            f"page, {size:,} expectations: {name}",
            f"{taken:.0f} ms, {bytes_ / 1000:,.0f} kB",
            aims.get(name, ""),
        )
        for name, (taken, bytes_) in views.items()
    ]


def measure(folder: Path) -> list[Figure]:
    return uvloop.run(compare(folder))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="syncwatch-page-") as folder:
        print(table(measure(Path(folder))))


if __name__ == "__main__":
    main()
