"""`syncwatch check` as people and pipelines run it: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from compared import SYNCWATCH, check, ended, start
from daemon.scene import REPOSITORY, edit, scene
from running import until

from syncwatch.lab import images
from syncwatch.lab.registry import Fault

if TYPE_CHECKING:
    from pathlib import Path


async def test_all_verified_ends_with_0_and_writes_nothing_anywhere(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.push("1.0")
        await here.harbor.idle()
        here.registry.requests.clear()
        password = here.config.read_text().split("password: ")[1].split("\n")[0]
        told = await check(here.config)
        assert (told.code, told.err) == (0, "")
        assert told.out == "cluster1 (Harbor main): 1 checked, 1 verified, 0 failed, 0 unknown\n"
        every = await check(here.config, "--all")
        assert "apps/web:1.0" in every.out
        assert "verified: readable" in every.out
        assert {one.method for one in here.registry.requests} <= {"GET", "HEAD"}
        assert os.listdir(tmp_path) == [here.config.name]  # noqa: PTH208
        assert password not in told.out + every.out


async def test_what_failed_is_named_with_its_reason_and_ends_with_1(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        for tag in ("good", "gone", "old", "holed"):
            here.push(tag)
        await here.harbor.idle()
        here.registry.lose_tag(REPOSITORY, "gone")
        here.registry.push(REPOSITORY, "old", images.image("what was there before"))
        here.registry.lose_blob(images.image("holed").layer_digests[0])
        table = await check(here.config)
        assert table.code == 1
        for words in ("failed: tag_missing", "failed: digest_mismatch", "failed: blob_missing"):
            assert words in table.out
        assert "apps/web:good" not in table.out
        told = await check(here.config, "--output", "json")
        assert (told.code, told.err) == (1, "")
        document = json.loads(told.out)
        reasons = {one["image"]: one["reason"] for one in document["items"]}
        assert reasons == {
            "apps/web:good": None,
            "apps/web:gone": "tag_missing",
            "apps/web:old": "digest_mismatch",
            "apps/web:holed": "blob_missing",
        }
        assert set(document["items"][0]) >= {
            *("image", "digest", "harbor", "policy", "destination", "repository"),
            *("reference", "state", "reason", "message", "level"),
        }
        summary = document["summary"]
        assert (summary["checked"], summary["verified"], summary["failed"]) == (4, 1, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--policy", "nonsense"], "known: to-cluster1", id="a rule that is not there"),
        pytest.param(["--repository", "{a"], "malformed", id="a malformed pattern"),
        pytest.param(["--quick", "--level", "readable"], "--level", id="two depths"),
        pytest.param(["https://apps/web"], "URL", id="no REF"),
    ],
)
async def test_a_mistake_in_the_options_ends_with_2(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    async with scene(tmp_path) as here:
        told = await check(here.config, *arguments)
        assert (told.code, told.out) == (2, "")
        assert words in told.err
        assert "Traceback" not in told.err


async def test_what_cannot_be_told_ends_with_4_and_what_is_due_with_3(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        nothing = await check(here.config)
        assert (nothing.code, "Nothing is in scope" in nothing.out) == (4, True)
        here.push("1.0")
        await here.harbor.idle()
        here.registry.fault(Fault.FORBIDDEN)
        refused = await check(here.config)
        assert (refused.code, "unknown: forbidden" in refused.out) == (4, True)
        here.registry.clear()
        edit(here.harbor, "to-cluster1", enabled=False)
        here.harbor.create_policy(
            "yearly", "cluster1", pattern="apps/**", trigger="scheduled", cron="0 0 0 1 1 *"
        )
        here.push("2.0")
        due = await check(here.config)
        assert (due.code, "pending: scheduled" in due.out) == (3, True)
        await here.harbor.stop()
        away = await check(here.config, "-o", "json")
        assert away.code == 4
        assert json.loads(away.out)["items"] == []
        await here.harbor.start()


async def test_ctrl_c_ends_with_what_is_known_and_4(tmp_path: Path) -> None:
    async with scene(tmp_path, destination={"timeout": "30s"}) as here:
        for number in range(12):
            here.push(f"{number}.0")
        await here.harbor.idle()
        here.registry.fault(Fault.HANG, reference="3.0")
        here.registry.requests.clear()
        process = await start(here.config, "--output", "json")

        async def nearly_done() -> bool:
            return sum("/blobs/" in one.path for one in here.registry.requests) >= 20

        await until(nearly_done)
        process.send_signal(signal.SIGINT)
        told = await ended(process)
        assert told.code == 4
        document = json.loads(told.out)
        known = {one["image"]: one["state"] for one in document["items"]}
        assert known
        assert set(known.values()) == {"verified"}
        assert "apps/web:3.0" not in known
        assert document["summary"]["complete"] is False


async def test_on_a_terminal_a_bar_shows_how_far_it_is(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.push("1.0")
        await here.harbor.idle()
        here.registry.slow_seconds = 0.3
        here.registry.fault(Fault.SLOW)
        ours, theirs = os.openpty()
        try:
            process = await asyncio.create_subprocess_exec(
                *(SYNCWATCH, "check", "-c", str(here.config)),
                stdout=asyncio.subprocess.PIPE,
                stderr=theirs,
                env={**os.environ, "TERM": "xterm"},
            )
            out, _ = await asyncio.wait_for(process.communicate(), 30)
            shown = os.read(ours, 65536).decode()
        finally:
            os.close(ours)
            os.close(theirs)
        assert out.decode().startswith("cluster1 (Harbor main): 1 checked, 1 verified")
        assert "listing" in shown
        assert "0/1" in shown
