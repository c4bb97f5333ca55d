"""Debian's PostgreSQL: a cluster of its own in a directory, that may be stopped and started."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import tempfile
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from servers import free_port, needs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

USER, PASSWORD, DATABASE = "syncwatch", "of this test", "syncwatch"

_NOT_DURABLE = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
"""A test's cluster needs to survive a stop of the server, never one of the machine."""


@dataclass
class PostgreSQL:
    """A server on a loopback port. `start` and `stop` may be called again and again."""

    programs: Path
    folder: Path
    port: int
    as_user: tuple[str, ...]

    @property
    def url(self) -> str:
        """For `store:`, without a password: the server trusts its own machine."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{DATABASE}"

    async def start(self) -> None:
        """Take connections."""
        options = [
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.folder}",
        ]
        arguments = " ".join(f"-c {one}" for one in (*options, *_NOT_DURABLE))
        await self.do(
            "pg_ctl",
            "-w",
            "-D",
            str(self.folder / "data"),
            "-l",
            str(self.folder / "log"),
            "-o",
            arguments,
            "start",
        )

    async def stop(self, mode: str = "immediate") -> None:
        """Drop all connections, as a crash (`immediate`) or politely (`fast`)."""
        await self.do("pg_ctl", "-w", "-D", str(self.folder / "data"), "-m", mode, "stop")

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """The server and all that serve a connection stand still, for the length of a block."""
        main = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        every = [main, *map(int, children)]
        for pid in every:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in every:
                os.kill(pid, signal.SIGCONT)

    async def fresh(self, name: str) -> str:
        """A new empty database; its URL."""
        await self.do("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, name)
        return self.url.removesuffix(DATABASE) + name

    async def do(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs to its end."""
        process = await asyncio.create_subprocess_exec(
            *self.as_user,
            str(self.programs / program),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd="/",
        )
        # pg_ctl's child keeps the pipe open: what it says is read only up to its own end.
        if program == "pg_ctl":
            assert await process.wait() == 0, (self.folder / "log").read_text()
            process._transport.close()  # type: ignore[attr-defined]
            return
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()


def _programs() -> Path:
    """Where initdb and the server are: Debian keeps them out of the path."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    return homes[0].parent if homes else Path(needs("initdb")).parent


def _as_user() -> tuple[str, ...]:
    """The server refuses to run as root: then it runs as Debian's user `postgres`."""
    if os.geteuid() != 0:
        return ()
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("PostgreSQL refuses root, and there is no user postgres")
    return (needs("runuser"), "-u", "postgres", "--")


@asynccontextmanager
async def postgresql() -> AsyncIterator[PostgreSQL]:
    """A fresh server with an empty database, for the length of a `with` block."""
    programs, as_user = _programs(), _as_user()
    # Not under pytest's own directory, which only root may enter.
    folder = Path(tempfile.mkdtemp(prefix="syncwatch-postgresql-"))
    if as_user:
        shutil.chown(folder, "postgres")
    server = PostgreSQL(programs, folder, free_port(), as_user)
    try:
        data = str(folder / "data")
        await server.do("initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        await server.start()
        try:
            await server.fresh(DATABASE)
            yield server
        finally:
            await server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
