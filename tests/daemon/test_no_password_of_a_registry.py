"""A registry's URL in Harbor may hold a password: it is Harbor's, and nobody is shown it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from scene import DESTINATION, REPOSITORY, scene

if TYPE_CHECKING:
    from pathlib import Path

    from running import Watched

SECRET = "SECRETpw"
PATHS = (
    "/",
    "/images",
    "/policies",
    f"/images/main/{REPOSITORY}:1.0",
    "/metrics",
    "/api/v1/status",
    "/api/v1/findings",
    "/api/v1/expectations?all=1",
    "/api/v1/expectations/1",
    f"/api/v1/explain?image={REPOSITORY}:1.0",
    f"/api/v1/gate?image={REPOSITORY}:1.0",
    f"/api/v1/gate?image={REPOSITORY}:nothing&destination={DESTINATION}",
)


async def shown(watched: Watched) -> list[str]:
    found = []
    for path in PATHS:
        async with watched.session.get(watched.daemon.url + path) as answer:
            if SECRET in await answer.text():
                found.append(path)
    return found


async def test_the_password_in_a_registrys_url_is_nowhere(tmp_path: Path) -> None:
    async with scene(tmp_path, destination={"deadline": "2s"}) as stage:
        (endpoint,) = stage.harbor.world.registries.values()
        endpoint.url = endpoint.url.replace("://", f"://robot:{SECRET}@")
        async with stage.watched() as watched:
            stage.push("1.0")
            await watched.row(state="verified")
            assert await shown(watched) == []
            by_host = await watched.get(
                "/api/v1/gate", image=f"{stage.registry.host}/{REPOSITORY}:1.0"
            )
            assert by_host["status"] == 200, by_host
            endpoint.url = f"http://robot:{SECRET}@127.0.0.1:9"
            await watched.row(state="closed", reason="destination_gone")
            assert await shown(watched) == []
        with sqlite3.connect(tmp_path / "syncwatch.db") as store:
            assert [line for line in store.iterdump() if SECRET in line] == []
