"""The daemon is away while images are pushed: what it knows afterwards, and how soon.

A lab Harbor with Harbor's own times (three tries of each webhook within about two minutes) copies
to Debian's docker-registry. Half of the pushes are pushes, half are tags made by the API. The
history of executions is purged as every night, so that the sweep has to find them.

    .venv/bin/python benchmarks/downtime.py [--minutes 5] [--pushes 200]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import TESTS, Figure, machine, median, table

from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.times import LabTimes

sys.path[:0] = [str(TESTS), str(TESTS / "daemon")]
from running import SECRET, Watched, running, settings_file, until  # noqa: E402
from scenarios_harbor import millis  # noqa: E402
from servers import free_port  # noqa: E402
from servers.docker_registry import docker_registry  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REPOSITORY = "apps/web"
RECOVERED = "syncwatch_events_recovered_total"


async def push_all(harbor: LabHarbor, pushes: int, pause: float) -> AsyncIterator[str]:
    """References, as they are set: a push and a tag of the API in turn."""
    for number in range(pushes):
        name = f"v{number}"
        if number % 2:
            harbor.tag(REPOSITORY, "before", name)
        else:
            harbor.push(REPOSITORY, name, images.image(name))
        yield name
        await asyncio.sleep(pause)


def set_at(harbor: LabHarbor, name: str) -> float:
    tags = harbor.artifacts.tags_of(harbor.artifact(REPOSITORY, name))
    return next(tag.push_time for tag in tags if tag.name == name) * 1000


async def measure(folder: Path, minutes: float, pushes: int) -> list[Figure]:
    times = replace(LabTimes.harbor(), queue_latency=0.1)
    async with LabHarbor(times=times).serving() as harbor, docker_registry(folder) as registry:
        harbor.create_project("apps")
        harbor.create_registry("cluster1", registry.url)
        harbor.create_policy("to-cluster1", "cluster1", pattern="apps/**")
        user, password = harbor.create_robot("syncwatch")
        login = {"url": harbor.url, "username": user, "password": password, "poll_every": "5s"}
        login |= {"policies_every": "15s", "sweep_every": "1m", "give_up_after": "4m"}
        port = free_port()
        config = settings_file(
            folder, login, {"deadline": "10m"}, webhook_listen=f"127.0.0.1:{port}"
        )
        async with running(config) as watched:
            harbor.create_webhook_policy("apps", watched.webhook_url, auth_header=SECRET)
            harbor.push(REPOSITORY, "before", images.image("before"))
            await watched.row(reference="before", state="verified", within=60)
        # A tag this long after its artifact was not pushed with it.
        harbor.artifact(REPOSITORY, "before").push_time -= 3600
        names = [name async for name in push_all(harbor, pushes, minutes * 60 / pushes)]
        harbor.purge_executions()
        return await after(harbor, config, names)


async def after(harbor: LabHarbor, config: Path, names: list[str]) -> list[Figure]:
    began = time.monotonic()
    async with running(config) as watched:

        async def known() -> list[dict[str, Any]]:
            rows = await watched.expectations(state="verified")
            return rows if len(rows) == len(names) + 1 else []

        rows = await until(known, within=600, told="every push known and verified")
        took = time.monotonic() - began
        mine = [row for row in rows if row["reference"] != "before"]
        wrong = [
            row["reference"]
            for row in mine
            if abs(millis(row["pushed_at"]) - set_at(harbor, row["reference"])) > 1
            or row["expected_at"] != row["pushed_at"]
        ]
        lags = [(millis(row["verified_at"]) - millis(row["expected_at"])) / 1000 for row in mine]
        origins = {row["reference"]: row["origin"] for row in mine}
        odd = [n for n in names if origins[n] != ("tag" if int(n[1:]) % 2 else "push")]
        recovered, missed = await counted(watched)
    return [
        Figure("known and verified after the restart", f"{took:.1f} s", "one sweep"),
        Figure("of them with another push time than the tag's", str(len(wrong)), "0"),
        Figure("of them with another origin", str(len(odd)), "0"),
        Figure("lag from the push, median and longest", f"{median(lags):.0f} s, {max(lags):.0f} s"),
        Figure("pushes whose webhook had not come by the end", str(missed)),
        Figure(
            "counted as recovered (three minutes late, or never)", f"{recovered:.0f}", f"≥ {missed}"
        ),
    ]


async def counted(watched: Watched) -> tuple[float, int]:
    """What is counted when the last webhook is three minutes late, and what should be."""

    async def missing() -> int:
        rows = await watched.expectations()
        pushed = [row for row in rows if row["origin"] == "push"]
        return sum(row["notified_at"] is None for row in pushed)

    async def all_counted() -> bool:
        return (await watched.metric(RECOVERED) or 0) >= await missing()

    await until(all_counted, within=420, told="recovered pushes")
    # None is added later.
    await asyncio.sleep(20)
    return await watched.metric(RECOVERED) or 0.0, await missing()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--pushes", type=int, default=200)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(Path(folder), wanted.minutes, wanted.pushes))
        print(machine(Path(folder)))
        print(table(figures))


if __name__ == "__main__":
    main()
