"""What the lab's tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest_asyncio
from lab_receiver import Receiver
from lab_replay import COMPARED

from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    taking = Receiver()
    await taking.listener.start()
    yield taking
    await taking.listener.stop()


@pytest_asyncio.fixture
async def harbor() -> AsyncIterator[LabHarbor]:
    async with LabHarbor().serving() as running:
        yield running


@pytest_asyncio.fixture
async def registry() -> AsyncIterator[LabRegistry]:
    async with LabRegistry("cluster1").serving() as running:
        yield running


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COMPARED] = {"calls": 0, "webhooks": 0, "recordings": 0}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    found = config.stash[COMPARED]
    if found["recordings"]:
        terminalreporter.write_line(
            f"compared with the recorded Harbor: {found['calls']} calls and "
            f"{found['webhooks']} webhooks of {found['recordings']} recordings"
        )
