"""What the tests of scenarios share: the daemon beside a lab, and answers that get lost."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web
from running import SECRET, Watched, running, settings_file, until

from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.listener import Listener
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path


@dataclass
class Acted:
    """A lab Harbor, one destination, and the daemon that watches both."""

    harbor: LabHarbor
    registry: LabRegistry
    watched: Watched

    async def rows(self, **wanted: Any) -> list[dict[str, Any]]:
        """All rows that have these values, oldest first."""
        return [row for row in await self.watched.expectations() if wanted.items() <= row.items()]

    async def idle(self) -> None:
        """Harbor has nothing more to do, and the daemon has counted every execution as ended."""
        await self.harbor.idle()
        wanted = len(self.harbor.executions())

        async def counted() -> bool:
            return await self.watched.metric("syncwatch_executions_total") == wanted

        await until(counted, told=f"{wanted} executions counted")


@contextlib.asynccontextmanager
async def acting(
    tmp_path: Path,
    project: str,
    *,
    policies: Mapping[str, Mapping[str, Any]],
    harbor_settings: Mapping[str, Any] | None = None,
    destination_settings: Mapping[str, Any] | None = None,
    cloud_events: bool = False,
) -> AsyncIterator[Acted]:
    """The daemon watching a lab with these policies to `cluster1`; webhooks come from a project."""
    async with LabHarbor().serving() as harbor, LabRegistry("cluster1").serving() as registry:
        harbor.create_registry("cluster1", registry.url)
        for name, wanted in policies.items():
            harbor.create_policy(name, "cluster1", **wanted)
        user, password = harbor.create_robot("syncwatch")
        account = {"url": harbor.url, "username": user, "password": password}
        config = settings_file(
            tmp_path, account | dict(harbor_settings or {}), destination_settings
        )
        async with running(config) as watched:
            harbor.create_webhook_policy(
                project, watched.webhook_url, auth_header=SECRET, cloud_events=cloud_events
            )
            yield Acted(harbor, registry, watched)


async def seen_in_time(watched: Watched, row: Mapping[str, Any]) -> list[str]:
    """What a row went through, in order: `pending/copying`, `verified` and so on."""
    told = await watched.one(row["id"])
    return [one["what"] for one in told["timeline"]]


@dataclass
class Relay:
    """Stands between Harbor and the daemon: takes each delivery there, and loses some answers."""

    target: str
    lost: int
    taken: list[tuple[bytes, int]] = field(default_factory=list)
    listener: Listener = field(init=False)

    def __post_init__(self) -> None:
        self.listener = Listener(self._application)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Relay]:
        await self.listener.start()
        try:
            yield self
        finally:
            await self.listener.stop()

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/hook", self._take)
        return application

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        kept = {name: request.headers[name] for name in ("Content-Type", "Authorization")}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.target, data=body, headers=kept) as answer,
        ):
            status = answer.status
        before = sum(one == body for one, _ in self.taken)
        self.taken.append((body, 500 if before < self.lost else status))
        return web.Response(status=self.taken[-1][1])
