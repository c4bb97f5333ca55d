"""The ground of every test here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from setup_ground import Ground, standing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    """A lab Harbor and a registry that wants a login."""
    async with standing(tmp_path) as found:
        yield found
