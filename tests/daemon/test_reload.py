"""The configuration read again, also while the store is away, and a store that comes back."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest
import yaml
from running import SECRET, until
from scene import scene
from servers.postgresql import postgresql

from syncwatch.runtime import Clock, Pulse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from running import Watched

HEADERS = {"Authorization": SECRET, "Content-Type": "application/json"}


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else holds the file: nothing can be written to it."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("begin immediate")
    try:
        yield
    finally:
        connection.rollback()
        connection.close()


async def webhook(watched: Watched) -> int:
    """Deliver something of which nothing is expected; the status."""
    data = {"repository": {"repo_full_name": "elsewhere/image"}, "resources": []}
    body = {"type": "PUSH_ARTIFACT", "occur_at": 1, "event_data": data}
    async with watched.session.post(watched.webhook_url, json=body, headers=HEADERS) as answer:
        return answer.status


async def readiness(watched: Watched) -> int:
    async with watched.session.get(watched.daemon.url + "/readyz") as answer:
        return answer.status


async def told_unwritable(watched: Watched) -> float | None:
    return await watched.metric("syncwatch_findings", finding="store_unwritable")


async def healed(watched: Watched) -> bool:
    """Nobody is told any more that the store cannot be written."""
    return await readiness(watched) == 200 and await told_unwritable(watched) is None


@pytest.mark.real
async def test_a_reload_while_postgresql_is_away_heals_by_itself_and_so_does_its_trouble(
    tmp_path: Path,
) -> None:
    async with (
        postgresql() as server,
        scene(tmp_path, store=server.url, lease="600ms") as stage,
        stage.watched() as watched,
    ):
        # Politely: a crash would lose what this server, which is not durable, took just now.
        await server.stop("fast")
        assert await watched.daemon.reload()
        # Harbor's balancer sends no second one to a daemon that is not ready.
        assert await webhook(watched) == 503
        await server.start()
        assert await told_unwritable(watched) == 1
        await until(lambda: healed(watched), within=8)
        stage.push("after")
        await watched.row(reference="after", state="verified", within=8)


@pytest.mark.real
async def test_while_postgresql_hangs_it_is_told_soon(tmp_path: Path) -> None:
    async with (
        postgresql() as server,
        scene(tmp_path, store=server.url) as stage,
        stage.watched() as watched,
    ):

        async def up() -> bool:
            return await watched.metric("syncwatch_harbor_up") == 1

        await until(up)
        with server.hanging():
            ready, text = await asyncio.gather(readiness(watched), watched.metrics_text())
        assert ready == 503
        assert 'syncwatch_harbor_up{harbor="main"} 1.0' in text
        assert "store_unwritable" in text
        await until(lambda: healed(watched), within=8)


async def test_the_finding_of_a_broken_file_goes_with_it_whatever_harbor_comes_first_then(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        good = stage.config.read_text()
        stage.config.write_text(good + "nonsense: 1\n")
        assert not await watched.daemon.reload()

        async def found() -> bool:
            return "config_invalid" in await watched.finding_names()

        async def gone() -> bool:
            return not await found()

        await until(found)
        document = yaml.safe_load(good)
        another = document["harbors"][0] | {"name": "another"}
        document["harbors"].insert(0, another)
        stage.config.write_text(yaml.safe_dump(document))
        assert await watched.daemon.reload()
        await until(gone)


async def test_a_broken_file_met_while_the_store_is_away_is_found_afterwards(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.config.write_text(stage.config.read_text() + "nonsense: 1\n")
        with locked(tmp_path / "syncwatch.db"):
            assert not await asyncio.wait_for(watched.daemon.reload(), 2)

        async def found() -> bool:
            return "config_invalid" in await watched.finding_names()

        await until(found)


class _Stopped(Clock):
    def __init__(self) -> None:
        self.time = 0

    def now(self) -> int:
        return self.time


def test_where_no_loop_lives_something_is_dead_but_not_in_the_moment_of_a_reload() -> None:
    clock = _Stopped()
    pulse = Pulse(clock)
    pulse.beat("plan main")
    clock.time = 50
    pulse.end("plan main")
    clock.time = 140
    assert pulse.dead(100) == []
    clock.time = 151
    assert pulse.dead(100) == ["all"]
    pulse.beat("plan main")
    assert pulse.dead(100) == []


async def test_what_is_paused_is_shown_so_all_through_a_reload(tmp_path: Path) -> None:
    paused = {"pause_until": "2999-01-01T00:00:00Z"}
    async with (
        scene(tmp_path, destination=paused) as stage,
        stage.watched() as watched,
    ):
        shown: list[float | None] = []

        async def asked() -> bool:
            return await watched.metric("syncwatch_destination_paused") == 1

        await until(asked)
        reloading = asyncio.create_task(watched.daemon.reload())
        while not reloading.done():
            shown.append(await watched.metric("syncwatch_destination_paused"))
        assert await reloading
        await until(asked)
        assert set(shown) == {1.0}
