"""Those who wait at the gate: until the verdict, the end of their time, or that of the daemon."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from asking_the_gate import crowd, gate
from running import running, until
from scene import DESTINATION, REPOSITORY, scene

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = f"{REPOSITORY}:1.0"
MANY = 100


async def test_many_who_wait_are_answered_together_and_ask_harbor_once_in_a_while(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, destination={"deadline": "1h"}) as stage, stage.watched() as watched:
        stage.harbor.pause_queue()
        stage.push("1.0")
        await watched.row(reference="1.0")
        stage.harbor.requests.clear()
        async with crowd(watched) as those:
            asked = (gate(those, IMAGE, DESTINATION, wait="60s") for _ in range(MANY))
            waiting = [asyncio.create_task(one) for one in asked]
            await watched.row(reference="1.0", reason="queued")
            assert not any(one.done() for one in waiting)
            stage.harbor.resume_queue()
            told = await asyncio.gather(*waiting)
        assert {one.status for one in told} == {200}
        at_harbor = sum("/artifacts/1.0" in one for one in stage.harbor.requests)
        assert at_harbor < MANY / 5, "they share their questions"


async def test_whoever_asks_after_a_push_is_told_of_that_push(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0", "0")
        assert (await gate(watched, IMAGE, DESTINATION, wait="20s")).status == 200
        for number in range(1, 6):
            digest = stage.push("1.0", str(number))
            told = await asyncio.gather(*(gate(watched, IMAGE, wait="20s") for _ in range(5)))
            assert {(one.status, one.body["digest"]) for one in told} == {(200, digest)}


async def test_who_waits_hears_of_a_failure_at_once(tmp_path: Path) -> None:
    async with scene(tmp_path, destination={"deadline": "2s"}) as stage, stage.watched() as watched:
        stage.stop_starting()
        stage.push("1.0")
        told = await gate(watched, IMAGE, DESTINATION, wait="60s")
        assert told.short == (422, "failed", "not_started")


async def test_who_waits_is_held_while_harbor_is_away(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        await stage.harbor.stop()
        assert (await gate(watched, IMAGE, DESTINATION)).status == 503
        waiting = asyncio.create_task(gate(watched, IMAGE, DESTINATION, wait="60s"))
        await asyncio.sleep(0)
        await stage.harbor.start()
        assert (await waiting).status == 200


async def test_the_end_of_the_daemon_answers_all_who_wait(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as last:
        stage = await last.enter_async_context(scene(tmp_path, destination={"deadline": "1h"}))
        async with running(stage.config) as watched:
            stage.send_webhooks(watched)
            stage.harbor.pause_queue()
            stage.push("1.0")
            await watched.row(reference="1.0")
            those = await last.enter_async_context(crowd(watched))
            asked = (gate(those, IMAGE, DESTINATION, wait="10m") for _ in range(5))
            waiting = [asyncio.create_task(one) for one in asked]
            await watched.row(reference="1.0", reason="queued")
        told = await asyncio.gather(*waiting)
        assert {one.status for one in told} <= {409, 503}


async def test_answers_are_counted_and_who_waits_is_shown(tmp_path: Path) -> None:
    async with scene(tmp_path, destination={"deadline": "1h"}) as stage, stage.watched() as watched:
        stage.harbor.pause_queue()
        stage.push("1.0")
        await watched.row(reference="1.0")
        assert await watched.metric("syncwatch_gate_answers_total", status="409") == 0
        await gate(watched, IMAGE)
        await gate(watched, IMAGE, always="200")
        assert await watched.metric("syncwatch_gate_answers_total", status="409") == 2
        async with crowd(watched) as those:
            asked = [asyncio.create_task(gate(those, IMAGE, wait="60s")) for _ in range(3)]

            async def waiting() -> bool:
                return await watched.metric("syncwatch_gate_waiting") == 3

            await until(waiting)
            stage.harbor.resume_queue()
            await asyncio.gather(*asked)
        assert await watched.metric("syncwatch_gate_waiting") == 0
        assert await watched.metric("syncwatch_gate_answers_total", status="200") == 3
