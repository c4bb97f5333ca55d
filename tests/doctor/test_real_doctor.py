"""The doctor looks at Debian's docker-registry as a destination, at its PostgreSQL as a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from running import settings_file
from servers.docker_registry import PASSWORD, USER, docker_registry
from servers.postgresql import postgresql

from syncwatch.config import load
from syncwatch.doctor.one_shot import diagnose
from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.runtime import Clock

if TYPE_CHECKING:
    from pathlib import Path

    from syncwatch.model import Finding

pytestmark = pytest.mark.real


async def findings(config: Path) -> list[Finding]:
    return [one for each in await diagnose(load(config), Clock()) for one in each.findings]


async def test_docker_registry_hides_an_index_and_refuses_a_wrong_password(tmp_path: Path) -> None:
    async with (
        docker_registry(tmp_path, htpasswd=True) as registry,
        LabHarbor().serving() as harbor,
    ):
        login = {"username": USER, "password": PASSWORD}
        harbor.create_registry("cluster1", registry.url, **login)
        harbor.create_policy("to-cluster1", "cluster1", pattern="apps/**")
        harbor.push("apps/web", "2.0", images.platforms("both", "amd64", "arm64"))
        await harbor.idle()
        user, password = harbor.create_robot("syncwatch")
        section = {"url": harbor.url, "username": user, "password": password}
        entry = {"name": "cluster1", "url": registry.url, **login}
        right = settings_file(tmp_path, section, more_destinations=[entry])
        told = {one.finding: one for one in await findings(right)}
        assert "docker-registry 2.8" in told["accept_trap"].message
        assert not {"destination_unauthorized", "pull_through", "destination_policy"} & set(told)
        wrong = settings_file(
            tmp_path, section, more_destinations=[entry | {"password": "wrong-one"}]
        )
        told = {one.finding: one for one in await findings(wrong)}
        assert told["destination_unauthorized"].subject == "destination cluster1"


async def test_postgresql_can_be_written_until_it_is_away(tmp_path: Path) -> None:
    async with postgresql() as server:
        section = {"url": "http://127.0.0.1:9"}
        config = settings_file(tmp_path, section, store=server.url)
        assert "store_unwritable" not in {one.finding for one in await findings(config)}
        await server.stop()
        (one,) = [each for each in await findings(config) if each.finding == "store_unwritable"]
        assert "OperationalError" in one.message
        assert "postgresql://" in one.message
        await server.start()
