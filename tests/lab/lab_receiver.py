"""A webhook receiver, and waiting for a condition."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from syncwatch.lab.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Delivery:
    """One webhook as received."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    raw: bytes
    answered: int


@dataclass
class Receiver:
    """Takes webhooks; `status` is what it answers, `seconds` how late."""

    status: int = 200
    seconds: float = 0.0
    deliveries: list[Delivery] = field(default_factory=list)
    listener: Listener = field(init=False)

    def __post_init__(self) -> None:
        self.listener = Listener(self._application)

    @property
    def url(self) -> str:
        return self.listener.url

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/{path}", self._take)
        return application

    async def _take(self, request: web.Request) -> web.Response:
        raw = await request.read()
        self.deliveries.append(
            Delivery(
                request.path, dict(request.headers), json.loads(raw), raw, answered=self.status
            )
        )
        await asyncio.sleep(self.seconds)
        return web.Response(status=self.status)

    def told(self) -> list[tuple[str, str]]:
        """(event type, tag or job status) of each delivery in the Default format."""
        return [(one.body["type"], _detail(one.body["event_data"])) for one in self.deliveries]


def _detail(data: dict[str, Any]) -> str:
    if "replication" in data:
        return str(data["replication"]["job_status"])
    return str(data["resources"][0]["tag"])


async def until(
    condition: Callable[[], object], what: str = "the condition", within: float = 5.0
) -> None:
    """Wait for a condition; fails loudly when it does not come."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come within {within} s")
        await asyncio.sleep(0.005)
