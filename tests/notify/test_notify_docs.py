"""The examples on the page of notifications: bodies as they are sent, and a receiver that works."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from receiving import EVERYWHERE, FAILED, TOKEN, VERIFIED, telling
from running import until
from scene import REPOSITORY, scene
from servers import free_port, listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text(encoding="utf-8")
EXAMPLES = dict(
    re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
)


def shape(value: Any) -> Any:
    """The names in it, at every depth."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return [shape(inner) for inner in value] if isinstance(value, list) else None


async def test_the_bodies_on_the_page_have_the_fields_of_those_that_are_sent(
    tmp_path: Path,
) -> None:
    often = {"recheck_per_minute": 6000, "recheck_after": "200ms"}
    async with (
        telling(tmp_path, destination=often) as (stage, receiver),
        stage.watched(),
    ):
        stage.push("1.0")
        await receiver.hears((VERIFIED, "apps/web:1.0"), (EVERYWHERE, "apps/web:1.0"))
        stage.registry.lose_tag(REPOSITORY, "1.0")
        events = await receiver.hears((FAILED, "apps/web:1.0"))
    sent = {one["type"]: one for one in events}
    for name in (FAILED, EVERYWHERE):
        example = json.loads(EXAMPLES[name])
        assert example["type"] == name
        assert shape(example) == shape(sent[name])
        assert list(example["data"]) == list(sent[name]["data"])


@contextlib.asynccontextmanager
async def trigger(directory: Path, port: int, *command: str) -> AsyncIterator[None]:
    """The receiver of the page, as it stands there."""
    script, log = directory / "trigger.py", directory / "trigger.log"
    script.write_text(EXAMPLES["trigger.py"])
    with log.open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(script),
            *command,
            env={**os.environ, "PORT": str(port), "AUTHORIZATION": TOKEN},
            stdout=said,
            stderr=said,
        )
    try:
        await listening(port, process, log.read_text)
        yield
    finally:
        process.kill()
        await process.wait()


async def test_a_push_is_deployed_once_it_is_everywhere_also_where_deploying_fails_at_first(
    tmp_path: Path,
) -> None:
    deployed, tried = tmp_path / "deployed", tmp_path / "tried"
    # Fails the first time, as a cluster that is just away.
    command = f'test -e {tried} || {{ touch {tried}; exit 1; }}; echo "$0 $1" >> {deployed}'
    port = free_port()
    section = {"url": f"http://127.0.0.1:{port}/", "authorization": TOKEN}
    async with (
        trigger(tmp_path, port, "sh", "-c", command),
        scene(tmp_path, notifications=section) as stage,
        stage.watched() as watched,
    ):
        digest = stage.push("1.0")

        async def is_deployed() -> bool:
            return deployed.exists()

        await until(is_deployed)

        async def all_delivered() -> bool:
            total = "syncwatch_notifications_total"
            return await watched.metric(total, outcome="delivered") == 2

        await until(all_delivered)
        async with aiohttp.ClientSession() as session, session.post(section["url"]) as answer:
            assert answer.status == 401
        wanted = f"cluster1 {stage.registry.host}/{REPOSITORY}@{digest}\n"
    assert deployed.read_text() == wanted
