"""On a terminal: it asks before it does anything, and Ctrl-C tells what was done."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from setup_program import PROGRAM, environment
from test_setup_round_trip import everything

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from setup_ground import Ground


@asynccontextmanager
async def terminal() -> AsyncIterator[tuple[int, int, list[bytes]]]:
    """(our end, the program's end, what it wrote)."""
    ours, theirs = pty.openpty()
    written: list[bytes] = []
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: written.append(os.read(ours, 65536)))
    try:
        yield ours, theirs, written
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)


async def answered(path: Path, answer: bytes) -> tuple[int, str]:
    """Run it on a terminal, answer its question; the exit code, and what was shown."""
    async with terminal() as (ours, theirs, written):
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            "setup",
            str(path),
            stdin=theirs,
            stdout=theirs,
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
        )
        assert process.stderr is not None
        await asyncio.wait_for(process.stderr.readuntil(b"changes?"), 20)
        os.write(ours, answer)
        _, rest = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode is not None
        return process.returncode, b"".join(written).decode() + rest.decode()


@pytest.mark.parametrize(("answer", "code", "rules"), [(b"n\n", 3, 0), (b"y\n", 0, 1)])
async def test_it_asks_after_the_difference_was_shown(
    ground: Ground, answer: bytes, code: int, rules: int
) -> None:
    ended, shown = await answered(ground.write(**everything(ground)), answer)
    assert "to-cluster1" in shown
    assert ended == code
    assert len(ground.harbor.world.policies) == rules


async def test_ctrl_c_tells_what_was_done_and_what_was_not(ground: Ground) -> None:
    ground.relay.held = "/webhook/"
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "setup",
        str(ground.write(**everything(ground))),
        "--yes",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    await asyncio.wait_for(ground.relay.reached.wait(), 20)
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 4
    assert b"done: create rule to-cluster1" in out
    assert b"not done: create robot syncwatch" in out
    assert b"interrupted" in err
