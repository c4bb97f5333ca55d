"""syncwatch as docs/deploy.md installs it, in the tests' cluster, with a lab Harbor beside it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml
from deploy_files import FOLDER, documents
from running import until
from servers.docker_registry import docker_registry
from whole_cluster import GATEWAY, IMAGE, Whole, whole

from syncwatch.lab.harbor import LabHarbor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from servers.docker_registry import DockerRegistry
    from servers.kubernetes.cluster import Kubernetes

NAMESPACE = "syncwatch"
TOKEN, WEBHOOK = "token-of-the-api", "Bearer of-the-webhook"


@dataclass
class Installed:
    """syncwatch in pods, asked through its Services."""

    cluster: Whole
    harbor: LabHarbor
    registry: DockerRegistry
    folder: Path
    """The changed copy of deploy/kubernetes."""
    variant: str
    webhook: str = ""
    web: str = ""

    async def ask(self, path: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(self.web + path) as answer,
        ):
            return answer.status, await answer.json()

    async def deliver(self) -> int:
        """The status that a webhook of no interest gets; 0 where nobody takes it."""
        with contextlib.suppress(aiohttp.ClientError):
            async with (
                aiohttp.ClientSession(headers={"Authorization": WEBHOOK}) as session,
                session.post(f"{self.webhook}/webhook/main", json={"at": time.time_ns()}) as answer,
            ):
                return answer.status
        return 0

    async def row(self, within: float = 60, **wanted: Any) -> dict[str, Any]:
        last: Any = None

        async def found() -> dict[str, Any] | None:
            nonlocal last
            with contextlib.suppress(aiohttp.ClientError):
                _, last = await self.ask("/api/v1/expectations?all=1")
                return next((r for r in last["items"] if wanted.items() <= r.items()), None)
            return None

        try:
            return await until(found, within, str(wanted))
        except AssertionError as error:
            raise AssertionError(f"{error}: {last}\n{await self.log()}") from None

    async def pods(self) -> list[str]:
        found = await asyncio.to_thread(self.cluster.get, "pods", "-n", NAMESPACE)
        return [one["metadata"]["name"] for one in found["items"]]

    async def run(self, command: str, *, good: bool = True) -> str:
        """What a command in the pod says, which has to end well, or not."""
        pods = await self.pods()
        ended_well, said = await asyncio.to_thread(self.cluster.run, NAMESPACE, pods[0], command)
        assert ended_well is good, f"{command}: {said}"
        return said

    async def log(self) -> str:
        pods = await self.pods()
        logs = [await asyncio.to_thread(self.cluster.log, NAMESPACE, one) for one in pods]
        return "\n".join(logs)

    def change(self, **top: Any) -> None:
        """Write other settings into the ConfigMap of the copy."""
        path = self.folder / self.variant / "configmap.yaml"
        (document,) = documents(path)
        settings = yaml.safe_load(document["data"]["syncwatch.yml"]) | top
        document["data"]["syncwatch.yml"] = yaml.safe_dump(settings)
        path.write_text(yaml.safe_dump(document))

    async def kubectl(self, *command: str) -> str:
        return await asyncio.to_thread(self.cluster.kubectl, *command)

    async def apply(self, what: str) -> None:
        await self.kubectl("apply", "-k", str(self.folder / what))

    async def rolled_out(self) -> None:
        command = ("-n", NAMESPACE, "rollout", "status", "deploy/syncwatch", "--timeout=90s")
        try:
            await self.kubectl(*command)
        except AssertionError as error:
            told = await self.kubectl("-n", NAMESPACE, "describe", "pods")
            raise AssertionError(f"{error}\n{told}\n{await self.log()}") from None

    async def taken_up(self, words: str) -> None:
        """A changed ConfigMap or Secret is in the pod, and was read by SIGHUP."""
        # The kubelet would look within a minute or so: by a changed pod it is called at once.
        for pod in await self.pods():
            await self.kubectl(
                *("-n", NAMESPACE, "annotate", "--overwrite", "pod", pod),
                f"tests/called-at={time.time_ns()}",
            )

        async def has_arrived() -> bool:
            return words in await self.run("cat /etc/syncwatch/syncwatch.yml")

        await until(has_arrived, 100, "the change in the pod")
        await self.run("syncwatch config check -c /etc/syncwatch/syncwatch.yml")
        before = (await self.log()).count("configuration_reloaded")
        await self.run("sh -c kill${IFS}-HUP${IFS}1")

        async def was_read() -> bool:
            return (await self.log()).count("configuration_reloaded") > before

        await until(was_read, 20, "the reload")


@contextlib.asynccontextmanager
async def installed(
    kubernetes: Kubernetes, folder: Path, *servers: str, variant: str = "", **settings: Any
) -> AsyncIterator[Installed]:
    """What docs/deploy.md says, step by step, with a lab Harbor on the node's machine."""
    for name in ("of-images", "destination"):
        (folder / name).mkdir()
    async with (
        whole(kubernetes, folder) as cluster,
        docker_registry(folder / "of-images") as of_images,
        docker_registry(folder / "destination") as destination,
        LabHarbor().serving() as harbor,
    ):
        for url in (harbor.url, destination.url, *servers):
            await cluster.from_pods(url)
        image = f"{of_images.host}/syncwatch"
        await asyncio.to_thread(push_image, image)
        copy = shutil.copytree(FOLDER, folder / "kubernetes")
        one = Installed(cluster, harbor, destination, copy, variant)
        secrets = configure(one, image, settings)
        try:
            await one.kubectl("apply", "-f", str(copy / "common/namespace.yaml"))
            await one.kubectl(
                *("-n", NAMESPACE, "create", "secret", "generic", "syncwatch"),
                f"--from-file={secrets}",
            )
            await one.apply(variant)
            await one.apply("probe")
            await one.rolled_out()
            one.webhook = await cluster.expose(NAMESPACE, "syncwatch-webhook")
            one.web = await cluster.expose(NAMESPACE, "syncwatch-web")
            for project in ("apps", "other"):
                harbor.create_project(project)
                address = f"{one.webhook}/webhook/main"
                harbor.create_webhook_policy(project, address, auth_header=WEBHOOK)
            yield one
        finally:
            await one.kubectl("delete", "namespace", NAMESPACE, "syncwatch-probe")


def push_image(name: str) -> None:
    command = ("skopeo", "copy", "--quiet", "--dest-tls-verify=false")
    archive = f"oci-archive:{IMAGE}"
    subprocess.run([*command, archive, f"docker://{name}:0.1.0"], check=True, timeout=120)


def configure(one: Installed, image: str, settings: dict[str, Any]) -> Path:
    """The placeholders of the copy become what is here; the folder of the secrets."""
    for name in ("here", "elsewhere"):
        one.harbor.create_registry(name, on_the_node(one.registry.url))
    one.harbor.create_policy("to-here", "here", pattern="apps/**")
    one.harbor.create_policy("to-elsewhere", "elsewhere", pattern="other/**")
    user, password = one.harbor.create_robot("syncwatch")
    path = one.folder / one.variant / "kustomization.yaml"
    (kustomization,) = documents(path)
    kustomization["images"][0]["newName"] = image
    # Of the kinds this Kubernetes lacks policy/v1.
    kustomization["resources"] = [
        name for name in kustomization["resources"] if name != "disruption.yaml"
    ]
    path.write_text(yaml.safe_dump(kustomization))
    (document,) = documents(one.folder / one.variant / "configmap.yaml")
    (harbor,) = yaml.safe_load(document["data"]["syncwatch.yml"])["harbors"]
    harbor |= {"url": on_the_node(one.harbor.url), "username": user, "poll_every": "500ms"}
    here = {
        "name": "here",
        "cluster": "own",
        "level": "pulled",
        "url": on_the_node(one.registry.url),
        "pull_host": one.registry.host,
    }
    own = {"name": "own", "probe": {"mode": "pull"}}
    one.change(harbors=[harbor], destinations=[here], clusters=[own], **settings)
    secrets = one.folder.parent / "secrets"
    secrets.mkdir()
    values = {"harbor": password, "webhook": WEBHOOK, "token": TOKEN, "store": "not asked for"}
    for name, value in values.items():
        (secrets / name).write_text(f"{value}\n")
    return secrets


def on_the_node(url: str) -> str:
    """The same server as the pods reach it."""
    return url.replace("127.0.0.1", GATEWAY)


@contextlib.contextmanager
def disk(kubernetes: Kubernetes, folder: Path) -> Iterator[None]:
    """A local volume for the claim, which belongs to root until fsGroup is seen to."""
    folder.mkdir(mode=0o755)
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]}
    spec = {
        "capacity": {"storage": "2Gi"},
        "accessModes": ["ReadWriteOnce"],
        "local": {"path": str(folder)},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
    }
    kubernetes.make("/api/v1/persistentvolumes", {"metadata": {"name": "disk"}, "spec": spec})
    yield
    kubernetes.request("DELETE", "/api/v1/persistentvolumes/disk")
