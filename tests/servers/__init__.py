"""Real servers for tests: started on free loopback ports, without root, and ended again."""

from __future__ import annotations

import os
import shutil
import socket

import pytest


def needs(program: str) -> str:
    """Where `program` is. Skips the test where it is missing; under CI=true that is a failure."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if path is not None:
        return path
    words = f"{program} is not installed (a package of Debian's)"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(words)
    pytest.skip(words)


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
