"""Real servers for tests: started on free loopback ports, without root, and ended again."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import trustme


def needs(program: str) -> str:
    """Where `program` is. Skips the test where it is missing; under CI=true that is a failure."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if path is None:
        _missing(program)
    return path


def needs_file(path: Path) -> Path:
    """A file of Debian's that is no program, as a module of a server's; else as `needs`."""
    if not path.exists():
        _missing(path.name)
    return path


def _missing(what: str) -> NoReturn:
    words = f"{what} is not installed (a package of Debian's)"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(words)
    pytest.skip(words)


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


async def listening(
    port: int, process: asyncio.subprocess.Process, said: Callable[[], str]
) -> None:
    """Wait until `process` takes connections; what it `said` is the error if it never does."""
    for _ in range(200):
        assert process.returncode is None, said()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return
    raise TimeoutError(said())


def tls_files(authority: trustme.CA, folder: Path, *names: str) -> dict[str, str]:
    """Files with a certificate for `names` and its key, by the words `certificate` and `key`."""
    own = authority.issue_cert(*names)
    certificate, key = folder / "tls.pem", folder / "tls.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in own.cert_chain_pems))
    own.private_key_pem.write_to_path(str(key))
    return {"certificate": str(certificate), "key": str(key)}
