"""The Prometheus that tests ask, before a page of metrics that is known."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import yaml
from aiohttp import web
from running import until
from servers.prometheus import prometheus

from syncwatch.lab.listener import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.real


@asynccontextmanager
async def exposing(text: str) -> AsyncIterator[str]:
    """A page of metrics; its host:port."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(text=text)

    def application() -> web.Application:
        application = web.Application()
        application.router.add_get("/metrics", metrics)
        return application

    listener = Listener(application)
    await listener.start()
    try:
        yield listener.url.removeprefix("http://")
    finally:
        await listener.stop()


def rule_file(folder: Path, name: str, expression: str) -> Path:
    path = folder / f"{name}.yml"
    rule = {"alert": name, "expr": expression}
    path.write_text(yaml.safe_dump({"groups": [{"name": name, "rules": [rule]}]}))
    return path


async def test_prometheus_answers_queries_and_fires_alerts_whose_rules_may_change(
    tmp_path: Path,
) -> None:
    first = rule_file(tmp_path, "First", "of_this_test > 2")
    second = rule_file(tmp_path, "Second", "of_this_test > 2")
    async with (
        exposing('of_this_test{kind="a"} 3\n') as target,
        prometheus(tmp_path, target, rules=[first]) as server,
    ):
        ((labels, value),) = await server.query("of_this_test")
        assert (labels["kind"], labels["instance"], value) == ("a", target, 3.0)
        assert await server.query("scalar(of_this_test)") == [({}, 3.0)]

        async def firing() -> list[str]:
            return [one["labels"]["alertname"] for one in await server.alerts()]

        assert await until(firing) == ["First"]
        await server.reload([second])

        async def second_fires() -> bool:
            return await firing() == ["Second"]

        await until(second_fires)
        assert [(rule["name"], rule["health"]) for rule in await server.rules()] == [
            ("Second", "ok")
        ]
        (now,) = await server.query("time()")
        ((_, points),) = await server.query_range("of_this_test", now[1] - 2, now[1] + 1)
        assert {value for _, value in points} == {3.0}
        with pytest.raises(AssertionError, match="parse error"):
            await server.query("rate(")
