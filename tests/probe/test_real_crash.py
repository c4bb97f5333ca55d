"""On a real Kubernetes: a daemon that is killed leaves no pod for good, and judges each once."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from probed_scene import Later
from prometheus_client.parser import text_string_to_metric_families
from real_cluster import MARKS, NAMESPACE, named, nothing_left, program, registry, settings_for
from running import SECRET, running, until
from servers.daemon import served

from syncwatch.lab.harbor import LabHarbor
from syncwatch.model import HOUR
from syncwatch.probe.pod import expires_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from servers.daemon import Served
    from servers.docker_registry import DockerRegistry
    from servers.kubernetes.cluster import Kubernetes

pytestmark = [*MARKS, pytest.mark.kubernetes_rows]

KEPT = ("Content-Type", "Docker-Content-Digest", "Content-Length", "Etag")


@dataclass
class Gate:
    """A door before a registry, by which nodes come: it lets so many images in, the rest wait."""

    behind: DockerRegistry
    host: str = ""
    _let_in: set[str] = field(default_factory=set)
    _room: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def let_in(self, more: int) -> None:
        """So many images more."""
        async with self._changed:
            self._room += more
            self._changed.notify_all()

    async def _wait(self, digest: str) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: digest in self._let_in or self._room > 0)
            if digest not in self._let_in:
                self._let_in.add(digest)
                self._room -= 1

    async def answer(self, request: web.Request) -> web.Response:
        if request.method == "GET" and "/manifests/" in request.path:
            await self._wait(request.path.rpartition("/")[2])
        accepted = {"Accept": ",".join(request.headers.getall("Accept", ["*/*"]))}
        url = self.behind.url + request.path_qs
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, url, headers=accepted) as answer,
        ):
            body = await answer.read()
            headers = {name: answer.headers[name] for name in KEPT if name in answer.headers}
            return web.Response(status=answer.status, body=body, headers=headers)


@asynccontextmanager
async def gate(behind: DockerRegistry) -> AsyncIterator[Gate]:
    """The door, shut, for the length of a `with` block; whoever waits is turned away then."""
    one = Gate(behind)
    app = web.Application()
    app.router.add_route("*", "/v2{tail:.*}", one.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        one.host = f"127.0.0.1:{runner.addresses[0][1]}"
        yield one
    finally:
        await runner.cleanup()


@dataclass
class Story:
    """A daemon of its own process whose node is made to pull through a gate."""

    cluster: Kubernetes
    harbor: LabHarbor
    gate: Gate
    daemon: Served

    def push(self, count: int) -> list[str]:
        """Push so many images; the references that the node is to pull."""
        found = []
        for number in range(count):
            image = program(self.cluster, f"one of {count}: {number}")
            digest = self.harbor.push("apps/web", f"{number}.0", image)
            found.append(named(self.gate.host, "apps/web", digest))
        return found

    async def pods(self) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self.cluster.pods, NAMESPACE)

    async def there(self, count: int) -> None:
        """Wait until there are so many pods."""

        async def enough() -> bool:
            return len(await self.pods()) == count

        await until(enough, 90, f"{count} pods")

    async def counted(self) -> float:
        """How many pods this process has judged `pulled`."""
        families = text_string_to_metric_families(await self.daemon.get("/metrics"))
        samples = [sample for family in families for sample in family.samples]
        return sum(
            one.value
            for one in samples
            if one.name == "syncwatch_probes_total" and one.labels["result"] == "pulled"
        )

    async def judged(self, count: int) -> None:
        """Wait until this process has judged so many."""

        async def enough() -> bool:
            return await self.counted() == count

        await until(enough, 120, f"{count} judged")

    async def expectations(self) -> list[dict[str, Any]]:
        told = json.loads(await self.daemon.get("/api/v1/expectations?all=1&limit=100"))
        return list(told["items"])


@asynccontextmanager
async def story(folder: Path, cluster: Kubernetes, at_once: int) -> AsyncIterator[Story]:
    async with (
        registry(folder, cluster) as one,
        gate(one) as door,
        LabHarbor().serving() as harbor,
    ):
        how = {"at_once": at_once, "one_per_node": False, "timeout": "4m", "per_hour": 100}
        config = settings_for(folder, cluster, one, harbor, pull_host=door.host, **how)
        async with served(config) as daemon:
            harbor.create_webhook_policy("apps", daemon.webhook_url, auth_header=SECRET)

            async def ready() -> bool:
                async with daemon.session.get(daemon.url + "/readyz") as answer:
                    return answer.status == 200

            await until(ready, 30, "a first look at Harbor")
            yield Story(cluster, harbor, door, daemon)


async def test_twenty_probes_outlive_a_kill_and_are_judged_once_each(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    async with story(tmp_path, cluster, at_once=20) as one:
        before = len(await asyncio.to_thread(cluster.asked))
        wanted = one.push(20)
        await one.there(20)
        deadlines = [expires_at(pod) or 0 for pod in await one.pods()]
        await one.gate.let_in(5)
        await one.judged(5)
        await one.there(15)

        await one.daemon.kill()
        # Meanwhile the node goes on, with nobody there to hear of it.
        await one.gate.let_in(5)

        async def ended() -> bool:
            return [pod["status"]["phase"] for pod in await one.pods()].count("Failed") == 5

        await until(ended, 90, "five pods that have pulled")
        await one.daemon.start()
        await one.judged(5)
        await one.gate.let_in(10)
        await one.judged(15)

        await nothing_left(cluster)
        assert time.time() * 1000 < min(deadlines)

        async def all_verified() -> bool:
            rows = await one.expectations()
            return Counter(row["state"] for row in rows) == {"verified": 20}

        await until(all_verified, 30, "twenty verified images")
        rows = await one.expectations()
        assert {row["level"] for row in rows} == {"pulled"}
        for row in rows:
            whole = json.loads(await one.daemon.get(f"/api/v1/expectations/{row['id']}"))
            said = Counter(line["what"] for line in whole["timeline"])
            assert (said["probe"], said["probe/pulled"]) == (1, 1)
            assert [what for what in said if what.startswith("probe/")] == ["probe/pulled"]
        assert await made_since(cluster, before) == len(wanted)


async def made_since(cluster: Kubernetes, seen: int) -> int:
    """How many pods syncwatch has made, of all that it asked since."""
    asked = (await asyncio.to_thread(cluster.asked))[seen:]
    return [(one.verb, one.what, one.code) for one in asked].count(("create", "pods", 201))


async def test_what_a_daemon_left_that_never_came_back_is_reaped_by_another_past_its_time(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    async with story(tmp_path, cluster, at_once=3) as one:
        one.push(3)
        await one.there(3)
        await one.daemon.kill()

        # One that knows nothing of them: a store of its own.
        other = tmp_path / "other"
        other.mkdir()
        config = other / "syncwatch.yml"
        settings = yaml.safe_load(one.daemon.config.read_text())
        settings["store"] = f"sqlite:///{other}/syncwatch.db"
        # It makes none of its own, whatever a clock that jumps has it make of older pushes.
        for entry in settings["destinations"]:
            entry.pop("level", None)
        settings["clusters"][0]["probe"]["images"] = "required"
        config.write_text(yaml.safe_dump(settings))
        clock, seen = Later(), len(await asyncio.to_thread(cluster.asked))
        async with running(config, clock=clock):

            async def listed() -> bool:
                told = (await asyncio.to_thread(cluster.asked))[seen:]
                return ("list", "pods") in [(each.verb, each.what) for each in told]

            await until(listed, 30, "a list of the pods")
            assert len(await one.pods()) == 3, "they may be of one who is there"
            clock.ahead = HOUR
            await nothing_left(cluster, within=60)
            assert await made_since(cluster, seen) == 0
