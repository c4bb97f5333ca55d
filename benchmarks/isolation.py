"""Does one destination that answers nothing slow the others down? Verdicts, p50 and p99.

The real daemon on the lab, two destinations, one push after the other. In every other round one
destination takes each of our requests and never answers, while Harbor's copies go on by another
door; the lags of the other are compared with those of the rounds in which both answer. Images
that never end are served as well, and memory measured.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from measuring import TESTS, Figure, table

from syncwatch.lab import images
from syncwatch.lab.faults import Fault
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from syncwatch.lab.harbor import LabHarbor as Harbor

sys.path[:0] = [str(TESTS), str(TESTS / "daemon")]
from running import SECRET, Watched, running, settings_file, until  # noqa: E402

ROUNDS = 3
PUSHES = 50
APART = 0.15


async def lags(harbor: Harbor, watched: Watched, name: str) -> list[float]:
    """Seconds from each push to its verdict at the destination that answers."""
    for number in range(PUSHES):
        harbor.push("apps/web", f"{name}.{number}", images.image(f"{name} {number}"))
        await asyncio.sleep(APART)

    async def verified() -> list[float]:
        rows = await watched.expectations(destination="good", state="verified")
        mine = [row for row in rows if row["reference"].startswith(f"{name}.")]
        if len(mine) < PUSHES:
            return []
        return [seconds(row["verified_at"]) - seconds(row["expected_at"]) for row in mine]

    return await until(verified, within=60)


def seconds(told: str) -> float:
    """The seconds of the day of a time in the API."""
    hours, minutes, rest = told.partition("T")[2].rstrip("Z").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


async def compare(folder: Path) -> list[Figure]:
    both: list[float] = []
    alone: list[float] = []
    async with (
        LabHarbor().serving() as harbor,
        LabRegistry("good").serving() as good,
        LabRegistry("dead").serving() as dead,
        another_door(dead).serving() as door,
    ):
        harbor.create_project("apps")
        for name, registry in (("good", good), ("dead", dead)):
            harbor.create_registry(name, registry.url)
            harbor.create_policy(f"to-{name}", name, pattern="apps/**")
        user, password = harbor.create_robot("syncwatch")
        login = {"url": harbor.url, "username": user, "password": password}
        destination = {"deadline": "5m", "timeout": "3s"}
        entry = {"name": "dead", "url": door.url}
        config = settings_file(folder, login, destination, more_destinations=[entry])
        async with running(config) as watched:
            harbor.create_webhook_policy("apps", watched.webhook_url, auth_header=SECRET)
            await lags(harbor, watched, "warm")
            for number in range(ROUNDS):
                both += await lags(harbor, watched, f"both{number}")
                door.fault(Fault.HANG)
                alone += await lags(harbor, watched, f"alone{number}")
                door.clear()
            grown = await memory(harbor, good, watched)
    compared = at(alone, 99) / at(both, 99)
    return [
        Figure("push to verdict, both destinations answer", shown(both)),
        Figure(
            "the same while the other one answers nothing",
            f"{shown(alone)}; p99 {compared:.2f} × that",
            "≤ 1.5 × the p99",
        ),
        Figure("memory under eight bodies that never end", f"+{grown:.1f} MB", "flat"),
    ]


def another_door(registry: LabRegistry) -> LabRegistry:
    """A registry that holds what another one holds, at an address and with faults of its own."""
    door = LabRegistry(f"{registry.name}, another door")
    door.contents.bytes = registry.contents.bytes
    door.contents.repositories = registry.contents.repositories
    return door


async def memory(harbor: Harbor, registry: LabRegistry, watched: Watched) -> float:
    """How many MB the process grew while eight manifests and layers went on for ever."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(8):
        repository = f"apps/endless{number}"
        registry.fault(Fault.ENDLESS, repository)
        harbor.push(repository, "1", images.image(repository))

    async def told() -> bool:
        rows = await watched.expectations(destination="good", reason="unreadable_answer")
        return len(rows) == 8

    await until(told, within=60)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def at(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def shown(values: list[float]) -> str:
    return f"p50 {at(values, 50):.2f} s, p99 {at(values, 99):.2f} s of {len(values)}"


def measure(folder: Path) -> list[Figure]:
    return uvloop.run(compare(folder))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="syncwatch-benchmarks-") as name:
        print(table(measure(Path(name))))


if __name__ == "__main__":
    main()
