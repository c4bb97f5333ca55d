"""The ground of every test here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme
from setup_ground import Ground, standing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    """A lab Harbor and a registry that wants a login."""
    async with standing(tmp_path) as found:
        yield found


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A private authority of certificates."""
    return trustme.CA()
