"""Programs of Debian packages that some tests need."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str) -> str:
    """The program's path; skips the test when it is not installed, fails it under CI=true."""
    found = shutil.which(name)
    if found is not None:
        return found
    reason = f"{name} is not installed (Debian package {name})"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
