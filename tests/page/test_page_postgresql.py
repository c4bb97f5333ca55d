"""The page asks PostgreSQL the same as SQLite, and is told the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from daemon.scene import DESTINATION, POLICY, scene
from page_ground import RARELY, Put, digest, shown, swept
from servers.postgresql import postgresql

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

FOUND = {
    "/?q=WEB": ["apps/web:v1.5", "apps/web:V1.4"],
    "/?q=apps/web:v1.4": ["apps/web:V1.4"],
    "/?q=mirror/api": ["team/api:2"],
    "/?q=" + digest(0xABCDEF0): ["team/api:2"],
    "/?q=100%25_": [],
    "/?state=open": ["apps/late:1", "apps/bad:1"],
    "/?state=any&after=1": ["apps/old:1", "apps/late:1", "apps/bad:1"],
    "/?overdue=1": ["apps/late:1"],
    f"/?policy={POLICY}&destination={DESTINATION}&harbor=main&state=failed": ["apps/bad:1"],
    "/?policy=none": [],
    "/images?q=apps": ["apps/bad:1", "apps/late:1", "apps/old:1", "apps/web:V1.4", "apps/web:v1.5"],
    "/images?q=" + digest(0xABCDEF0): ["team/api:2"],
    "/images?owed=1": ["apps/bad:1", "apps/late:1"],
}


@pytest.mark.real
async def test_lists_search_and_matrix_on_postgresql(tmp_path: Path) -> None:
    async with (
        postgresql() as server,
        scene(tmp_path, harbor=RARELY, store=server.url) as made,
        made.watched() as watched,
    ):
        await swept(watched)

        def fill(connection: Connection) -> None:
            put = Put(connection, watched.daemon._clock.now())
            put.one("team/api", "2", there="mirror/api", digest=digest(0xABCDEF0))
            put.one("apps/web", "V1.4", digest="sha256:" + "f" * 64)
            put.one("apps/web", "v1.5", digest="sha256:" + "e" * 64)
            put.one("apps/bad", "1", state="failed", reason="missing")
            put.one("apps/late", "1", state="pending", reason="copying", overdue=True)
            put.one("apps/old", "1", state="closed", reason="superseded")

        await watched.daemon._database.write(fill)
        for path, wanted in FOUND.items():
            page = await shown(watched, path)
            assert page.status == 200, path
            # What is different is the order of names, which is the database's own.
            if path.startswith("/images"):
                assert sorted(page.names) == wanted, path
            elif "after" in path:
                assert page.names[: len(wanted)] == wanted, path
            else:
                assert page.names == wanted, path
        for path in ("/", "/policies", "/images/main/apps/bad:1"):
            assert (await shown(watched, path)).status == 200, path
        names = [("many/images", f"{number:03}") for number in range(60)]
        await watched.daemon._database.write(
            lambda c: Put(c, watched.daemon._clock.now()).many(names)
        )
        first = await shown(watched, "/images?q=many/images")
        second = await shown(watched, first.link("next") or "")
        back = await shown(watched, second.link("prev") or "")
        assert (len(first.names), len(second.names)) == (50, 10)
        assert back.names == first.names
