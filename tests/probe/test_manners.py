"""How much a cluster is asked to do: so many an hour, the oldest first, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import aiohttp
from budgets import hours_of
from probed_scene import CLUSTER, probed, probes
from running import SECRET, until
from servers.daemon import served
from servers.kubernetes_api import KubernetesApi, hangs, pulls

from syncwatch.lab import images

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from running import Watched


async def waiting(watched: Watched) -> float:
    return await watched.metric("syncwatch_probes_waiting", cluster=CLUSTER) or 0.0


async def test_the_budget_of_an_hour_holds_and_says_how_many_wait(tmp_path: Path) -> None:
    """The same with 1,000 and 60: benchmarks/probes.py."""
    await hours_of(tmp_path, pushed=60, per_hour=12)


async def test_never_more_pods_at_a_time_than_allowed(tmp_path: Path) -> None:
    async with (
        KubernetesApi(lambda pod: pulls(pod, 0.3)).serving() as api,
        probed(tmp_path, api, at_once=2) as story,
        story.watched() as watched,
    ):
        for number in range(6):
            story.push(f"{number}.0")

        async def done() -> bool:
            return await probes(watched, result="pulled") == 6

        await until(done, 30)
        assert api.most == 2


async def test_twenty_probes_outlive_a_kill_and_are_judged_once_each(tmp_path: Path) -> None:
    async with (
        KubernetesApi(lambda pod: pulls(pod, 3.0)).serving() as api,
        probed(tmp_path, api, at_once=20, one_per_node=False, timeout="30s") as story,
        served(story.config) as daemon,
    ):
        story.harbor.create_webhook_policy("apps", daemon.webhook_url, auth_header=SECRET)
        await ready(daemon.url)
        for number in range(20):
            story.harbor.push("apps/web", f"{number}.0", images.image(str(number)))

        async def all_made() -> bool:
            return len(api.pods) == 20

        await until(all_made, 30, "twenty pods")
        await daemon.kill()
        await daemon.start()

        async def verified() -> bool:
            told = json.loads(await daemon.get("/api/v1/expectations?all=1&limit=100"))
            return [one["state"] for one in told["items"]].count("verified") == 20

        await until(verified, 60, "twenty verified images")

        async def gone() -> bool:
            return not api.pods

        await until(gone, 30, "an empty namespace")
        assert len(api.made) == 20
        for one in json.loads(await daemon.get("/api/v1/expectations?limit=100"))["items"]:
            whole = json.loads(await daemon.get(f"/api/v1/expectations/{one['id']}"))
            said = [line["what"] for line in whole["timeline"]]
            assert said.count("probe/pulled") == 1


async def ready(url: str) -> None:
    async def answers() -> bool:
        async with aiohttp.ClientSession() as session, session.get(url + "/readyz") as answer:
            return answer.status == 200

    await until(answers)


async def test_a_pod_past_its_time_is_deleted_whoever_made_it(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api) as story,
    ):
        left = left_over("old", "2020-01-01T00:00:00Z")
        young = left_over("young", "2120-01-01T00:00:00Z")
        other = {"metadata": {"name": "other", "labels": {"app": "other"}}, "status": {}}
        for pod in (left, young, other):
            api.pods[pod["metadata"]["name"]] = pod
        async with story.watched():

            async def reaped() -> bool:
                return "old" not in api.pods

            await until(reaped)
            assert set(api.pods) == {"young", "other"}


def left_over(name: str, expires_at: str) -> dict[str, Any]:
    labels = {
        "app.kubernetes.io/name": "syncwatch-probe",
        "app.kubernetes.io/managed-by": "syncwatch",
    }
    annotations = {"syncwatch/expires-at": expires_at}
    return {
        "metadata": {"name": name, "uid": name, "labels": labels, "annotations": annotations},
        "spec": {},
        "status": {"phase": "Pending"},
    }


async def test_after_a_pull_that_hung_the_cluster_is_left_alone(tmp_path: Path) -> None:
    async with (
        KubernetesApi(hangs).serving() as api,
        probed(tmp_path, api, timeout="500ms", at_once=1) as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        await watched.row(reference="1.0", reason="probe_inconclusive")
        api.script = pulls
        story.push("2.0")
        await watched.row(reference="2.0", reason="probing")

        end = time.monotonic() + 2
        while time.monotonic() < end:
            assert len(api.made) == 1
            await asyncio.sleep(0.1)


WITHOUT = """
import asyncio, sys, tempfile
from pathlib import Path
sys.path[:0] = [{tests!r}, {daemon!r}]
from scene import scene

async def main():
    async with scene(Path(tempfile.mkdtemp())) as story, story.watched() as watched:
        story.push("1.0")
        await watched.row(reference="1.0", state="verified")
    names = [name for name in sys.modules if name.partition(".")[0] == "kubernetes_asyncio"]
    print("imported:", names, "syncwatch.probe.prober" in sys.modules)

asyncio.run(main())
"""


def test_without_a_cluster_nothing_of_kubernetes_is_imported(tmp_path: Path) -> None:
    from pathlib import Path as Path_

    tests = Path_(__file__).parents[1]
    script = tmp_path / "without.py"
    script.write_text(WITHOUT.format(tests=str(tests), daemon=str(tests / "daemon")))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False
    )

    assert "imported: [] False" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
