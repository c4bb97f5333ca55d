"""`syncwatch setup` as a script runs it: no terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Ended:
    """How the command ended."""

    code: int
    out: str
    err: str


async def setup(file: Path, *options: str, **variables: str) -> Ended:
    """Run it to its end on a setup file."""
    clean = {name: value for name, value in os.environ.items() if "SYNCWATCH" not in name}
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("syncwatch")),
        "setup",
        str(file),
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**clean, "COLUMNS": "160", **variables},
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())
