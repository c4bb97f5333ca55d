"""On a real Kubernetes (Debian's 1.20): what its kubelet says is judged right, and nothing is left.

One cluster for all of them; each begins on a node that holds no image.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from running import SECRET, running, settings_file, until
from servers.docker_registry import PASSWORD, USER, DockerRegistry, docker_registry
from servers.kubernetes.cluster import NOBODY, Kubernetes
from servers.kubernetes.cluster import USER as CLUSTER_USER
from servers.kubernetes.cluster import kubernetes as bring_up
from servers.kubernetes.node import program_image
from servers.prometheus import prometheus

from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.model import ProbeMode, Pulling
from syncwatch.probe.cluster import Cluster
from syncwatch.probe.judging import Judgement, judge
from syncwatch.probe.pod import Manner, Order, manifest, new_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from running import Watched

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.real,
    pytest.mark.slow,
    # The first of them may have to wait until the programs are built.
    pytest.mark.timeout(300, func_only=True),
]

NAMESPACE = "syncwatch-probe"
DEPLOY = Path(__file__).parents[2] / "deploy/kubernetes/probe"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    """With the namespace of probes and the rights that deploy/ gives, for the user `syncwatch`."""
    with bring_up() as one:
        one.namespace(NAMESPACE)
        apply_rights(one)
        yield one


def apply_rights(one: Kubernetes, *files: str) -> None:
    """What deploy/ has for probes, for a user in the place of the service account."""
    for name in files or ("role.yaml", "nodes.yaml"):
        for document in yaml.safe_load_all((DEPLOY / name).read_text()):
            if "subjects" in document:
                document["subjects"] = [
                    {
                        "kind": "User",
                        "name": CLUSTER_USER,
                        "apiGroup": "rbac.authorization.k8s.io",
                    }
                ]
            one.make(path_of(document), document)


def path_of(document: dict[str, Any]) -> str:
    namespace = document["metadata"].get("namespace")
    inside = f"/namespaces/{namespace}" if namespace else ""
    kind = document["kind"].lower() + "s"
    return f"/apis/rbac.authorization.k8s.io/v1{inside}/{kind}"


@dataclass
class Told:
    """What a pod came to, and the pod as it was last."""

    judged: Judgement
    pod: dict[str, Any]
    seconds: float


async def pull(
    cluster: Kubernetes,
    folder: Path,
    image: str,
    *,
    mode: ProbeMode = ProbeMode.PULL,
    secrets: tuple[str, ...] = (),
    within: float = 30.0,
    **more: Any,
) -> Told:
    """Have the node pull an image by the pod that syncwatch makes, and judge what it says."""
    api = Cluster(
        "real",
        kubeconfig=cluster.kubeconfig(folder / "kubeconfig", NOBODY),
        context=None,
        namespace=NAMESPACE,
        timeout=10,
    )
    digest = image.partition("@")[2]
    name, began = new_name(time.time_ns().to_bytes(8, "big")), time.monotonic()
    expires_at = int(time.time() * 1000) + 600_000
    order = Order(name, image, digest, "real", "real", "", (), expires_at)
    manner = Manner(mode=mode, pull_secrets=secrets, one_per_node=False)
    try:
        pod = await api.create(manifest(order, manner))
        uid = pod["metadata"]["uid"]
        while True:
            pod = await api.get(name) or pod
            now = int((time.monotonic() - began) * 1000)
            judged = judge(
                pod,
                await api.events(uid),
                now,
                image=image,
                digest=digest,
                mode=mode,
                deadline_at=int(within * 1000),
                **more,
            )
            if judged is not None:
                return Told(judged, pod, time.monotonic() - began)
            await asyncio.sleep(0.1)
    finally:
        await api.delete(name, "", 0)
        await api.close()


@contextlib.asynccontextmanager
async def registry(folder: Path, cluster: Kubernetes, **how: Any) -> AsyncIterator[DockerRegistry]:
    """A docker-registry, for a node that holds nothing."""
    await asyncio.to_thread(cluster.node.forget_images)
    async with docker_registry(folder, **how) as one:
        yield one


def named(registry: DockerRegistry, repository: str, digest: str) -> str:
    return f"{registry.host}/{repository}@{digest}"


async def test_a_good_image_is_pulled_and_never_run(cluster: Kubernetes, tmp_path: Path) -> None:
    async with registry(tmp_path, cluster) as one:
        image = program(cluster, "never run")
        digest = await one.push("app", "1", image)
        told = await pull(cluster, tmp_path, named(one, "app", digest))

        assert told.judged.result is Pulling.PULLED, told.judged
        assert told.judged.node == "node-1"
        assert named(one, "app", digest) not in await started(cluster)


def program(cluster: Kubernetes, words: str, *command: str) -> images.Image:
    """An image with a program in it that would run for ever."""
    layer, config = program_image(
        (cluster.node.programs / "pause").read_bytes(), words, command=command or ("/app",)
    )
    built = images.layered(words, layer)
    body = built.manifest.replace(
        built.config_digest.encode(), images.digest_of(config).encode()
    ).replace(f'"size":{len(built.blobs[0])}'.encode(), f'"size":{len(config)}'.encode(), 1)
    return images.Image(built.media_type, body, (config, layer))


async def started(cluster: Kubernetes) -> list[str]:
    """What was started on the node so far."""
    return await asyncio.to_thread(cluster.node.started)


async def test_in_mode_start_the_image_runs(cluster: Kubernetes, tmp_path: Path) -> None:
    async with registry(tmp_path, cluster) as one:
        digest = await one.push("app", "1", program(cluster, "started"))
        told = await pull(cluster, tmp_path, named(one, "app", digest), mode=ProbeMode.START)

        assert told.judged.result is Pulling.PULLED, told.judged
        assert named(one, "app", digest) in await started(cluster)


async def test_in_mode_start_an_image_without_the_program_is_inconclusive(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    async with registry(tmp_path, cluster) as one:
        digest = await one.push("app", "1", program(cluster, "lost", "/nowhere"))
        told = await pull(cluster, tmp_path, named(one, "app", digest), mode=ProbeMode.START)

        assert (told.judged.result, told.judged.cause) == (Pulling.INCONCLUSIVE, "not_started")


async def test_a_digest_that_is_not_there_is_missing(cluster: Kubernetes, tmp_path: Path) -> None:
    async with registry(tmp_path, cluster) as one:
        await one.push("app", "1", images.image("there"))
        told = await pull(cluster, tmp_path, named(one, "app", "sha256:" + "0" * 64))
        assert told.judged.result is Pulling.MISSING, told.judged


@pytest.mark.parametrize("mode", [ProbeMode.PULL, ProbeMode.START], ids=str)
async def test_a_manifest_without_its_layer_is_missing(
    cluster: Kubernetes, tmp_path: Path, mode: ProbeMode
) -> None:
    async with registry(tmp_path, cluster) as one:
        image = images.image("layer lost", size=5000)
        digest = await one.push("app", "1", image)
        one.lose_blob(image.layer_digests[0])
        told = await pull(cluster, tmp_path, named(one, "app", digest), mode=mode)

        assert told.judged.result is Pulling.MISSING, told.judged
        assert image.layer_digests[0] in told.judged.message


async def test_a_manifest_without_its_configuration_is_missing(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    async with registry(tmp_path, cluster) as one:
        image = images.image("configuration lost")
        digest = await one.push("app", "1", image)
        one.lose_blob(image.config_digest)
        told = await pull(cluster, tmp_path, named(one, "app", digest))
        assert told.judged.result is Pulling.MISSING, told.judged


async def test_a_layer_with_other_bytes_is_corrupt(cluster: Kubernetes, tmp_path: Path) -> None:
    async with registry(tmp_path, cluster) as one:
        image = images.image("altered", size=5000)
        digest = await one.push("app", "1", image)
        body = bytearray(image.blobs[1])
        body[len(body) // 2] ^= 1
        one.alter_blob(image.layer_digests[0], bytes(body))
        told = await pull(cluster, tmp_path, named(one, "app", digest))
        assert told.judged.result is Pulling.CORRUPT, told.judged


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("right", Pulling.PULLED),
        ("wrong", Pulling.UNAUTHORIZED),
        ("absent", Pulling.UNAUTHORIZED),
        ("", Pulling.UNAUTHORIZED),
    ],
)
async def test_the_pull_secret_decides_where_one_is_needed(
    cluster: Kubernetes, tmp_path: Path, secret: str, expected: Pulling
) -> None:
    async with registry(tmp_path, cluster, htpasswd=True) as one:
        name = f"{secret or 'none'}-{one.host.rpartition(':')[2]}"
        if secret in ("right", "wrong"):
            password = PASSWORD if secret == "right" else "something else"
            cluster.pull_secret(NAMESPACE, name, one.host, USER, password)
        digest = await one.push("app", "1", images.image(f"secret {secret}"))
        secrets = (name,) if secret else ()
        told = await pull(cluster, tmp_path, named(one, "app", digest), secrets=secrets)
        assert told.judged.result is expected, told.judged


async def test_an_index_without_this_platform_is_of_the_wrong_one(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    async with registry(tmp_path, cluster) as one:
        digest = await one.push("app", "1", images.platforms("elsewhere", "arm64", "s390x"))
        told = await pull(cluster, tmp_path, named(one, "app", digest))
        assert told.judged.result is Pulling.WRONG_PLATFORM, told.judged


async def test_an_index_with_this_platform_is_pulled(cluster: Kubernetes, tmp_path: Path) -> None:
    async with registry(tmp_path, cluster) as one:
        digest = await one.push("app", "1", images.attested("here", "amd64", "arm64"))
        told = await pull(cluster, tmp_path, named(one, "app", digest))
        assert told.judged.result is Pulling.PULLED, told.judged


async def test_an_image_with_nothing_in_it_is_pulled(cluster: Kubernetes, tmp_path: Path) -> None:
    async with registry(tmp_path, cluster) as one:
        digest = await one.push("app", "1", images.layered("nothing"))
        told = await pull(cluster, tmp_path, named(one, "app", digest))
        assert told.judged.result is Pulling.PULLED, told.judged


async def test_a_chart_proves_nothing(cluster: Kubernetes, tmp_path: Path) -> None:
    async with registry(tmp_path, cluster) as one:
        digest = await one.push("chart", "1", images.chart("app", "1.0.0"))
        told = await pull(cluster, tmp_path, named(one, "chart", digest))
        assert told.judged.result is Pulling.INCONCLUSIVE, told.judged


async def test_a_registry_that_is_not_there_is_unreachable(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    from servers import free_port

    host = f"127.0.0.1:{free_port()}"
    told = await pull(cluster, tmp_path, f"{host}/app@sha256:{'1' * 64}")
    assert told.judged.result is Pulling.UNREACHABLE, told.judged


async def test_a_registry_that_hangs_proves_nothing_and_holds_up_the_node_until_it_ends(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    taken: list[asyncio.StreamWriter] = []

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(writer)

    hanging = await asyncio.start_server(take, "127.0.0.1", 0)
    host = f"127.0.0.1:{hanging.sockets[0].getsockname()[1]}"
    async with hanging, registry(tmp_path, cluster) as one:
        digest = await one.push("app", "1", images.image("behind a hang"))
        told = await pull(cluster, tmp_path, f"{host}/app@sha256:{'2' * 64}", within=4)
        assert (told.judged.result, told.judged.cause) == (Pulling.INCONCLUSIVE, "hung")

        behind = await pull(cluster, tmp_path, named(one, "app", digest), within=4)
        assert (behind.judged.result, behind.judged.cause) == (Pulling.INCONCLUSIVE, "hung")

        hanging.close()
        for writer in taken:
            writer.transport.abort()
        told = await pull(cluster, tmp_path, named(one, "app", digest), within=60)
        assert told.judged.result is Pulling.PULLED, told.judged


async def test_an_image_that_the_node_held_proves_the_reference_only(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    async with registry(tmp_path, cluster) as one:
        image = images.image("held", size=5000)
        digest = await one.push("app", "1", image)
        first = await pull(cluster, tmp_path, named(one, "app", digest))
        one.lose_blob(image.layer_digests[0])
        second = await pull(cluster, tmp_path, named(one, "app", digest), held=True)

        assert first.judged.result is Pulling.PULLED, first.judged
        # The kubelet is content; syncwatch is not.
        assert (second.judged.result, second.judged.cause) == (Pulling.INCONCLUSIVE, "held")


@contextlib.asynccontextmanager
async def watching(
    folder: Path, cluster: Kubernetes, one: DockerRegistry, **probe: Any
) -> AsyncIterator[tuple[LabHarbor, Watched]]:
    """A lab Harbor that copies to docker-registry, and the daemon that has the node pull."""
    kubeconfig = cluster.kubeconfig(folder / "daemon.kubeconfig", NOBODY)
    settings = {
        "name": "real",
        "kubeconfig": str(kubeconfig),
        "probe": {"mode": "pull", "namespace": NAMESPACE, "timeout": "30s", **probe},
    }
    async with LabHarbor().serving() as harbor:
        harbor.create_registry("docker", one.url)
        harbor.create_policy("to-docker", "docker", pattern="apps/**")
        user, password = harbor.create_robot("syncwatch")
        login = {"url": harbor.url, "username": user, "password": password}
        entry = {"name": "docker", "cluster": "real", "level": "pulled"}
        config = settings_file(folder, login, more_destinations=[entry], clusters=[settings])
        async with running(config) as watched:
            harbor.create_webhook_policy("apps", watched.webhook_url, auth_header=SECRET)
            yield harbor, watched


async def nothing_left(cluster: Kubernetes) -> None:
    async def gone() -> bool:
        return not await asyncio.to_thread(cluster.pods, NAMESPACE)

    await until(gone, 30, "an empty namespace")


async def test_from_a_push_to_the_kubelets_pull_with_lag_by_milestone_in_prometheus(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    async with (
        registry(tmp_path, cluster) as one,
        watching(tmp_path, cluster, one) as (harbor, watched),
        prometheus(tmp_path, watched.daemon.url.removeprefix("http://")) as queried,
    ):
        digest = harbor.push("apps/web", "1.0", images.image("from end to end"))
        row = await watched.row(reference="1.0", state="verified", within=60)

        assert (row["digest"], row["level"]) == (digest, "pulled")
        assert row["notified_at"] <= row["pulled_at"]
        await nothing_left(cluster)

        async def shown() -> bool:
            found = await queried.query("syncwatch_milestone_seconds_count")
            return {labels["milestone"] for labels, _ in found} >= {"notified", "pulled"}

        await until(shown, 30, "the milestones in Prometheus")
        ((_, count),) = await queried.query('syncwatch_probes_total{result="pulled"}')
        assert count == 1


async def test_a_chart_that_is_pushed_is_verified_without_any_pod(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    async with (
        registry(tmp_path, cluster) as one,
        watching(tmp_path, cluster, one) as (harbor, watched),
    ):
        harbor.push("apps/chart", "1.0", images.chart("app", "1.0.0"))
        row = await watched.row(reference="1.0", state="verified", within=60)

        assert row["level"] == "readable"
        assert await watched.metric("syncwatch_probes_total") in (0, None)


async def test_an_image_that_a_node_cannot_pull_is_failed_with_the_kubelets_words(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    async with (
        registry(tmp_path, cluster) as one,
        watching(tmp_path, cluster, one) as (harbor, watched),
    ):
        harbor.push("apps/web", "1.0", images.platforms("for others", "arm64"))
        row = await watched.row(reference="1.0", state="failed", within=60)

        assert row["reason"] == "pull_failed"
        assert "no match for platform" in row["message"]
        await nothing_left(cluster)
