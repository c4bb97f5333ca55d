"""From a damaged file to a message, by real servers.

docker-registry loses a layer; the daemon, Prometheus and Alertmanager say so to a receiver of ours,
and say when it is mended. Prometheus reads a copy of the rules whose waits are seconds.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from alert_rules import ALERTMANAGER, hurried
from by_shell import by_shell
from running import SECRET, Watched, running, settings_file, until
from servers.alertmanager import Receiver, alertmanager, quick, receiving
from servers.damage import damage
from servers.docker_registry import DockerRegistry, docker_registry
from servers.prometheus import Prometheus, prometheus

from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.real

IMAGE = images.image("web", layers=2)
POLICY = 'it\'s "to" $(touch hacked) `touch hacked` cluster1; touch hacked #'
"""A name that Harbor allows, and that a shell has to take as it is when the command is pasted."""
FAILED = {"alertname": "SyncwatchImageFailed", "reason": "blob_missing"}


@dataclass
class Parts:
    """All that an alert goes through, running; `times` are seconds since the damage or the cure."""

    registry: DockerRegistry
    harbor: LabHarbor
    watched: Watched
    server: Prometheus
    receiver: Receiver
    began: float = 0.0
    times: list[tuple[float, str]] = field(default_factory=list)

    async def step(self, words: str, happened: Callable[[], Awaitable[Any]]) -> None:
        """Wait for a step and note its time."""
        await until(happened, within=40, told=words)
        self.times.append((time.monotonic() - self.began, words))

    async def failed(self) -> bool:
        name = "syncwatch_expectations"
        return bool(await self.watched.metric(name, state="failed", reason="blob_missing"))

    async def firing(self) -> set[str]:
        """The names of what fires in Prometheus."""
        told = await self.server.alerts()
        return {one["labels"]["alertname"] for one in told if one["state"] == "firing"}

    async def is_calm(self) -> bool:
        return await self.firing() == {"SyncwatchWatchdog"}

    async def has_alertmanager(self) -> bool:
        return bool((await self.server.ask("alertmanagers"))["activeAlertmanagers"])

    def told(self, status: str) -> Callable[[], Awaitable[Any]]:
        """Whether the receiver was told of the failed image."""

        async def so() -> bool:
            return self.receiver.first(FAILED["alertname"], status) is not None

        return so


@asynccontextmanager
async def parts(folder: Path) -> AsyncIterator[Parts]:
    quickly = {"level": "readable", "recheck_per_minute": 600, "recheck_after": "500ms"}
    async with (
        docker_registry(folder) as registry,
        LabHarbor().serving() as harbor,
        receiving() as receiver,
        alertmanager(folder, quick(ALERTMANAGER, receiver)) as manager,
    ):
        harbor.create_project("apps")
        harbor.create_registry("cluster1", registry.url)
        harbor.create_policy(POLICY, "cluster1", pattern="apps/**")
        user, password = harbor.create_robot("syncwatch")
        login = {"url": harbor.url, "username": user, "password": password, "sweep_every": "10s"}
        # Rechecks trust no proof of a blob, as they would not after `proofs_kept`.
        quickly |= {"proofs_kept": "1s"}
        config = settings_file(folder, login, quickly)
        async with running(config) as watched:
            harbor.create_webhook_policy("apps", watched.webhook_url, auth_header=SECRET)
            target = watched.daemon.url.removeprefix("http://")
            async with prometheus(
                folder, target, rules=[hurried(folder)], alertmanager=manager.host
            ) as server:
                yield Parts(registry, harbor, watched, server, receiver)


async def test_a_lost_layer_becomes_a_message_and_its_cure_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with parts(tmp_path) as all_:
        all_.harbor.push("apps/web", "1.0", IMAGE)
        await all_.watched.row(reference="1.0", state="verified", level="readable")
        await all_.harbor.idle()
        # What fires before Prometheus has found its Alertmanager is sent a minute later.
        await until(all_.has_alertmanager, told="Prometheus knows its Alertmanager")
        await until(all_.is_calm, told="no alert but the Watchdog")
        await _lost(all_)
        _, alert = await all_.receiver.got("SyncwatchImageFailed")
        assert alert["labels"]["reason"] == "blob_missing"
        await all_.receiver.got("SyncwatchLost")
        command = alert["annotations"]["command"]
        told = await by_shell(all_.watched, f"cd {tmp_path} && {command}")
        assert "apps/web:1.0" in told
        assert "failed/blob_missing" in told
        assert not (tmp_path / "hacked").exists()
        # It ends with the next question, for the first of them.
        why = told.strip().splitlines()[-1].removeprefix("Why: ")
        assert why == "syncwatch explain apps/web:1.0 --on cluster1"
        assert POLICY in await by_shell(all_.watched, why, ends=1)
        await _mended(all_)
        assert all_.registry.blob_file(IMAGE.layer_digests[0]).exists()
        await all_.receiver.got("SyncwatchLost", "resolved")
        await until(all_.is_calm, told="no alert but the Watchdog")
    with capsys.disabled():
        print("\n" + "\n".join(f"{at:6.1f} s  {words}" for at, words in all_.times))


async def _lost(all_: Parts) -> None:
    """A layer's file goes, and everybody downstream says so."""
    damage(all_.registry, IMAGE.layer_digests[0], "remove")
    all_.began = time.monotonic()
    query = 'syncwatch_expectations{state="failed",reason="blob_missing"} > 0'
    await all_.step("the daemon's metric: failed, blob_missing", all_.failed)
    await all_.step("Prometheus has scraped it", lambda: all_.server.query(query))

    async def fires() -> bool:
        return "SyncwatchImageFailed" in await all_.firing()

    await all_.step("SyncwatchImageFailed fires in Prometheus", fires)
    await all_.step("the message has arrived, by Alertmanager", all_.told("firing"))


async def _mended(all_: Parts) -> None:
    """As its runbook says: delete the manifest at the destination, and run the policy again."""
    await all_.registry.delete("apps/web", IMAGE.digest)
    all_.harbor.run(POLICY)
    all_.began = time.monotonic()

    async def whole() -> bool:
        rows = await all_.watched.expectations(reference="1.0", state="verified")
        return len(rows) > 0

    async def over() -> bool:
        return "SyncwatchImageFailed" not in await all_.firing()

    await all_.step("the image is verified again", whole)
    await all_.step("SyncwatchImageFailed is over in Prometheus", over)
    await all_.step("the message that it is resolved has arrived", all_.told("resolved"))
