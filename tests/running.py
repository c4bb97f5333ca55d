"""The real daemon in this process, asked only over HTTP, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml
from prometheus_client.parser import text_string_to_metric_families

from syncwatch.app import Daemon
from syncwatch.config import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from syncwatch.runtime import Clock

SECRET = "Bearer webhook-secret"

QUICK_HARBOR = {"poll_every": "200ms", "policies_every": "300ms", "give_up_after": "3s"}
"""Harbor's times for tests against LabTimes.fast()."""

QUICK_DESTINATION = {
    "deadline": "10s",
    "grace": "500ms",
    "retry_first": "100ms",
    "retry_longest": "500ms",
}


async def until(
    condition: Callable[[], Awaitable[Any]], within: float = 15.0, told: str = "it"
) -> Any:
    """What `condition` gives once it is truthy; fails with its last value after `within`."""
    end = time.monotonic() + within
    while True:
        value = await condition()
        if value:
            return value
        assert time.monotonic() < end, f"{told} did not happen within {within} s; last: {value!r}"
        await asyncio.sleep(0.03)


@dataclass
class Watched:
    """A running daemon and its addresses."""

    daemon: Daemon
    session: aiohttp.ClientSession

    @property
    def webhook_url(self) -> str:
        return self.daemon.webhook_url + "/webhook/main"

    async def get(self, path: str, **query: str) -> Any:
        async with self.session.get(self.daemon.url + path, params=query) as answer:
            return await answer.json()

    async def expectations(self, **query: str) -> list[dict[str, Any]]:
        """All rows that match, closed ones too, oldest first."""
        told = await self.get("/api/v1/expectations", **({"all": "1", "limit": "1000"} | query))
        return list(reversed(told["items"]))

    async def states(self, **query: str) -> list[tuple[str, str, str | None]]:
        """(reference, state, reason) of all rows that match, oldest first."""
        rows = await self.expectations(**query)
        return [(row["reference"], row["state"], row["reason"]) for row in rows]

    async def one(self, expectation_id: str) -> dict[str, Any]:
        return await self.get(f"/api/v1/expectations/{expectation_id}")

    async def findings(self) -> list[dict[str, Any]]:
        return (await self.get("/api/v1/findings"))["items"]

    async def finding_names(self) -> set[str]:
        return {one["finding"] for one in await self.findings()}

    async def status(self) -> dict[str, Any]:
        return await self.get("/api/v1/status")

    async def metrics_text(self) -> str:
        async with self.session.get(self.daemon.url + "/metrics") as answer:
            return await answer.text()

    async def metric(self, name: str, **labels: str) -> float | None:
        """The sum of the samples of that name with those labels; None when there is none."""
        found = [
            sample.value
            for family in text_string_to_metric_families(await self.metrics_text())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    async def row(self, within: float = 15.0, **wanted: Any) -> dict[str, Any]:
        """The first row that has all these values, waited for."""

        async def found() -> dict[str, Any] | None:
            rows = await self.expectations()
            return next((r for r in rows if wanted.items() <= r.items()), None)

        try:
            return await until(found, within, str(wanted))
        except AssertionError as error:
            raise AssertionError(f"{error}; rows: {await self.states()}") from None

    async def ready(self) -> None:
        async def answers() -> bool:
            async with self.session.get(self.daemon.url + "/readyz") as answer:
                return answer.status == 200

        await until(answers, told="readiness")


def settings_file(
    directory: Path,
    harbor: Mapping[str, Any],
    destination: Mapping[str, Any] | None = None,
    **top: Any,
) -> Path:
    """A configuration with one harbor `main`, and defaults for all its destinations."""
    document: dict[str, Any] = {
        "harbors": [
            {"name": "main", "webhook": {"authorization": SECRET}, **QUICK_HARBOR, **harbor}
        ],
        "destinations": [{"name": "*", **QUICK_DESTINATION, **(destination or {})}],
        "webhook_listen": "127.0.0.1:0",
        "listen": "127.0.0.1:0",
        "store": f"sqlite:///{directory}/syncwatch.db",
    }
    extra = top.pop("more_destinations", [])
    document["destinations"] += extra
    path = directory / "syncwatch.yml"
    path.write_text(yaml.safe_dump(document | top))
    return path


@contextlib.asynccontextmanager
async def running(
    config: Path, *, clock: Clock | None = None, ready: bool = True
) -> AsyncIterator[Watched]:
    """The daemon on this configuration, until the block ends."""
    daemon = Daemon(load(config), clock=clock, load=lambda: load(config))
    async with aiohttp.ClientSession() as session, daemon.running():
        watched = Watched(daemon, session)
        if ready:
            await watched.ready()
        yield watched
