"""A PostgreSQL of Debian's for the length of a `with` block, with its own settings (durable)."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_USER = "syncwatch"


def binaries() -> Path | None:
    """The directory of initdb and postgres; None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextmanager
def postgresql() -> Iterator[str]:
    """The store URL of a new database on loopback. PostgreSQL does not run as root."""
    where = binaries()
    if where is None:
        raise RuntimeError("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="syncwatch-postgres-"))
    account = "postgres" if os.geteuid() == 0 else None
    if account:
        os.chown(folder, pwd.getpwnam(account).pw_uid, -1)
    data, port = folder / "data", _free_port()
    subprocess.run(
        [where / "initdb", "-D", data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C"],
        check=True,
        stdout=subprocess.DEVNULL,
        user=account,
        cwd=folder,
    )
    server = subprocess.Popen(
        [where / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1"],
        stderr=subprocess.DEVNULL,
        user=account,
        cwd=folder,
    )
    try:
        _wait_for(port)
        yield f"postgresql://{_USER}@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            time.sleep(0.3)  # it listens a moment before it takes sessions
            return
    raise TimeoutError("PostgreSQL does not listen")
