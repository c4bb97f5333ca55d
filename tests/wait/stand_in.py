"""A daemon that answers at the gate as the contract says, one answer after the other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from test_cli import SYNCWATCH, Ended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from multidict import MultiMapping

PIPE = asyncio.subprocess.PIPE
DIGEST = "sha256:" + "ab" * 32
WEB = "apps/web:1.4.0"

STATES: dict[int, tuple[str | None, str | None]] = {
    200: ("verified", None),
    404: (None, None),
    409: ("pending", "copying"),
    422: ("failed", "missing"),
    503: ("unknown", "unreachable"),
}


def told(image: str, status: int, *destinations: str) -> dict[str, Any]:
    """An answer of the gate; each destination says the same."""
    state, reason = STATES[status]
    message = f"This is what a {status} says."
    digest = None if status == 404 else DIGEST
    repository = image.partition("/")[2].partition(":")[0].partition("@")[0]
    there = [
        {
            "destination": name,
            "status": status,
            "state": state,
            "reason": reason,
            "message": message,
            "digest": digest,
            "level": "matched" if status == 200 else None,
            "observed_at": "2026-11-24T02:00:00.000Z",
            "repository": repository,
            "pull": f"{name}.internal/{repository}@{digest}" if status == 200 else None,
        }
        for name in destinations or ("cluster1",)
    ]
    common = {"image": image, "digest": digest, "status": status, "usable": status == 200}
    return common | {"state": state, "reason": reason, "message": message, "destinations": there}


@dataclass
class Gate:
    """`script` has the statuses for an image in turn, the last of them for ever; 200 for others.

    A status is answered after the `wait` asked for where it is held on, unless `quick`; `open_gate`
    set answers all who wait. `raw` is sent in place of any answer.
    """

    script: dict[str, list[int]] = field(default_factory=dict)
    destinations: tuple[str, ...] = ("cluster1",)
    quick: bool = False
    retry_after: str = "1"
    raw: tuple[int, str] | None = None
    token: str = ""
    asked: list[MultiMapping[str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    open_gate: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    @property
    def counts(self) -> Counter[str]:
        return Counter(query["image"] for query in self.asked)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.query)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._answer(request)
        finally:
            self.at_once -= 1

    async def _answer(self, request: web.Request) -> web.Response:
        if self.raw is not None:
            return web.Response(status=self.raw[0], text=self.raw[1])
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            error = {"code": "unauthorized", "message": "Send the token."}
            return web.json_response({"error": error}, status=401)
        image = request.query["image"]
        rest = self.script.get(image, [200])
        status = rest.pop(0) if len(rest) > 1 else rest[0]
        wait = float(request.query.get("wait", "0s").removesuffix("s"))
        if status in (409, 503) and wait and not self.quick:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.open_gate.wait(), wait)
                status = 200
        headers = {"Retry-After": self.retry_after} if status in (409, 503) else {}
        body = told(image, status, *self.destinations)
        return web.json_response(body, status=status, headers=headers)


@contextlib.asynccontextmanager
async def standing_in(port: int = 0, **settings: Any) -> AsyncIterator[Gate]:
    """A stand-in on a free port of loopback."""
    gate = Gate(**settings)
    app = web.Application()
    app.router.add_get("/api/v1/gate", gate.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        gate.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield gate
    finally:
        gate.open_gate.set()
        await runner.cleanup()


@dataclass
class Waiting:
    """A `syncwatch wait` under way."""

    process: asyncio.subprocess.Process
    began: float

    async def ended(self, text: str = "") -> Ended:
        """How it ended, after `text` on its standard input."""
        try:
            out, err = await asyncio.wait_for(self.process.communicate(text.encode()), 30)
        finally:
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()
        assert self.process.returncode is not None
        return Ended(self.process.returncode, out.decode(), err.decode())

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(number)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


async def start(url: str, *arguments: str, **variables: str) -> Waiting:
    """Begin `syncwatch wait` with these arguments."""
    clean = {name: value for name, value in os.environ.items() if "SYNCWATCH" not in name}
    environment: Mapping[str, str] = {**clean, "COLUMNS": "120", "SYNCWATCH_URL": url, **variables}
    process = await asyncio.create_subprocess_exec(
        SYNCWATCH, "wait", *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment
    )
    return Waiting(process, time.monotonic())


async def wait(url: str, *arguments: str, text: str = "", **variables: str) -> Ended:
    """Run `syncwatch wait` to its end."""
    return await (await start(url, *arguments, **variables)).ended(text)
