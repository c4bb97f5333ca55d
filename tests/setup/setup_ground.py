"""A lab Harbor behind a relay that remembers each request, and the command on a setup file."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import ClientSession, DummyCookieJar, web

from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry
from syncwatch.setup.applying import Outcome, apply
from syncwatch.setup.looking import look
from syncwatch.setup.planning import plan
from syncwatch.setup.reading import Daemon, connected, load_setup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from syncwatch.setup.changes import Plan

USER, PASSWORD = "pusher", "push-p4ssw0rd"
LOGIN = {"access_id": USER, "access_secret": PASSWORD}
PASSED_ON = ("Authorization", "Content-Type", "X-Is-Resource-Name", "Accept")


@dataclass
class Relay:
    """Passes everything on to `target`; `sent` has each (method, path, body) that changes, before
    `lost` takes the place of some of a PUT's fields."""

    target: str = ""
    url: str = ""
    sent: list[tuple[str, str, Any]] = field(default_factory=list)
    broken: str = ""
    held: str = ""
    lost: dict[str, Any] = field(default_factory=dict)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def pass_on(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.method != "GET":
            path = request.path.removeprefix("/api/v2.0")
            self.sent.append((request.method, path, json.loads(body) if body else None))
            if self.lost and request.method == "PUT":
                body = json.dumps(json.loads(body) | self.lost).encode()
            if self.broken and self.broken in path and request.method != "DELETE":
                return web.Response(status=502)
            if self.held and self.held in path:
                self.reached.set()
                await asyncio.Event().wait()
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        async with (
            ClientSession(cookie_jar=DummyCookieJar()) as session,
            session.request(
                request.method, self.target + request.raw_path, data=body, headers=headers
            ) as answer,
        ):
            kept = {name: answer.headers[name] for name in ("Location",) if name in answer.headers}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    @property
    def writes(self) -> list[tuple[str, str, Any]]:
        """What was sent beside connection tests."""
        return [one for one in self.sent if not one[1].endswith("/ping")]


@dataclass
class Ground:
    """A Harbor with projects `apps` and `library`, two registries to point it at."""

    harbor: LabHarbor
    registry: LabRegistry
    relay: Relay
    directory: Path

    def write(self, **sections: Any) -> Path:
        """A setup file for this Harbor."""
        secret = self.directory / "admin"
        secret.write_text(self.harbor.password)
        own = {"url": self.relay.url, "username": "admin", "password_file": str(secret)}
        path = self.directory / "setup.yml"
        path.write_text(yaml.safe_dump({"harbor": own, **sections}, sort_keys=False))
        return path

    def endpoint(self, **fields: Any) -> dict[str, Any]:
        """A registry section that works."""
        url = {"url": self.registry.url}
        return {"name": "cluster1", "provider": "docker-registry", **url, **fields}

    async def planned(self, path: Path, *, daemon: Daemon | None = None, **how: bool) -> Plan:
        """What would be done. Raises ConfigError."""
        loaded = load_setup(path)
        assert loaded.value.harbor is not None
        async with connected(loaded.value.harbor, None) as writer:
            present = await look(writer, loaded.value, prune=how.get("prune", False))
        return plan(loaded, present, daemon or Daemon(), **how)

    async def applied(self, path: Path, *, daemon: Daemon | None = None, **how: bool) -> Outcome:
        """Everything done, and how it ended."""
        return await self.apply(path, await self.planned(path, daemon=daemon, **how))

    async def apply(self, path: Path, plan: Plan) -> Outcome:
        """A plan done, and how it ended."""
        section = load_setup(path).value.harbor
        assert section is not None
        async with connected(section, None) as writer:
            return await apply(writer, plan)

    def secret_of(self, name: str) -> str:
        """The secret that Harbor has stored for a registry."""
        rows = self.harbor.world.registries.values()
        return next(row.access_secret for row in rows if row.name == name)


@asynccontextmanager
async def standing(directory: Path, **options: Any) -> AsyncIterator[Ground]:
    """The ground, for the length of a `with` block."""
    relay = Relay()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", relay.pass_on)
    runner = web.AppRunner(
        application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
    )
    async with (
        LabHarbor(**options).serving() as harbor,
        LabRegistry(users={USER: PASSWORD}).serving() as registry,
    ):
        harbor.create_project("apps")
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        relay.target, relay.url = harbor.url, f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield Ground(harbor, registry, relay, directory)
        finally:
            await runner.cleanup()
