"""Several replicas on one PostgreSQL: work divided, nothing done twice, nothing forgotten."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
import yaml
from replicas import Replicated, replicated, scrape_until
from running import until

if TYPE_CHECKING:
    from pathlib import Path

    from servers.daemon import Served

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


async def test_a_harbor_that_only_one_replica_s_configuration_names_is_watched_by_that_one(
    tmp_path: Path,
) -> None:
    async with replicated(tmp_path, replicas=2, destinations=1, lease="600ms") as stage:
        holder = 'syncwatch_leases{kind="harbor"} 1.0'

        async def holding() -> Served | None:
            told = [one for one in stage.replicas if holder in await one.get("/metrics")]
            return told[0] if told else None

        one = await until(holding)
        document = yaml.safe_load(one.config.read_text())
        # It sorts before the one that both know, and so would be given back first.
        document["harbors"].append(document["harbors"][0] | {"name": "another"})
        one.config.write_text(yaml.safe_dump(document))
        one.process.send_signal(signal.SIGHUP)

        async def ready() -> bool:
            return "true" in await one.get("/readyz")

        await until(lambda: asyncio.sleep(0, "configuration_reloaded" in one.said()))
        await until(ready, within=8)


async def test_what_was_stopped_for_longer_than_its_lease_asks_nobody_when_it_goes_on(
    tmp_path: Path,
) -> None:
    async with replicated(tmp_path, replicas=2, destinations=1, lease="600ms") as stage:
        (registry,) = stage.registries.values()
        await until(stage.all_shown)
        held = await stage.held()
        holder, other = sorted(stage.replicas, key=lambda one: -held[stage.replicas.index(one)])
        for _ in range(4):
            stage.push()
        await stage.harbor.idle()
        await until(lambda: asyncio.sleep(0, len(registry.asking_peers()) > 1))
        holder.process.send_signal(signal.SIGSTOP)
        # Its connections; what it asked for meanwhile is answered, and waits to be read.
        its_own = set(registry.peers)
        count = 'syncwatch_leases{kind="destination"} 1.0'

        async def taken() -> bool:
            return count in await other.get("/metrics")

        await until(taken)
        await until(lambda: asyncio.sleep(0, its_own.isdisjoint(registry.asking_peers())))
        registry.peers.clear()
        holder.process.send_signal(signal.SIGCONT)
        await until(lambda: asyncio.sleep(0, "lease_lost" in holder.said()))

        async def verified() -> bool:
            return stage.states() == {"verified": stage.pushed}

        await until(verified)
        assert its_own
        assert not its_own & registry.peers.keys()


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
