"""A complete sweep of many tags: requests, time, memory, and what it does to pushes meanwhile.

A lab Harbor with so many tags, all older than the rule that reaches them; the daemon is a process
of its own. The budget is raised so that the sweep itself is measured, not its patience.

    .venv/bin/python benchmarks/sweep.py [--tags 100000] [--per-minute 60000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from measuring import TESTS, Figure, machine, table
from prometheus_client.parser import text_string_to_metric_families

from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

sys.path[:0] = [str(TESTS), str(TESTS / "daemon")]
from running import SECRET, settings_file, until  # noqa: E402
from scenarios_harbor import millis  # noqa: E402
from servers.daemon import Served, served  # noqa: E402

PROJECTS, ARTIFACTS, TAGS = 20, 10, 5
"""How many projects; artifacts of each repository; tags of each artifact."""


def fill(harbor: LabHarbor, tags: int) -> int:
    """Push and tag so many; how many repositories they are in."""
    made = [images.image(f"fill {number}") for number in range(ARTIFACTS)]
    repositories = tags // (ARTIFACTS * TAGS)
    for number in range(repositories):
        name = f"project{number % PROJECTS}/app{number}"
        for at, image in enumerate(made):
            harbor.push(name, f"v{at}.0", image)
            for more in range(1, TAGS):
                harbor.tag(name, f"v{at}.0", f"v{at}.{more}")
    return repositories


async def metric(daemon: Served, name: str) -> float:
    text = await daemon.get("/metrics")
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    )


def resident(daemon: Served) -> float:
    """Megabytes that the daemon holds."""
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def measure(folder: Path, tags: int, per_minute: int) -> list[Figure]:
    async with LabHarbor().serving() as harbor, LabRegistry().serving() as registry:
        repositories = fill(harbor, tags)
        harbor.create_registry("cluster1", registry.url)
        harbor.create_policy("to-cluster1", "cluster1", pattern="**")
        user, password = harbor.create_robot("syncwatch")
        settings = {
            "url": harbor.url,
            "username": user,
            "password": password,
            "sweep_every": "1h",
            "sweep_requests_per_minute": per_minute,
        }
        harbor.create_project("apps")
        async with served(settings_file(folder, settings)) as daemon:
            harbor.create_webhook_policy("apps", daemon.webhook_url, auth_header=SECRET)
            return await watch(harbor, daemon, resident(daemon), repositories, tags)


async def watch(
    harbor: LabHarbor, daemon: Served, before: float, repositories: int, tags: int
) -> list[Figure]:
    began, most, number = time.monotonic(), before, 0
    while not await ended(daemon):
        harbor.push("apps/web", f"during-{number}", images.image(f"during {number}"))
        number += 1
        most = max(most, resident(daemon))
        await asyncio.sleep(0.5)
    took = time.monotonic() - began
    lists = sum("/artifacts?" in one for one in harbor.requests)
    asked = sum(
        "/artifacts?" in one or "/repositories?" in one or "/projects?" in one
        for one in harbor.requests
    )
    during = await lags(daemon, number)
    alone = await pushed_alone(harbor, daemon, 40)
    return [
        Figure("tags, repositories", f"{tags:,}, {repositories:,}"),
        Figure("time of the complete pass", f"{took:.1f} s"),
        Figure("requests of it (lists of artifacts)", f"{asked:,} ({lists:,})"),
        Figure("expectations that it made", f"{await rows(daemon) - number - 40:.0f}", "0"),
        Figure("memory before, most during", f"{before:.0f} MB, {most:.0f} MB"),
        Figure(f"push to verdict during it, {number} pushes", told(during)),
        Figure("push to verdict after it, 40 pushes", told(alone)),
    ]


async def ended(daemon: Served) -> bool:
    text = await daemon.get("/api/v1/status")
    (one,) = json.loads(text)["harbors"]
    return bool(one["sweep"] and one["sweep"]["pass_ended_at"])


async def rows(daemon: Served) -> float:
    return await metric(daemon, "syncwatch_expectations")


async def pushed_alone(harbor: LabHarbor, daemon: Served, count: int) -> list[float]:
    for number in range(count):
        harbor.push("apps/web", f"after-{number}", images.image(f"after {number}"))
        await asyncio.sleep(0.25)
    return await lags(daemon, count, "after-")


async def lags(daemon: Served, count: int, prefix: str = "during-") -> list[float]:
    async def verified() -> list[float]:
        url = "/api/v1/expectations?limit=1000&state=verified&repository=apps/web"
        items = json.loads(await daemon.get(url))["items"]
        mine = [one for one in items if one["reference"].startswith(prefix)]
        lag = [millis(one["verified_at"]) - millis(one["expected_at"]) for one in mine]
        return [one / 1000 for one in lag] if len(mine) == count else []

    return await until(verified, within=60) if count else []


def told(values: list[float]) -> str:
    values = sorted(values)
    if not values:
        return "none"
    return f"p50 {values[len(values) // 2]:.2f} s, p99 {values[int(len(values) * 0.99)]:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tags", type=int, default=100_000)
    parser.add_argument("--per-minute", type=int, default=60_000)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(Path(folder), wanted.tags, wanted.per_minute))
        print(machine(Path(folder)))
        print(table(figures))


if __name__ == "__main__":
    main()
