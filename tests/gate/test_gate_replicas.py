"""The gate of a replica that does not ask the destination itself."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import pytest
from replicas import replicated
from running import until

from syncwatch.lab import images

if TYPE_CHECKING:
    from pathlib import Path

    from replicas import Replicated
    from servers.daemon import Served

pytestmark = [pytest.mark.real, pytest.mark.slow]


async def ask(replica: Served, image: str, **query: str) -> dict[str, object]:
    words = "&".join(f"{name}={value}" for name, value in query.items())
    told: dict[str, object] = json.loads(await replica.get(f"/api/v1/gate?image={image}&{words}"))
    return told


async def test_each_replica_answers_for_every_destination_and_hears_of_the_others_verdicts(
    tmp_path: Path,
) -> None:
    async with replicated(tmp_path, replicas=2, destinations=2, lease="3s") as stage:
        await until(stage.all_shown)

        async def divided() -> bool:
            return sorted(await stage.held()) == [1.0, 1.0]

        await until(divided, within=20, told="a destination for each replica")
        stage.push()
        for replica in stage.replicas:
            told = await ask(replica, "apps/web:1.1", wait="60s")
            assert told["status"] == 200, told
            fresh = await ask(replica, "apps/web:1.1", max_age="0s")
            assert fresh["status"] == 200, fresh
            assert len(fresh["destinations"]) == 2  # type: ignore[arg-type]
        stage.harbor.pause_queue()
        stage.harbor.push("apps/web", "held", images.image("held"))
        waiting = [
            asyncio.create_task(ask(one, "apps/web:held", wait="60s")) for one in stage.replicas
        ]
        await until(lambda: _expected(stage), told="both expectations")
        stage.harbor.resume_queue()
        began = time.monotonic()
        told_all = await asyncio.gather(*waiting)
        assert [one["status"] for one in told_all] == [200, 200], told_all
        print(f"both replicas answered {time.monotonic() - began:.2f} s after Harbor went on")


async def _expected(stage: Replicated) -> bool:
    return sum(stage.states().values()) == 4
