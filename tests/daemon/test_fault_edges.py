"""Edges that a black-box attack found: each is the cause, and the word that it has to get."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from running import until
from scene import REPOSITORY, scene

from syncwatch.lab import images
from syncwatch.lab.faults import Fault

if TYPE_CHECKING:
    from pathlib import Path


async def test_an_empty_run_stays_one(tmp_path: Path) -> None:
    async with scene(tmp_path, destination={"deadline": "4s"}) as stage, stage.watched() as watched:
        # What the event is for is gone before the run lists it: Succeed, and nothing copied.
        stage.harbor.hold_flows()
        stage.push("v1")
        stage.harbor.world.contents.repository(REPOSITORY).tags.pop("v1", None)
        stage.harbor.hold_flows(held=False)
        row = await watched.row(state="failed", within=30)
        words = {row["reason"]}
        for _ in range(40):
            words.add((await watched.one(row["id"]))["reason"])
            await asyncio.sleep(0.1)
        assert len(words) == 1, words


async def test_platforms_that_an_index_does_not_have_excuse_nothing(tmp_path: Path) -> None:
    settings = {"platforms": ["linux/amd64"]}
    async with scene(tmp_path, destination=settings) as stage, stage.watched() as watched:
        other = images.platforms("other", "arm64", "s390x")
        stage.registry.fault(Fault.DIGEST_NOT_FOUND, REPOSITORY, other.child_digests[0])
        stage.harbor.push(REPOSITORY, "v1", other)
        row = await watched.row(state="failed")
        assert row["reason"] == "child_missing"


async def test_a_destination_that_answers_503_to_everything_is_found(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("v1")
        await watched.row(reference="v1", state="verified")
        stage.registry.fault(Fault.UNAVAILABLE)
        stage.harbor.hold_flows()
        stage.push("v2")

        async def found() -> bool:
            return "destination_unreachable" in await watched.finding_names()

        await until(found, told="the finding")
        assert await watched.metric("syncwatch_destination_up") == 0
        stage.registry.clear()

        async def ended() -> bool:
            return "destination_unreachable" not in await watched.finding_names()

        await until(ended, told="its end")


async def test_412_of_what_was_there_before_is_not_said_of_what_is_being_copied(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("latest", "old")
        await watched.row(state="verified")
        stage.registry.fault(Fault.POLICY_BLOCKED, REPOSITORY)
        stage.harbor.hold_flows()
        # Times of Harbor are told in whole seconds: the first run must not seem to be the second's.
        began = time.monotonic()
        await until(lambda: _is_past(began + 2.1))
        digest = stage.push("latest", "new")
        row = await watched.row(digest=digest, state="pending")
        for _ in range(20):
            told = await watched.one(row["id"])
            assert told["state"] == "pending", told["reason"]
            await asyncio.sleep(0.05)
        stage.harbor.hold_flows(held=False)
        row = await watched.row(digest=digest, state="failed")
        assert row["reason"] == "policy_blocked"


async def _is_past(moment: float) -> bool:
    return time.monotonic() > moment


async def test_one_look_without_an_answer_leaves_what_was_said_of_a_failure(
    tmp_path: Path,
) -> None:
    async with (
        scene(tmp_path, destination={"deadline": "2s"}) as stage,
        stage.watched() as watched,
    ):
        stage.stop_starting()
        stage.push("1")
        row = await watched.row(reference="1", state="failed", reason="not_started")
        stage.registry.fault(Fault.SERVER_ERROR, REPOSITORY)

        async def looked_in_vain() -> bool:
            told = await watched.one(row["id"])
            return any(one["reason"] == "server_error" for one in told["observations"])

        await until(looked_in_vain, within=30)
        told = await watched.one(row["id"])
        # The second one, seconds later, makes it unknown.
        assert (told["state"], told["message"]) == ("failed", row["message"])
