"""The image and the manifests, as docs/deploy.md says, on a real Kubernetes (Debian's 1.20).

Not in CI: `tests/deploy/prepare` makes the image and the controllers, once.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import yaml
from deploy_files import TOP, documents
from installed_in_cluster import NAMESPACE, disk, installed, on_the_node
from running import until
from servers import free_port
from servers.postgresql import postgresql
from whole_cluster import API_SERVER, GATEWAY, with_controllers

from syncwatch.lab import images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from installed_in_cluster import Installed
    from servers.kubernetes.cluster import Kubernetes

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(300, func_only=True),
]


@pytest.fixture(scope="module")
def kubernetes() -> Iterator[Kubernetes]:
    with with_controllers() as one:
        yield one


async def test_from_apply_to_an_image_that_a_node_pulled(
    kubernetes: Kubernetes, tmp_path: Path
) -> None:
    with disk(kubernetes, tmp_path / "disk"):
        async with installed(kubernetes, tmp_path) as one:
            digest = one.harbor.push("apps/web", "1.0", images.image("in a pod", size=5000))
            row = await one.row(reference="1.0", state="verified")
            assert (row["digest"], row["level"]) == (digest, "pulled")
            assert row["notified_at"] is not None
            proxy = f"/api/v1/namespaces/{NAMESPACE}/services/syncwatch-web:metrics/proxy"
            assert "true" in await one.kubectl("get", "--raw", f"{proxy}/readyz")

            await the_pod_may_do_nothing_more(one)
            await another_cluster_is_probed_by_a_kubeconfig(one)
            await a_harbor_that_is_away_keeps_no_webhook_out(one)
            await the_store_is_copied_while_it_is_in_use(one)
            await the_store_outlives_its_pod(one)


async def the_pod_may_do_nothing_more(one: Installed) -> None:
    """What the manifest asks for is what the kernel does."""
    status = dict(line.split(":", 1) for line in (await one.run("cat /proc/1/status")).splitlines())
    assert status["Uid"].split() == ["65532"] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
    await one.run("touch /tmp/x")
    # Whoever may write anywhere else may write there.
    await one.run("touch /var/tmp/x", good=False)
    said = await one.run("syncwatch status --token-file /run/secrets/syncwatch/token")
    assert "here" in said, said


async def another_cluster_is_probed_by_a_kubeconfig(one: Installed) -> None:
    """The same cluster, reached as another one is: docs/deploy.md, with kubeconfig.sh."""
    probe = one.folder / "probe"
    await one.kubectl("apply", "-f", str(probe / "remote.yaml"))
    made = await asyncio.to_thread(
        subprocess.run,
        [str(probe / "kubeconfig.sh"), "--kubeconfig", str(one.cluster.kubeconfig)],
        env={**os.environ, "SERVER": f"https://{API_SERVER}"},
        check=True,
        capture_output=True,
        timeout=60,
    )
    kubeconfig = one.folder.parent / "cluster2"
    kubeconfig.write_bytes(made.stdout)
    await one.kubectl(
        *("-n", NAMESPACE, "create", "secret", "generic", "syncwatch-clusters"),
        f"--from-file=cluster2={kubeconfig}",
    )
    (document,) = documents(one.folder / "configmap.yaml")
    settings = yaml.safe_load(document["data"]["syncwatch.yml"])
    (here,), (own,) = settings["destinations"], settings["clusters"]
    cluster2 = {**own, "name": "cluster2", "kubeconfig": "/etc/syncwatch/cluster2"}
    elsewhere = {**here, "name": "elsewhere", "cluster": "cluster2"}
    one.change(destinations=[here, elsewhere], clusters=[own, cluster2])
    await one.apply("")
    await one.taken_up("cluster2")

    one.harbor.push("other/web", "2.0", images.image("by a kubeconfig", size=5000))
    row = await one.row(reference="2.0", state="verified")
    assert (row["destination"], row["level"]) == ("elsewhere", "pulled")


async def a_harbor_that_is_away_keeps_no_webhook_out(one: Installed) -> None:
    (document,) = documents(one.folder / "configmap.yaml")
    (harbor,) = yaml.safe_load(document["data"]["syncwatch.yml"])["harbors"]
    away = {**harbor, "name": "away", "url": f"http://{GATEWAY}:{free_port()}"}
    one.change(harbors=[harbor, away])
    await one.apply("")
    await one.taken_up("name: away")

    async def is_told() -> bool:
        return (await one.ask("/readyz"))[0] == 503

    await until(is_told, 20, "a Harbor that was not seen")
    # Longer than the kubelet takes to find out.
    await asyncio.sleep(12)
    assert await one.deliver() == 202
    one.change(harbors=[harbor])
    await one.apply("")


async def the_store_is_copied_while_it_is_in_use(one: Installed) -> None:
    """By the command of docs/deploy.md."""
    page = (TOP / "docs/deploy.md").read_text()
    (program,) = re.findall(r"python3 -c '(import sqlite3\n.*?)'$", page, re.DOTALL | re.MULTILINE)
    # The kubelet's own way in parts a command at spaces.
    await one.run("python3 -c " + program.replace(" ", "\t"))
    count = "select\tcount(*)\tfrom\texpectations\twhere\tstate='verified'"
    look = f'import\tsqlite3;print(*sqlite3.connect("/tmp/backup.db").execute("{count}"))'
    assert "(2,)" in await one.run(f"python3 -c {look}")


async def the_store_outlives_its_pod(one: Installed) -> None:
    """Another pod on the same volume knows what the first one verified; and how fast one ends."""
    began = time.monotonic()
    (pod,) = await one.pods()
    await one.kubectl("-n", NAMESPACE, "delete", "pod", pod)
    ended = time.monotonic() - began
    await one.rolled_out()
    # Half of what it is given.
    assert ended < 15
    assert (await one.row(reference="1.0"))["state"] == "verified"
    assert await one.pods() != [pod]


async def test_replicas_on_postgresql_are_replaced_and_no_webhook_is_refused(
    kubernetes: Kubernetes, tmp_path: Path
) -> None:
    async with postgresql() as server:
        store = on_the_node(server.url)
        here = f"tcp://127.0.0.1:{server.port}"
        async with installed(kubernetes, tmp_path, here, variant="postgresql", store=store) as one:
            before = await one.pods()
            assert len(before) == 2
            answers: Counter[int] = Counter()
            ended = asyncio.Event()

            async def go_on() -> None:
                while not ended.is_set():
                    answers[await one.deliver()] += 1
                    await asyncio.sleep(0.05)

            delivering = asyncio.create_task(go_on())
            await one.kubectl("-n", NAMESPACE, "rollout", "restart", "deploy/syncwatch")
            await one.rolled_out()

            async def are_replaced() -> bool:
                return not set(before) & set(await one.pods())

            await until(are_replaced, 40, "the old pods' end")
            ended.set()
            await delivering
            assert answers.keys() == {202}
            assert answers[202] > 50

            digest = one.harbor.push("apps/web", "1.0", images.image("by replicas", size=5000))
            row = await one.row(reference="1.0", state="verified")
            assert (row["digest"], row["level"]) == (digest, "pulled")
