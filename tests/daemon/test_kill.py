"""The daemon dies at any moment, and nothing that it acknowledged is lost or counted twice."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import time
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import psycopg
import pytest
from running import SECRET, until
from scene import POLICY, Scene, scene
from servers.daemon import Served, served
from servers.postgresql import postgresql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KILLS = 10
HEADERS = {"Authorization": SECRET, "Content-Type": "application/json"}


def own_delivery(number: int) -> bytes:
    """A webhook that no other equals; about an image of which nothing is expected."""
    data = {
        "resources": [{"digest": "sha256:" + f"{number:064x}", "tag": f"{number}"}],
        "repository": {"repo_full_name": "elsewhere/image"},
    }
    body = {"type": "PUSH_ARTIFACT", "occur_at": int(time.time()), "event_data": data}
    return json.dumps(body | {"number": number}).encode()


async def deliver_until(
    stop: asyncio.Event, daemon: Served, acknowledged: set[bytes], sender: int
) -> None:
    """Deliver one after another, and remember what was answered 202."""
    for number in range(sender * 10_000, sender * 10_000 + 2000):
        if stop.is_set():
            return
        body = own_delivery(number)
        with suppress(aiohttp.ClientError, OSError):
            if await daemon.send(body, HEADERS) == 202:
                acknowledged.add(body)
        await asyncio.sleep(0.01)


async def push_until(stop: asyncio.Event, stage: Scene, chance: random.Random) -> int:
    """Push new images and move a few tags; how many pushes there were."""
    for number in range(600):
        if stop.is_set():
            return number
        moving = chance.random() < 0.3
        reference = f"moving{chance.randrange(3)}" if moving else f"1.{number}"
        stage.push(reference, f"{number}")
        await asyncio.sleep(0.25)
    return 600


class SQLiteFile:
    """A store in a file, looked at while the daemon is dead."""

    def __init__(self, path: Path) -> None:
        self.settings: dict[str, Any] = {}
        self._path = path

    def heal(self) -> None:
        """A store that was just killed has a log to be played back, which only a writer may do."""
        with closing(sqlite3.connect(self._path)) as connection:
            assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]

    def read(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()


class OnPostgreSQL:
    """A store in PostgreSQL, which goes on while the daemon is dead."""

    def __init__(self, url: str) -> None:
        # So short a lease that what is started again soon has the work of the one that died.
        self.settings: dict[str, Any] = {"store": url, "lease": "600ms"}
        self._url = url

    def heal(self) -> None:
        """Until the server has noticed that the daemon is gone, and ended what it had begun."""
        alive = "select pid from pg_stat_activity where pid != pg_backend_pid() and datname = "
        for _ in range(500):
            if not self.read(alive + "current_database()"):
                return
            time.sleep(0.02)
        raise AssertionError("connections of the dead daemon stay")

    def read(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._url) as connection:
            return connection.execute(query.encode()).fetchall()


Store = SQLiteFile | OnPostgreSQL


@asynccontextmanager
async def store_of(kind: str, directory: Path) -> AsyncIterator[Store]:
    """The store to be tested, for the length of a `with` block."""
    if kind == "sqlite":
        yield SQLiteFile(directory / "syncwatch.db")
        return
    async with postgresql() as server:
        yield OnPostgreSQL(server.url)


@pytest.mark.slow
@pytest.mark.timeout(100)
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
async def test_killed_ten_times_under_load_nothing_acknowledged_is_lost_or_settled_twice(
    tmp_path: Path, kind: str
) -> None:
    chance = random.Random(20261123)
    acknowledged: set[bytes] = set()
    stop = asyncio.Event()
    async with (
        store_of(kind, tmp_path) as store,
        scene(tmp_path, destination={"deadline": "2s"}, **store.settings) as stage,
        served(stage.config) as daemon,
    ):
        stage.harbor.create_webhook_policy("apps", daemon.webhook_url, auth_header=SECRET)
        load = asyncio.gather(
            *(deliver_until(stop, daemon, acknowledged, sender) for sender in range(4)),
            push_until(stop, stage, chance),
        )
        settled_before: dict[int, str] = {}
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.05, 1.2))
            await daemon.kill()
            settled_before = check(store, acknowledged, settled_before)
            await daemon.start()
        stop.set()
        await load
        await stage.harbor.idle()

        tags = len(stage.harbor.world.tags)

        async def all_verified() -> bool:
            # What was pushed while the daemon was dead is found in the feed of executions.
            states = json.loads(await daemon.get("/api/v1/status"))["states"]
            return (states["verified"], states["pending"]) == (tags, 0)

        await until(all_verified, within=40, told=f"a verdict on all {tags} tags")
        assert await daemon.stop() == 0
        check(store, acknowledged, settled_before)
        states = dict(store.read("select state, count(*) from expectations group by 1"))
    assert len(acknowledged) > 50
    assert "turn_crashed" not in daemon.said()
    print(f"{len(acknowledged)} acknowledged, {POLICY}: {states}")
    assert set(states) <= {"verified", "closed"}


def check(store: Store, acknowledged: set[bytes], settled_before: dict[int, str]) -> dict[int, str]:
    """What holds of a store at any moment; which rows are settled, and how."""
    store.heal()
    kept = {bytes(body) for (body,) in store.read("select body from deliveries")}
    assert acknowledged <= kept
    settled = dict(store.read("select id, settled from expectations where settled is not null"))
    assert settled_before.items() <= settled.items()
    keys = "harbor, policy_id, destination_id, state, reason, overdue"
    counts = store.read(f"select {keys}, n from counts where n != 0 order by 1, 2, 3, 4, 5, 6")
    rows = store.read(f"select {keys}, count(*) from expectations group by {keys} order by {keys}")
    assert counts == rows
    doubled = store.read(
        "select subject_id, digest from expectations group by subject_id, digest, pushed_at "
        "having count(*) > 1",
    )
    assert doubled == []
    return settled
