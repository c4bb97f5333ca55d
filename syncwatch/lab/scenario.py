"""The demo: the lab, the real daemon on it, and a table of what the daemon finds out.

The daemon's wiring stands here, as `serve` has it; what is shown comes from its HTTP API alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import aiohttp
import structlog

from syncwatch import __version__
from syncwatch.app import Daemon
from syncwatch.config import load
from syncwatch.lab.board import Board, PlainLines
from syncwatch.lab.screen import Screen
from syncwatch.lab.story import PASSWORD, USER, Lab, Story

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

REFRESH = 0.25
"""Seconds between two looks at what the daemon knows."""
REST_WITHIN = 60.0
"""Seconds that the last pushes have to come to rest."""

DESTINATIONS: dict[str, dict[str, Any]] = {
    "*": {"deadline": "20s", "grace": "1s", "retry_first": "300ms", "retry_longest": "2s"},
    "production": {"username": USER, "password": PASSWORD},
    "edge": {"stale_after": "20s"},
}
"""Short times. What `edge` serves is looked at again every ten seconds, since it loses things."""


async def run_demo(*, pushes: int = 0, listen: str = "127.0.0.1:0") -> None:
    """Show it at work until Ctrl-C or SIGTERM, or until `pushes` pushes have come to rest.

    Raises ConfigError where `listen` cannot be listened on.
    """
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    show = asyncio.create_task(_show(pushes, listen))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({show, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    show.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await show


async def _show(pushes: int, listen: str) -> None:
    board = Board()
    _hear_of_trouble(board.trouble)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="syncwatch-demo-")))
        lab = await stack.enter_async_context(Lab.serving())
        daemon = await stack.enter_async_context(_watching(lab, folder, listen))
        session = await stack.enter_async_context(aiohttp.ClientSession(daemon.url))
        await _until_ready(session)
        story = Story(lab, board.mishap)
        stack.push_async_callback(story.close)
        screen = stack.enter_context(_screen(board, _title(lab, daemon.url)))
        pushing = asyncio.create_task(_push(story, board, pushes))
        stack.callback(pushing.cancel)
        while not (pushing.done() and _over(pushing, board)):
            await _learn(session, board)
            screen.show()
            await asyncio.sleep(REFRESH)
        await _learn(session, board)
        screen.show()


@asynccontextmanager
async def _watching(lab: Lab, folder: Path, listen: str) -> AsyncIterator[Daemon]:
    """The real daemon on this lab, with a robot that may only read."""
    authorization = f"Bearer {secrets.token_urlsafe(16)}"
    username, password = lab.harbor.create_robot("syncwatch")
    urls = {"production": {"url": lab.production.url}}
    document = {
        "harbors": [
            {
                "name": "main",
                "url": lab.harbor.url,
                "username": username,
                "password": password,
                "webhook": {"authorization": authorization},
                "poll_every": "1s",
                "policies_every": "2s",
                # What it finds of the set-up must not outlive the mishaps of the story.
                "doctor_every": "5s",
                "give_up_after": "10s",
                "claim_wait": "2s",
            }
        ],
        "destinations": [
            {"name": name, **urls.get(name, {}), **entry} for name, entry in DESTINATIONS.items()
        ],
        "webhook_listen": "127.0.0.1:0",
        "listen": listen,
        "store": f"sqlite:///{folder}/syncwatch.db",
    }
    file = folder / "syncwatch.yml"
    file.write_text(json.dumps(document, indent=2))  # YAML takes JSON
    async with Daemon(load(file)).running() as daemon:
        lab.tell(f"{daemon.webhook_url}/webhook/main", authorization)
        yield daemon


async def _until_ready(session: aiohttp.ClientSession) -> None:
    """Until the daemon has seen Harbor: what is older than that is nobody's expectation."""
    while True:
        async with session.get("/readyz") as answer:
            if answer.status == 200:
                return
        await asyncio.sleep(0.05)


async def _push(story: Story, board: Board, pushes: int) -> None:
    async for push in story.pushes():
        board.pushed(push)
        if pushes and len(board.pushes) >= pushes:
            return
        await asyncio.sleep(push.pause)


def _over(pushing: asyncio.Task[None], board: Board) -> bool:
    pushing.result()  # raises what the story failed of
    last = board.pushes[-1].at
    return board.at_rest() or time.time() - last > REST_WITHIN


async def _learn(session: aiohttp.ClientSession, board: Board) -> None:
    try:
        told = await _ask(session, "/api/v1/expectations?all=1&limit=300")
        board.learn(told["items"])
        board.status = await _ask(session, "/api/v1/status")
        board.findings = (await _ask(session, "/api/v1/findings?limit=1000"))["items"]
    except (TimeoutError, aiohttp.ClientError) as error:
        board.trouble(f"its API does not answer: {error}")


async def _ask(session: aiohttp.ClientSession, path: str) -> dict[str, Any]:
    async with session.get(path) as answer:
        answer.raise_for_status()
        told: dict[str, Any] = await answer.json()
        return told


def _title(lab: Lab, url: str) -> list[str]:
    return [
        f"syncwatch {__version__} on a simulated Harbor ({lab.harbor.url}) and three registries",
        f"metrics {url}/metrics   API {url}/openapi.json",
        f"page {url}/   Ctrl-C ends it; nothing is kept",
    ]


class _Plain:
    """The board as lines, where there is no terminal to draw on."""

    def __init__(self, board: Board, title: Sequence[str]) -> None:
        self._lines = PlainLines(board)
        self._title = title

    def open(self) -> None:
        self._say(self._title)

    def show(self) -> None:
        self._say(self._lines.fresh())

    def close(self) -> None:
        self._say([*self._lines.fresh(), self._lines.last()])

    def _say(self, lines: Iterable[str]) -> None:
        for line in lines:
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


@contextlib.contextmanager
def _screen(board: Board, title: Sequence[str]) -> Iterator[Screen | _Plain]:
    drawable = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    screen = Screen(board, title) if drawable else _Plain(board, title)
    screen.open()
    try:
        yield screen
    finally:
        screen.close()


class _Trouble:
    """A logger that keeps what the daemon calls an error, and drops the rest."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def msg(self, words: str) -> None:
        self._tell(words)

    error = critical = msg


def _hear_of_trouble(tell: Callable[[str], None]) -> None:
    """Logs would spoil the table; errors are shown in it. Refused looks are no errors here."""
    structlog.configure(
        processors=[structlog.processors.LogfmtRenderer(key_order=["event"])],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=lambda *_: _Trouble(tell),
    )
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: tell(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().handlers[:] = [handler]
