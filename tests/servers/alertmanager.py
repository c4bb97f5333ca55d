"""Debian's Alertmanager, and a receiver of ours that keeps what it is sent."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml
from aiohttp import web
from running import until

from servers import free_port, listening, needs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Message:
    """One notification: to which receiver, when (Unix time), and what Alertmanager sent."""

    receiver: str
    at: float
    body: dict[str, Any]

    def alerts(self, status: str) -> list[dict[str, Any]]:
        """Those of it that are `firing` or `resolved`."""
        return [one for one in self.body["alerts"] if one["status"] == status]


@dataclass
class Receiver:
    """Takes POST /{receiver} for every receiver of a configuration."""

    url: str
    messages: list[Message] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        receiver = request.match_info["receiver"]
        self.messages.append(Message(receiver, time.time(), await request.json()))
        return web.Response()

    def told(self, receiver: str, status: str = "firing") -> set[str]:
        """The names of all alerts that a receiver was told of."""
        return {
            alert["labels"]["alertname"]
            for message in self.messages
            if message.receiver == receiver
            for alert in message.alerts(status)
        }

    def first(self, name: str, status: str) -> tuple[Message, dict[str, Any]] | None:
        """The first message that tells of an alert, and the alert in it."""
        for message in self.messages:
            for alert in message.alerts(status):
                if alert["labels"]["alertname"] == name:
                    return message, alert
        return None

    async def got(
        self, name: str, status: str = "firing", within: float = 30
    ) -> tuple[Message, dict[str, Any]]:
        """The same, waited for."""

        async def it() -> tuple[Message, dict[str, Any]] | None:
            return self.first(name, status)

        found: tuple[Message, dict[str, Any]] = await until(it, within, f"{name} {status}")
        return found


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver, for the length of a `with` block."""
    receiver = Receiver(f"http://127.0.0.1:{(port := free_port())}")
    app = web.Application()
    app.router.add_post("/{receiver}", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield receiver
    finally:
        await runner.cleanup()


@dataclass
class Alertmanager:
    """A running Alertmanager; `host` is its host:port, as Prometheus wants it."""

    url: str
    host: str
    session: aiohttp.ClientSession

    async def post(self, *alerts: Mapping[str, str]) -> None:
        """Alerts with these labels fire from now on, as if a Prometheus said so."""
        body = [{"labels": dict(one)} for one in alerts]
        async with self.session.post(f"{self.url}/api/v2/alerts", json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def states(self) -> dict[str, str]:
        """`active` or `suppressed` for each alert, by its name."""
        async with self.session.get(f"{self.url}/api/v2/alerts") as answer:
            told = await answer.json()
        return {one["labels"]["alertname"]: one["status"]["state"] for one in told}


def quick(example: Path, receiver: Receiver) -> dict[str, Any]:
    """An example configuration with our receiver for all of its own, and its waits cut to 1 s."""
    settings: dict[str, Any] = yaml.safe_load(example.read_text())
    for one in settings["receivers"]:
        for hook in one["webhook_configs"]:
            hook["url"] = f"{receiver.url}/{one['name']}"
    root = settings["route"]
    for route in (root, *root["routes"]):
        route.update({k: "1s" for k in ("group_wait", "group_interval") if k in route})
    return settings


@asynccontextmanager
async def alertmanager(directory: Path, settings: Mapping[str, Any]) -> AsyncIterator[Alertmanager]:
    """Alertmanager with this configuration, for the length of a `with` block."""
    program, port = needs("prometheus-alertmanager"), free_port()
    folder = directory / f"alertmanager-{port}"
    folder.mkdir(parents=True)
    config = folder / "alertmanager.yml"
    config.write_text(yaml.safe_dump(dict(settings)))
    log = folder / "log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={config}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        await listening(port, process, log.read_text)
        async with aiohttp.ClientSession() as session:
            host = f"127.0.0.1:{port}"
            yield Alertmanager(f"http://{host}", host, session)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
