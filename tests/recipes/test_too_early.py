"""A step that deployed too early, and the same step that waits: skopeo pulls, as a node does."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from kitchen import RECIPES, Kitchen, ended
from running import SECRET, running, settings_file
from servers import needs
from servers.docker_registry import PASSWORD, USER, DockerRegistry, docker_registry

from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.real

# What a node does: it pulls, or the rollout hangs in ImagePullBackOff.
PULL = f'skopeo inspect --tls-verify=false --creds {USER}:{PASSWORD} "docker://${{4#web=}}"'


@contextlib.asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[tuple[Kitchen, DockerRegistry, LabHarbor]]:
    """A cluster whose nodes pull from a real docker-registry, to which Harbor copies."""
    async with docker_registry(folder, htpasswd=True) as registry, LabHarbor().serving() as harbor:
        harbor.create_project("apps")
        harbor.create_registry("cluster1", registry.url, username=USER, password=PASSWORD)
        harbor.create_policy("to-cluster1", "cluster1", pattern="apps/**")
        user, password = harbor.create_robot("syncwatch")
        login = {"url": harbor.url, "username": user, "password": password}
        credential = {"url": registry.url, "username": USER, "password": PASSWORD}
        entry = {"name": "cluster1", **credential, "level": "readable"}
        config = settings_file(folder, login, more_destinations=[entry])
        async with running(config) as watched:
            harbor.create_webhook_policy("apps", watched.webhook_url, auth_header=SECRET)
            (folder / "bin").mkdir()
            one = Kitchen(None, watched, folder)
            one.program("kubectl", PULL)
            yield one, registry, harbor


async def test_a_step_that_deployed_too_early_waits_now_and_succeeds(tmp_path: Path) -> None:
    needs("skopeo")
    async with cluster(tmp_path) as (one, registry, harbor):
        harbor.pause_queue()
        digest = harbor.push("apps/web", "1.4.0", images.image("1.4.0"))
        await one.watched.row(reference="1.4.0", state="pending")

        image = f"{registry.host}/apps/web:1.4.0"
        early = await one.run("kubectl", "set", "image", "deployment/web", f"web={image}")
        assert early.code != 0
        assert "manifest unknown" in early.err

        step = await one.begin("sh", str(RECIPES / "wait.sh"), "apps/web:1.4.0", "cluster1")
        assert step.stderr is not None
        line = await asyncio.wait_for(step.stderr.readline(), 30)
        assert line.startswith(b"0 of 1 usable after 0s; waiting for apps/web:1.4.0 pending/")
        assert len(one.calls("kubectl")) == 1
        harbor.resume_queue()
        late = await ended(step)
        assert (late.code, digest in late.out) == (0, True), late.err
        assert one.calls("kubectl")[-1].endswith(f" web={registry.host}/apps/web@{digest}")
