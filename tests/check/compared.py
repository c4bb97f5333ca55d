"""A comparison in this process, or the command as people run it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syncwatch.check.comparing import Comparison, Tally
from syncwatch.check.looking import Manner
from syncwatch.check.scope import Scope
from syncwatch.config import load
from syncwatch.reference import parse
from syncwatch.runtime import Clock

if TYPE_CHECKING:
    from syncwatch.check.judging import Outcome

SYNCWATCH = str(Path(sys.executable).with_name("syncwatch"))
PIPE = asyncio.subprocess.PIPE


@dataclass
class Compared:
    """What came of it."""

    rows: list[Outcome]
    tally: Tally

    @property
    def code(self) -> int:
        return self.tally.exit_code

    @property
    def states(self) -> dict[str | None, str]:
        """`state` or `state: reason` of each image; for one destination."""
        return {
            row.image: f"{row.state}: {row.reason}" if row.reason else str(row.state)
            for row in self.rows
        }

    @property
    def images(self) -> list[str]:
        return sorted(str(row.image) for row in self.rows)

    def row(self, image: str) -> Outcome:
        return next(row for row in self.rows if row.image == image)


async def compared(
    config: Path, *references: str, manner: Manner | None = None, **scope: tuple[str, ...]
) -> Compared:
    """Run it to its end."""
    comparison, rows = comparison_of(config, *references, manner=manner, **scope)
    await comparison.run()
    return Compared(rows, comparison.tally)


def comparison_of(
    config: Path, *references: str, manner: Manner | None = None, **scope: Any
) -> tuple[Comparison, list[Outcome]]:
    """One that has not begun, and the list that its outcomes go to."""
    rows: list[Outcome] = []
    asked = Scope(references=tuple(map(parse, references)), **scope)
    settings = load(config, serving=False)
    comparison = Comparison(settings, asked, manner or Manner(), clock=Clock(), tell=rows.append)
    return comparison, rows


@dataclass
class Ended:
    """How the command ended."""

    code: int
    out: str
    err: str


async def start(config: Path, *arguments: str) -> asyncio.subprocess.Process:
    """Begin `syncwatch check` in the configuration's directory."""
    clean = {name: value for name, value in os.environ.items() if "SYNCWATCH" not in name}
    return await asyncio.create_subprocess_exec(
        SYNCWATCH,
        "check",
        "-c",
        str(config),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env={**clean, "COLUMNS": "160"},
        cwd=config.parent,
    )


async def ended(process: asyncio.subprocess.Process) -> Ended:
    """Wait for its end."""
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def check(config: Path, *arguments: str) -> Ended:
    """`syncwatch check` to its end."""
    return await ended(await start(config, *arguments))


def counted(rows: list[Outcome]) -> Counter[str]:
    """How many rows have each state."""
    return Counter(str(row.state) for row in rows)
