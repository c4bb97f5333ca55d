"""The demo as people start it, without a terminal: lines, a first image soon, a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from running import until

from syncwatch.lab.board import Board, PlainLines, Pushed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SYNCWATCH = str(Path(sys.executable).with_name("syncwatch"))
FIRST_WITHIN = 30.0
GONE_WITHIN = 5.0
"""Two seconds on a machine that is not busy."""


class Demo:
    """A running demo. `lines` is what it has said so far; `folder` is its TMPDIR."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.lines: list[str] = []

    async def line(self, pattern: str, within: float = FIRST_WITHIN) -> str:
        """The next line that has the pattern."""
        async with asyncio.timeout(within):
            while True:
                line = await self._next()
                if re.search(pattern, line):
                    return line

    async def rest(self, within: float) -> int:
        """Everything until it ends; its exit code."""
        async with asyncio.timeout(within):
            with contextlib.suppress(EOFError):
                while True:
                    await self._next()
            return await self.process.wait()

    async def _next(self) -> str:
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode()
        if not line:
            raise EOFError("".join(self.lines))
        self.lines.append(line)
        return line


@contextlib.asynccontextmanager
async def demo(folder: Path, *options: str) -> AsyncIterator[Demo]:
    process = await asyncio.create_subprocess_exec(
        SYNCWATCH,
        "demo",
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    try:
        yield Demo(process, folder)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def left(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(one.name for one in folder.iterdir())


async def test_the_first_image_is_verified_soon_and_its_metrics_are_where_it_says(
    tmp_path: Path,
) -> None:
    started = time.monotonic()
    async with demo(tmp_path) as shown:
        told = await shown.line(r"metrics http://127\.0\.0\.1:\d+/metrics")
        url = told.split()[1]
        await shown.line(r"pushed +apps/web:1\.0")
        await shown.line(r"verified +apps/web:1\.0 at \w+ as apps/web:1\.0 after \d+\.\d s")
        assert time.monotonic() - started < FIRST_WITHIN
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert "syncwatch_expectations{" in await answer.text()
        shown.process.send_signal(signal.SIGINT)
        assert await shown.rest(GONE_WITHIN) == 0


@pytest.mark.slow
async def test_what_harbor_says_of_an_endpoint_is_over_soon_after_its_password_is_back(
    tmp_path: Path,
) -> None:
    async with demo(tmp_path) as shown, aiohttp.ClientSession() as session:
        told = await shown.line(r"metrics http://127\.0\.0\.1:\d+/metrics")
        url = told.split()[1].replace("/metrics", "/api/v1/findings?limit=1000")

        async def is_found() -> bool:
            async with session.get(url) as answer:
                items = (await answer.json())["items"]
            names = {(one["finding"], one["subject"].split(": ")[-1]) for one in items}
            return ("endpoint_unhealthy", "production") in names

        await shown.line("production no longer accepts its password", within=90)
        await until(is_found)
        await shown.line("production accepts its password", within=60)

        async def is_over() -> bool:
            return not await is_found()

        await until(is_over)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_it_well_and_nothing_is_left(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with demo(tmp_path) as shown:
        await shown.line("pushed")
        assert [name for name in left(tmp_path) if name.startswith("syncwatch-demo-")]
        shown.process.send_signal(number)
        assert await shown.rest(GONE_WITHIN) == 0
        assert "Traceback" not in "".join(shown.lines)
        assert left(tmp_path) == []


async def test_it_ends_by_itself_after_so_many_pushes(tmp_path: Path) -> None:
    async with demo(tmp_path, "--pushes", "2") as shown:
        assert await shown.rest(60) == 0
        assert sum(" pushed " in line for line in shown.lines) == 2
        assert shown.lines[-1] == "2 pushes: 4 verified\n"
        assert "\x1b" not in "".join(shown.lines)


async def test_an_address_that_is_taken_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    async with server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with demo(tmp_path, "--listen", address) as shown:
            assert await shown.rest(FIRST_WITHIN) == 2
            assert [line for line in shown.lines if address.split(":")[1] in line]
            assert "Traceback" not in "".join(shown.lines)


def _row(**values: object) -> dict[str, object]:
    row: dict[str, object] = {
        "id": "1",
        "source_repository": "apps/web",
        "reference": "1.0",
        "digest": "sha256:" + "a" * 64,
        "destination": "production",
        "repository": "apps/web",
        "state": "pending",
        "reason": "waiting",
        "message": "",
        "overdue": False,
        "expected_at": "2026-11-23T10:00:00.000Z",
        "verified_at": None,
    }
    return row | values


def test_a_plain_line_is_said_once_for_each_change_with_the_reason_and_the_message() -> None:
    board = Board()
    lines = PlainLines(board)
    digest = "sha256:" + "a" * 64
    board.pushed(Pushed(0.0, "apps/web", "1.0", digest, "image"))
    board.learn([_row()])
    assert len(list(lines.fresh())) == 2
    board.learn([_row()])
    assert list(lines.fresh()) == []
    message = f"apps/web:1.0 at production still names sha256:{'b' * 64}."
    board.learn([_row(state="failed", reason="not_overridden", message=message, overdue=True)])
    (line,) = lines.fresh()
    assert line.endswith(
        "failed    apps/web:1.0 at production as apps/web:1.0: not_overridden (overdue): "
        "apps/web:1.0 at production still names sha256:bbbbbbbb…."
    )
    assert board.at_rest()
    board.learn([_row(state="verified", reason=None, verified_at="2026-11-23T10:00:01.500Z")])
    (line,) = lines.fresh()
    assert line.endswith("verified  apps/web:1.0 at production as apps/web:1.0 after 1.5 s")
