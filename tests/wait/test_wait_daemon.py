"""`syncwatch wait` against the real daemon: each exit code from a real cause."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from daemon.scene import DESTINATION, scene
from running import until
from stand_in import start, wait

from syncwatch.lab.faults import Fault

if TYPE_CHECKING:
    from pathlib import Path

ON = ["--on", DESTINATION]


async def test_it_waits_for_a_copy_that_is_late_and_prints_the_digest_that_arrived(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as one, one.watched() as watched:
        one.harbor.pause_queue()
        digest = one.push("1.0")
        await watched.row(reference="1.0", state="pending")
        waiting = await start(watched.daemon.url, "apps/web:1.0", *ON)
        assert waiting.process.stderr is not None
        line = (await asyncio.wait_for(waiting.process.stderr.readline(), 20)).decode()
        assert line.startswith("0 of 1 usable after 0s; waiting for apps/web:1.0 pending/")
        one.harbor.resume_queue()
        ended = await waiting.ended()
        assert (ended.code, ended.out) == (0, f"apps/web@{digest}\n")

        name = f"{one.registry.host}/apps/web:1.0"
        ended = await wait(watched.daemon.url, name, "--quiet")
        assert (ended.code, ended.out) == (0, f"{one.registry.host}/apps/web@{digest}\n")
        ended = await wait(watched.daemon.url, "apps/web:1.0", *ON, "--as-pulled", "-q")
        assert ended.out == f"{one.registry.host}/apps/web@{digest}\n"


async def test_each_exit_code_has_its_real_cause(tmp_path: Path) -> None:
    async with scene(tmp_path) as one, one.watched() as watched:
        url = watched.daemon.url
        one.push("1.0")
        await watched.row(reference="1.0", state="verified")

        foreign = await wait(url, "docker.io/library/busybox:1.36", *ON)
        assert (foreign.code, foreign.out) == (1, "")
        assert "docker.io" in foreign.err
        assert (await wait(url, "apps/web:9", *ON)).code == 1
        assert (await wait(url, "apps/web:1.0", "--on", "cluster9")).code == 1
        deep = await wait(url, "apps/web:1.0", *ON, "--level", "pulled")
        assert (deep.code, "has no probe" in deep.err) == (1, True)
        assert (await wait(url, "apps/web:1.0", *ON, "--max-age", "9999d")).code == 2

        one.harbor.pause_queue()
        one.push("2.0")
        late = await wait(url, "apps/web:2.0", "apps/web:1.0", *ON, "--timeout", "1s")
        assert (late.code, late.out) == (3, "")
        assert "not yet: apps/web:2.0: pending/" in late.err
        assert f"syncwatch explain apps/web:2.0 --on {DESTINATION}\n" in late.err
        one.harbor.resume_queue()

        one.registry.fault(Fault.FORBIDDEN, "apps/web")
        closed = await wait(url, "apps/web:1.0", *ON, "--timeout", "1s", "--max-age", "0s")
        assert (closed.code, closed.out) == (4, "")
        assert "cannot tell: apps/web:1.0: " in closed.err
        more = ["--timeout", "1s", "--max-age", "0s", "--fail-open"]
        opened = await wait(url, "apps/web:1.0", *ON, *more)
        assert (opened.code, opened.out) == (0, "apps/web:1.0\n")
        assert "WITHOUT PROOF" in opened.err


async def test_an_image_that_lost_a_layer_is_a_no_at_once(tmp_path: Path) -> None:
    async with scene(tmp_path, destination={"level": "readable"}) as one, one.watched() as watched:
        one.registry.fault(Fault.BLOB_NOT_FOUND, "apps/web")
        one.push("1.0")
        await watched.row(reference="1.0", state="failed")
        ended = await wait(watched.daemon.url, "apps/web:1.0", *ON)
        assert (ended.code, ended.out) == (1, "")
        assert f"no: apps/web:1.0: failed/blob_missing at {DESTINATION}: " in ended.err


async def test_a_token_is_asked_for_and_told(tmp_path: Path) -> None:
    async with scene(tmp_path, token="the-token") as one, one.watched() as watched:
        watched.session.headers["Authorization"] = "Bearer the-token"
        digest = one.push("1.0")
        ended = await wait(watched.daemon.url, "apps/web:1.0", *ON)
        assert (ended.code, ended.out) == (4, "")
        ended = await wait(watched.daemon.url, "apps/web:1.0", *ON, SYNCWATCH_TOKEN="the-token")
        assert (ended.code, ended.out) == (0, f"apps/web@{digest}\n")


async def test_all_images_of_a_rendered_chart_are_waited_for_by_the_names_manifests_have(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as one, one.watched() as watched:
        host = one.registry.host
        one.harbor.pause_queue()
        digests = [one.push("1.0", repository=f"apps/{name}") for name in ("web", "job")]
        pod = {
            "kind": "Pod",
            "metadata": {"name": "web"},
            "spec": {
                "initContainers": [{"name": "job", "image": f"{host}/apps/job@{digests[1]}"}],
                "containers": [
                    {"name": "web", "image": f"{host}/apps/web:1.0"},
                    {"name": "sidecar", "image": "docker.io/library/busybox:1.36"},
                ],
            },
        }
        waiting = await start(watched.daemon.url, "-f", "-", *ON, "--only", host)
        ending = asyncio.create_task(waiting.ended(json.dumps(pod)))

        async def asked_for() -> bool:
            return len(await watched.expectations(state="pending")) == 2

        await until(asked_for)
        one.harbor.resume_queue()
        ended = await ending
        assert ended.code == 0
        assert ended.out.splitlines() == [
            f"{host}/apps/job@{digests[1]}",
            f"{host}/apps/web@{digests[0]}",
        ]


async def test_a_daemon_that_has_not_seen_harbor_yet_knows_no_destination_and_says_no_to_nothing(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as one:
        digest = one.push("1.0")
        one.harbor.switches.slow_seconds = 3.0
        async with one.watched(ready=False, webhooks=False) as watched:
            first = await wait(watched.daemon.url, "apps/web:1.0", *ON, "--timeout", "0s")
            assert (first.code, first.out) == (4, "")
            one.harbor.switches.slow_seconds = 0.0
            host = await wait(watched.daemon.url, f"{one.registry.host}/apps/web:1.0", "-q")
            assert (host.code, host.out) == (0, f"{one.registry.host}/apps/web@{digest}\n")
