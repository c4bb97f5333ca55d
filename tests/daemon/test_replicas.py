"""Several replicas on one PostgreSQL: work divided, nothing done twice, nothing forgotten."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest
from replicas import Replicated, replicated, scrape_until
from running import until

if TYPE_CHECKING:
    from pathlib import Path

REPLICAS = int(os.environ.get("REPLICAS", "2"))
KILLS = int(os.environ.get("KILLS", "2"))
"""By hand twenty, which take more than a minute."""
LEASE = 1.5
"""Seconds."""

pytestmark = [pytest.mark.real, pytest.mark.slow]


async def push_until(stop: asyncio.Event, stage: Replicated) -> None:
    """As many at once as make each destination busy."""
    while not stop.is_set():
        for _ in range(stage.concurrency):
            stage.push()
        await asyncio.sleep(1)


async def one_after_the_other_dies(stage: Replicated) -> list[float]:
    """Kill and start again; how long each time until all gauges were shown by somebody."""
    took = []
    for number in range(KILLS):
        await asyncio.sleep(1.5)
        victim = stage.replicas[number % len(stage.replicas)]
        await victim.kill()
        died = time.monotonic()
        await until(stage.all_shown, within=4 * LEASE, told="gauges of all that the dead one held")
        took.append(time.monotonic() - died)
        await victim.start()
    return took


@pytest.mark.timeout(400)
async def test_while_replicas_die_nothing_is_settled_twice_or_forgotten_and_no_limit_is_passed(
    tmp_path: Path,
) -> None:
    stop = asyncio.Event()
    async with replicated(tmp_path, replicas=REPLICAS, destinations=2, lease="1500ms") as stage:
        stage.watch_settling()
        await until(stage.all_shown)
        load = asyncio.gather(push_until(stop, stage), scrape_until(stop, stage))
        took = await one_after_the_other_dies(stage)
        stop.set()
        _, longest = await load
        await stage.harbor.idle()
        wanted = stage.pushed * len(stage.registries)

        async def all_verified() -> bool:
            return stage.states() == {"verified": wanted}

        with stage.telling_states():
            await until(all_verified, within=40 + wanted / 4, told=f"a verdict on all {wanted}")
        most = {name: one.most for name, one in stage.registries.items()}
        twice = stage.settled_twice()
        said = "".join(one.said() for one in stage.replicas)
    print(
        f"{REPLICAS} replicas, {len(took)} killed, {wanted} expectations, requests under way at "
        f"most {max(most.values())} of {stage.concurrency}; gauges back after "
        f"{', '.join(f'{one:.1f}' for one in took)} s, away for {longest:.1f} s at most"
    )
    assert twice == []
    assert stage.doubled == []
    assert max(most.values()) <= stage.concurrency
    assert "turn_crashed" not in said


async def test_leases_spread_when_a_replica_joins_and_go_to_the_others_when_it_stops(
    tmp_path: Path,
) -> None:
    # So long a lease that nothing here waits for one to run out.
    async with replicated(tmp_path, replicas=2, destinations=4, lease="30s") as stage:

        async def even() -> bool:
            return await stage.held() == [2, 2]

        await until(even, told="two destinations each")
        stage.watch_settling()
        stage.push()

        async def verified() -> bool:
            return stage.states() == {"verified": 4}

        # By webhook, at whichever replica it arrived.
        await until(verified, within=5)
        assert stage.settled_twice() == []

        async def same_status() -> bool:
            told = [await one.get("/api/v1/status") for one in stage.replicas]
            return told[0] == told[1] and told[0].count('"up":true') == 5

        await until(same_status, within=5, told="the same answer whichever is asked")
        assert await stage.replicas[1].stop() == 0

        async def at_once() -> bool:
            return (await stage.held())[0] == 4

        await until(at_once, within=5, told="all at the one that is left")
        await until(stage.all_shown, within=6)
        assert stage.doubled == []
