"""`syncwatch serve` as a process of its own, which may be killed."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml

from servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


@dataclass
class Served:
    """A daemon that was started with a configuration whose ports it keeps over restarts."""

    config: Path
    log: Path
    webhooks: str
    url: str
    process: asyncio.subprocess.Process | None = None
    session: aiohttp.ClientSession | None = None

    @property
    def webhook_url(self) -> str:
        return self.webhooks + "/webhook/main"

    async def start(self) -> None:
        """Start it and wait until it takes webhooks."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                str(Path(sys.executable).with_name("syncwatch")),
                "serve",
                "-c",
                str(self.config),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        end = time.monotonic() + 20
        while not await self._answers():
            assert self.process.returncode is None, self.said()
            assert time.monotonic() < end, self.said()
            await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """Ask it to end; its exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), 20)

    def said(self) -> str:
        """All that it wrote to standard output and error."""
        return self.log.read_text(errors="replace")

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> str:
        """The text of an answer of the API, whatever its status."""
        assert self.session is not None
        async with self.session.get(self.url + path, headers=headers) as answer:
            return await answer.text()

    async def send(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Deliver a webhook; the status. Raises aiohttp.ClientError when nobody answers."""
        assert self.session is not None
        async with self.session.post(
            self.webhook_url, data=io.BytesIO(body), headers=headers
        ) as answer:
            await answer.read()
            return answer.status

    async def _answers(self) -> bool:
        assert self.session is not None
        for site in (self.webhooks, self.url):
            try:
                async with self.session.get(site + "/healthz") as answer:
                    if answer.status != 200:
                        return False
            except aiohttp.ClientError:
                return False
        return True


@asynccontextmanager
async def served(config: Path) -> AsyncIterator[Served]:
    """`syncwatch serve` on a configuration, on ports of its own, for the length of a block."""
    webhooks, reports = free_port(), free_port()
    _set_ports(config, webhooks, reports)
    addresses = (f"http://127.0.0.1:{webhooks}", f"http://127.0.0.1:{reports}")
    one = Served(config, config.with_suffix(".log"), *addresses)
    async with aiohttp.ClientSession() as one.session:
        await one.start()
        try:
            yield one
            await one.stop()
        finally:
            await one.kill()


def _set_ports(config: Path, webhooks: int, reports: int) -> None:
    document: dict[str, Any] = yaml.safe_load(config.read_text())
    document["webhook_listen"] = f"127.0.0.1:{webhooks}"
    document["listen"] = f"127.0.0.1:{reports}"
    config.write_text(yaml.safe_dump(document))
