"""Commands run as a person does who has nothing but the alert, or the page: by bash."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from running import Watched


async def by_shell(
    watched: Watched, command: str, token: str = "", *, ends: int = 0, wide: int = 400
) -> str:
    """What a command prints, which `ends` with that code; its tables are so many columns `wide`."""
    known = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SYNCWATCH_URL": watched.daemon.url,
        "SYNCWATCH_TOKEN": token,
        "COLUMNS": str(wide),
    }
    process = await asyncio.create_subprocess_exec(
        "bash",
        *("-c", command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | known,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == ends, f"{command}\n{said.decode()}"
    return said.decode()
