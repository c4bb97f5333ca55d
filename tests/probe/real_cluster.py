"""A real node that is made to pull: by the pod that syncwatch makes, or by the whole daemon."""

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
from servers.docker_registry import DockerRegistry, docker_registry
from servers.kubernetes.cluster import NOBODY, Kubernetes
from servers.kubernetes.cluster import USER as CLUSTER_USER
from servers.kubernetes.node import program_image

from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.model import ProbeMode, Pulling
from syncwatch.probe.cluster import Cluster
from syncwatch.probe.judging import Judgement, judge
from syncwatch.probe.pod import Manner, Order, manifest, new_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from running import Watched

    from syncwatch.runtime import Clock

MARKS = [
    pytest.mark.kubernetes,
    pytest.mark.real,
    pytest.mark.slow,
    # The first of them may have to wait until the programs are built.
    pytest.mark.timeout(300, func_only=True),
]

NAMESPACE = "syncwatch-probe"
DEPLOY = Path(__file__).parents[2] / "deploy/kubernetes/probe"
RBAC = "/apis/rbac.authorization.k8s.io/v1"

BEGINNING = ("Pulling", "FailedScheduling")
"""Reasons of events from which on a test waits: before, a busy machine may take its time."""

PROGRAM = "/under-test"
"""The program in images under test: nothing else on the machine is called so."""


def rights(*files: str) -> Iterator[dict[str, Any]]:
    """What deploy/ has for probes, for a user in the place of the service account."""
    for name in files:
        for document in yaml.safe_load_all((DEPLOY / name).read_text()):
            if "subjects" in document:
                user = {"kind": "User", "name": CLUSTER_USER}
                document["subjects"] = [{**user, "apiGroup": "rbac.authorization.k8s.io"}]
            yield document


def apply_rights(one: Kubernetes, *files: str) -> None:
    """Give the user `syncwatch` what these files say, by default all."""
    for document in rights(*(files or ("role.yaml", "nodes.yaml"))):
        one.make(path_of(document), document)


def path_of(document: dict[str, Any]) -> str:
    """Where the API has all of a kind."""
    namespace = document["metadata"].get("namespace")
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{RBAC}{inside}/{document['kind'].lower()}s"


@dataclass
class Told:
    """What a pod came to, the pod as it was last, and the program's processes seen meanwhile."""

    judged: Judgement
    pod: dict[str, Any]
    seconds: float
    ran: bool

    @property
    def said(self) -> tuple[Pulling, str]:
        return self.judged.result, self.judged.cause


async def pull(
    cluster: Kubernetes,
    folder: Path,
    image: str,
    *,
    mode: ProbeMode = ProbeMode.PULL,
    within: float = 30.0,
    held: bool = False,
    spec: dict[str, Any] | None = None,
    until_it_runs: bool = False,
    grace: int = 0,
    **manner: Any,
) -> Told:
    """Have the node pull an image by the pod that syncwatch makes, and judge what it says.

    It is given up `within` so many seconds from the first event on that says how it goes. `held`:
    what syncwatch knows of the node; `spec`: what the pod has otherwise than ours; `grace`: the
    seconds that it may take to end.
    """
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
    wanted = manifest(order, Manner(**{"mode": mode, "one_per_node": False, **manner}))
    wanted["spec"] |= spec or {}
    if mode is ProbeMode.START:
        cluster.to_run.add(image)
    ran, deadline_at = False, 60_000
    try:
        pod = await api.create(wanted)
        uid = pod["metadata"]["uid"]
        while True:
            pod = await api.get(name) or pod
            ran = ran or bool(await running_programs(cluster))
            now = int((time.monotonic() - began) * 1000)
            events = await api.events(uid)
            if any(each["reason"] in BEGINNING for each in events):
                deadline_at = min(deadline_at, now + int(within * 1000))
            judged = judge(
                pod,
                events,
                now,
                image=image,
                digest=digest,
                mode=mode,
                deadline_at=deadline_at,
                held=held,
            )
            goes_on = is_between(pod, events) or (until_it_runs and not ran)
            if judged is not None and not goes_on:
                return Told(judged, pod, time.monotonic() - began, ran)
            await asyncio.sleep(0.1)
    finally:
        await api.delete(name, "", grace)
        await api.close()


def is_between(pod: dict[str, Any], events: list[dict[str, Any]]) -> bool:
    """Whether its image was pulled and its container is about to start, or not to.

    One that is deleted then may start all the same, a moment later.
    """
    told = {each["reason"] for each in events}
    (container,) = pod["status"].get("containerStatuses") or [{}]
    state = container.get("state", {})
    waits = state.get("waiting", {}).get("reason", "").startswith("CreateContainer")
    return "Pulled" in told and not (waits or "Started" in told or "terminated" in state)


async def running_programs(cluster: Kubernetes) -> list[int]:
    """The processes on the node that are of an image under test."""
    return await asyncio.to_thread(cluster.node.running, PROGRAM)


async def empty(cluster: Kubernetes) -> None:
    """Nothing of what tests had started runs on the node any more, and it holds no image."""

    async def ended() -> bool:
        return not await running_programs(cluster)

    await until(ended, 120, "the end of what ran")
    await asyncio.to_thread(cluster.node.forget_images)


async def started(cluster: Kubernetes) -> list[str]:
    """What was started on the node so far."""
    return await asyncio.to_thread(cluster.node.started)


@contextlib.asynccontextmanager
async def registry(folder: Path, cluster: Kubernetes, **how: Any) -> AsyncIterator[DockerRegistry]:
    """A docker-registry, for a node that holds nothing."""
    await empty(cluster)
    async with docker_registry(folder, **how) as one:
        yield one


def program(
    cluster: Kubernetes, words: str, *command: str, body: bytes | None = None, **more: Any
) -> images.Image:
    """An image with a program in it that would run for ever; `body` is another."""
    layer, config = program_image(
        (cluster.node.programs / "pause").read_bytes() if body is None else body,
        words,
        **{"command": command or (PROGRAM,), "name": PROGRAM.strip("/"), **more},
    )
    built = images.layered(words, layer)
    manifest = built.manifest.replace(
        built.config_digest.encode(), images.digest_of(config).encode()
    ).replace(f'"size":{len(built.blobs[0])}'.encode(), f'"size":{len(config)}'.encode(), 1)
    return images.Image(built.media_type, manifest, (config, layer))


def named(host: str, repository: str, digest: str) -> str:
    """The reference that our pods pull."""
    return f"{host}/{repository}@{digest}"


def settings_for(
    folder: Path,
    cluster: Kubernetes,
    one: DockerRegistry,
    harbor: LabHarbor,
    *,
    pull_host: str = "",
    level: str = "pulled",
    **probe: Any,
) -> Path:
    """The configuration of a daemon that has the node pull what Harbor copies to `one`."""
    kubeconfig = cluster.kubeconfig(folder / "daemon.kubeconfig", NOBODY)
    settings = {
        "name": "real",
        "kubeconfig": str(kubeconfig),
        "probe": {"mode": "pull", "namespace": NAMESPACE, "timeout": "30s", **probe},
    }
    harbor.create_registry("docker", one.url)
    harbor.create_policy("to-docker", "docker", pattern="apps/**")
    user, password = harbor.create_robot("syncwatch")
    login = {"url": harbor.url, "username": user, "password": password}
    entry = {"name": "docker", "cluster": "real", "level": level}
    entry |= {"pull_host": pull_host} if pull_host else {}
    return settings_file(folder, login, more_destinations=[entry], clusters=[settings])


@contextlib.asynccontextmanager
async def watching(
    folder: Path,
    cluster: Kubernetes,
    one: DockerRegistry,
    *,
    clock: Clock | None = None,
    **how: Any,
) -> AsyncIterator[tuple[LabHarbor, Watched]]:
    """A lab Harbor that copies to docker-registry, and the daemon that has the node pull."""
    async with LabHarbor().serving() as harbor:
        config = settings_for(folder, cluster, one, harbor, **how)
        async with running(config, clock=clock) as watched:
            harbor.create_webhook_policy("apps", watched.webhook_url, auth_header=SECRET)
            yield harbor, watched


async def nothing_left(cluster: Kubernetes, within: float = 30) -> None:
    """Wait until the namespace of probes is empty."""

    async def gone() -> bool:
        return not await asyncio.to_thread(cluster.pods, NAMESPACE)

    await until(gone, within, "an empty namespace")
