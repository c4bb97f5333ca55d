"""Where the recipes are cooked: the lab, the real daemon, and programs that write down their use.

Their own names hold here too: pods of `cluster1` pull from `registry.cluster1.internal:5000`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from daemon.scene import scene
from servers import needs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from daemon.scene import Scene
    from running import Watched

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"
HOST = "registry.cluster1.internal:5000"
SERVICE = "http://syncwatch.syncwatch.svc:8081"
PIPE = asyncio.subprocess.PIPE


def documents(name: str) -> list[dict[str, Any]]:
    """The YAML documents of a recipe."""
    return list(yaml.safe_load_all((RECIPES / name).read_text(encoding="utf-8")))


@dataclass
class Ran:
    """How a script ended."""

    code: int
    out: str
    err: str


async def ended(process: asyncio.subprocess.Process, text: str = "") -> Ran:
    """How a command ended, after `text` on its standard input; it has a minute."""
    try:
        out, err = await asyncio.wait_for(process.communicate(text.encode()), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


@dataclass
class Kitchen:
    """A scene with its daemon, and a folder with programs that come before the system's."""

    scene: Scene
    watched: Watched
    folder: Path

    @property
    def url(self) -> str:
        return self.watched.daemon.url

    def program(self, name: str, script: str = "") -> None:
        """A program that writes down its arguments, one line a call, and then runs `script`."""
        path = self.folder / "bin" / name
        log = shlex.quote(str(self.folder / f"{name}.log"))
        path.write_text(f'#!/bin/sh\necho "$@" >>{log}\n{script}\n')
        path.chmod(0o755)

    def calls(self, name: str) -> list[str]:
        """The arguments of each call of a program so far."""
        path = self.folder / f"{name}.log"
        return path.read_text().splitlines() if path.exists() else []

    async def begin(self, *command: str, **variables: str) -> asyncio.subprocess.Process:
        """Start a command in the folder, as a runner without any secret of ours would."""
        clean = {name: value for name, value in os.environ.items() if "SYNCWATCH" not in name}
        places = [str(self.folder / "bin"), str(Path(sys.executable).parent), clean["PATH"]]
        path = os.pathsep.join(places)
        shutil.which(command[0], path=path) or needs(command[0])
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=self.folder,
            env={**clean, "SYNCWATCH_URL": self.url, **variables, "PATH": path},
        )

    async def run(self, *command: str, text: str = "", **variables: str) -> Ran:
        """Run a command to its end."""
        return await ended(await self.begin(*command, **variables), text)

    async def script(self, name: str, *arguments: str, **variables: str) -> Ran:
        """Run a recipe that is a shell script."""
        return await self.run("sh", str(RECIPES / name), *arguments, **variables)


@contextlib.asynccontextmanager
async def kitchen(folder: Path, **top: Any) -> AsyncIterator[Kitchen]:
    """A kitchen for the length of a `with` block; nothing is copied before `resume_queue`."""
    entry = {"name": "cluster1", "pull_host": HOST}
    async with scene(folder, more_destinations=[entry], **top) as one, one.watched() as watched:
        one.harbor.pause_queue()
        (folder / "bin").mkdir()
        yield Kitchen(one, watched, folder)
