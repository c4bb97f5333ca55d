"""`syncwatch setup` as a script runs it: no terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

PROGRAM = str(Path(sys.executable).with_name("syncwatch"))


@dataclass
class Ended:
    """How the command ended."""

    code: int
    out: str
    err: str


def environment(**variables: str) -> dict[str, str]:
    """That of this process without what concerns us, and these variables."""
    clean = {name: value for name, value in os.environ.items() if "SYNCWATCH" not in name}
    return {**clean, "COLUMNS": "160", **variables}


async def setup(file: Path, *options: str, **variables: str) -> Ended:
    """Run it to its end on a setup file."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "setup",
        str(file),
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(**variables),
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())
