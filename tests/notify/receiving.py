"""A receiver of notifications, which may refuse, stay away and come back at its address."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import web
from running import until
from scene import Scene, scene
from servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from running import Watched

TOKEN = "Bearer the-word-of-the-receiver"

VERIFIED, FAILED, EVERYWHERE = "image.verified", "image.failed", "image.verified.everywhere"


@dataclass
class Delivery:
    """One request that came."""

    event: dict[str, Any]
    headers: dict[str, str]
    at: float
    status: int

    @property
    def told(self) -> tuple[str, str]:
        """The event in short: what of which image."""
        return self.event["type"], self.event["subject"]


@dataclass
class Receiver:
    """`answer` says what to answer to an event: a status, or one with headers; 0 breaks off."""

    port: int = field(default_factory=free_port)
    path: str = "/hook"
    answer: Callable[[dict[str, Any]], int | tuple[int, dict[str, str]]] = lambda _event: 202
    deliveries: list[Delivery] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def settings(self, **more: Any) -> dict[str, Any]:
        """The section of a configuration that tells it everything."""
        return {"url": self.url, "authorization": TOKEN, **more}

    @property
    def taken(self) -> list[Delivery]:
        """What was answered 2xx, in the order in which it came."""
        return [one for one in self.deliveries if 200 <= one.status < 300]

    @property
    def told(self) -> list[tuple[str, str]]:
        """The events taken, in short."""
        return [one.told for one in self.taken]

    async def hears(self, *wanted: tuple[str, str], within: float = 15.0) -> list[dict[str, Any]]:
        """The events taken, once they are at least these, in any order."""

        async def all_there() -> bool:
            return set(wanted) <= set(self.told)

        try:
            await until(all_there, within)
        except AssertionError:
            raise AssertionError(f"{wanted} wanted; there are {self.told}") from None
        return [one.event for one in self.taken]

    async def start(self) -> None:
        """Take connections."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        """Refuse connections."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Receiver]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def _take(self, request: web.Request) -> web.Response:
        event = json.loads(await request.read())
        given = self.answer(event)
        status, headers = given if isinstance(given, tuple) else (given, {})
        self.deliveries.append(Delivery(event, dict(request.headers), time.monotonic(), status))
        if not status and request.transport is not None:
            request.transport.abort()
        return web.Response(status=status or 500, headers=headers)


def first(*statuses: int | tuple[int, dict[str, str]]) -> Callable[[dict[str, Any]], Any]:
    """Answers these, one after the other, then 202."""
    left = list(statuses)
    return lambda _event: left.pop(0) if left else 202


@contextlib.asynccontextmanager
async def telling(
    directory: Path, settings: dict[str, Any] | None = None, **given: Any
) -> AsyncIterator[tuple[Scene, Receiver]]:
    """The scene, and a receiver that the daemon is to tell."""
    receiver = Receiver()
    section = receiver.settings(**(settings or {}))
    async with receiver.serving(), scene(directory, notifications=section, **given) as stage:
        yield stage, receiver


def change(stage: Scene, **section: Any) -> None:
    """Write the configuration anew with other notifications; without any for none."""
    document = yaml.safe_load(stage.config.read_text())
    document.pop("notifications", None)
    stage.config.write_text(
        yaml.safe_dump(document | ({"notifications": section} if section else {}))
    )


async def waiting(watched: Watched, count: int) -> None:
    """Until so many events wait."""

    async def so_many() -> bool:
        return await watched.metric("syncwatch_notifications_waiting") == count

    await until(so_many, told=f"{count} events waiting")


async def counted(watched: Watched, outcome: str) -> float | None:
    """How many attempts or ends there were of that outcome."""
    return await watched.metric("syncwatch_notifications_total", outcome=outcome)
