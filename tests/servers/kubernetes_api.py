"""A small Kubernetes API that plays what real kubelets said, with faults on a switch.

Pods, events and nodes of one cluster, over HTTP, in the API's own words. What becomes of a pod is a
script: lines of a recording with its names put in place, or one of a few that no recording has.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import itertools
import json
import ssl
import time
import uuid
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    import trustme
    from kubelets import Recording

TOKEN = "cluster-token"
NODE = "node-1"

Step = tuple[float, str, dict[str, Any]]
"""(seconds after the pod was made, "status" or "event", what it is from then on)."""

Script = list[Step]


def played(recording: Recording, within: float = 0.2) -> Callable[[dict[str, Any]], Script]:
    """What a recorded pod met, for a pod of another name, in so many seconds."""

    def script(pod: dict[str, Any]) -> Script:
        image = pod["spec"]["containers"][0]["image"]
        last = max(recording.until, 0.001)
        steps: Script = []
        for line in recording.lines:
            # Steps keep their order, and a verdict does not wait for backoffs.
            at = within * line.t / last
            if line.pod is not None:
                node = line.pod["spec"].get("nodeName")
                what = {"status": line.pod["status"], "nodeName": node}
                steps.append((at, "status", _renamed(what, recording, image)))
            elif line.event is not None:
                steps.append((at, "event", _renamed(line.event, recording, image)))
        return steps

    return script


def _renamed(what: Any, recording: Recording, image: str) -> Any:
    text = json.dumps(what).replace(json.dumps(recording.image)[1:-1], json.dumps(image)[1:-1])
    return json.loads(text)


def status(phase: str = "Pending", **container: Any) -> dict[str, Any]:
    one = {"name": "probe", "state": {"waiting": {"reason": "ContainerCreating"}}, **container}
    return {"status": {"phase": phase, "containerStatuses": [one]}, "nodeName": NODE}


def says(reason: str, message: str) -> dict[str, Any]:
    return {"reason": reason, "message": message, "type": "Normal"}


def pulls(pod: dict[str, Any], after: float = 0.05) -> Script:
    """It pulls well, and does not start, for its command cannot exist."""
    image = pod["spec"]["containers"][0]["image"]
    digest = image.partition("@")[2]
    ended = {"terminated": {"reason": "StartError", "exitCode": 128, "message": "no such file"}}
    return [
        (0.0, "status", status()),
        (after / 2, "event", says("Pulling", f'Pulling image "{image}"')),
        (after, "event", says("Pulled", f'Successfully pulled image "{image}" in 64ms')),
        (after, "status", status("Failed", imageID=f"x@{digest}", state=ended)),
    ]


def hangs(pod: dict[str, Any]) -> Script:
    """`Pulling`, and then nothing for ever."""
    image = pod["spec"]["containers"][0]["image"]
    return [
        (0.0, "status", status()),
        (0.02, "event", says("Pulling", f'Pulling image "{image}"')),
    ]


def refuses(words: str) -> Callable[[dict[str, Any]], Script]:
    """The pull fails with these words."""

    def script(pod: dict[str, Any]) -> Script:
        image = pod["spec"]["containers"][0]["image"]
        waiting = {"waiting": {"reason": "ErrImagePull", "message": f"{image}: {words}"}}
        return [
            (0.0, "status", status()),
            (0.02, "event", says("Pulling", f'Pulling image "{image}"')),
            (0.05, "event", says("Failed", f'Failed to pull image "{image}": {words}')),
            (0.05, "status", status(state=waiting)),
            # Its second try, some twelve seconds later on a real node.
            (0.1, "event", says("Failed", f'Failed to pull image "{image}": {words}')),
        ]

    return script


def nobody_takes_it(pod: dict[str, Any]) -> Script:
    """The scheduler finds no node."""
    del pod
    return [(0.0, "event", says("FailedScheduling", "0/1 nodes are available: 1 too many pods."))]


@dataclass
class Faults:
    """What goes wrong from now on; the number of times, where it is one."""

    status: dict[str, tuple[int, dict[str, Any], dict[str, str]]] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)
    slow: float = 0.0
    watch_expires: int = 0
    watch_breaks: int = 0
    watch_is_silent: bool = False
    list_expires: int = 0
    page: int = 0
    never_ends: bool = False
    denied: frozenset[str] = frozenset()

    def refuse(
        self, what: str, code: int, message: str = "", *, times: int = 10**9, **headers: str
    ) -> None:
        """`what` is a verb and a resource ("create pods"); it is answered so from now on."""
        body = {"kind": "Status", "status": "Failure", "message": message, "code": code}
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        self.status[what], self.times[what] = (code, body, sent), times


class KubernetesApi:
    """One cluster's API; `async with KubernetesApi().serving() as api`."""

    def __init__(
        self,
        script: Callable[[dict[str, Any]], Script] = pulls,
        *,
        tls: trustme.CA | None = None,
    ) -> None:
        self.script = script
        self.tls = tls
        self.faults = Faults()
        self.token = TOKEN
        self.pods: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.nodes: list[dict[str, Any]] = [node(NODE)]
        self.asked: Counter[str] = Counter()
        self.made: list[dict[str, Any]] = []
        self.made_at: list[float] = []
        self.most = 0
        self.url = ""
        self._versions = itertools.count(100)
        self._history: deque[tuple[int, str, dict[str, Any]]] = deque(maxlen=1000)
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self._port = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[KubernetesApi]:
        await self.up()
        try:
            yield self
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.down()

    async def up(self) -> None:
        """Listen, on the same port as before."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        context = None
        if self.tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.issue_cert("127.0.0.1").configure_cert(context)
        site = web.TCPSite(
            self._runner, "127.0.0.1", self._port, ssl_context=context, reuse_address=True
        )
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self._port}"

    async def down(self) -> None:
        """Refuse all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def kubeconfig(
        self,
        path: Path,
        *,
        token: str | None = None,
        program: dict[str, Any] | None = None,
        ca: trustme.CA | None = None,
    ) -> Path:
        """A kubeconfig that leads here; `program` tells the token, where there is one."""
        credential = {"exec": program} if program else {"token": token or self.token}
        cluster = {"server": self.url}
        if ca is not None:
            pem = base64.b64encode(ca.cert_pem.bytes()).decode()
            cluster["certificate-authority-data"] = pem
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "k", "cluster": cluster}],
            "users": [{"name": "u", "user": credential}],
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        }
        path.write_text(yaml.safe_dump(document))
        path.chmod(0o600)
        return path

    @property
    def images(self) -> list[str]:
        """What the pods were to pull, in the order in which they were made."""
        return [one["spec"]["containers"][0]["image"] for one in self.made]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        # /api/VERSION/… or /apis/GROUP/VERSION/…
        group, *rest = request.path.strip("/").split("/")
        rest = rest[2:] if group == "apis" else rest[1:]
        namespace = rest[1] if rest[:1] == ["namespaces"] else ""
        resource, name = (*rest[2:], "", "")[:2] if namespace else (*rest, "", "")[:2]
        verb = self._verb(request, name)
        what = f"{verb} {resource}"
        self.asked[what] += 1
        if self.faults.slow:
            await asyncio.sleep(self.faults.slow)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _failure(401, "Unauthorized")
        if what in self.faults.status and self.faults.times[what] > 0:
            self.faults.times[what] -= 1
            code, body, headers = self.faults.status[what]
            return web.json_response(body, status=code, headers=headers)
        if resource == "selfsubjectaccessreviews":
            asked = (await request.json())["spec"]["resourceAttributes"]
            right = f"{asked['verb']} {asked['resource']}"
            return web.json_response({"status": {"allowed": right not in self.faults.denied}})
        if resource == "nodes":
            return web.json_response({"kind": "NodeList", "metadata": {}, "items": self.nodes})
        if resource == "events":
            return self._list(request, self._events_of(request))
        return await self._pods(request, verb, name, namespace)

    @staticmethod
    def _verb(request: web.Request, name: str) -> str:
        if request.method == "GET":
            watched = request.query.get("watch") in ("true", "1")
            return "watch" if watched else ("get" if name else "list")
        return {"POST": "create", "DELETE": "delete"}[request.method]

    async def _pods(
        self, request: web.Request, verb: str, name: str, namespace: str
    ) -> web.StreamResponse:
        if verb == "watch":
            return await self._watch(request)
        if verb == "list":
            return self._list(request, _selected(request, self.pods.values()))
        if verb == "create":
            pod = await request.json()
            if request.query.get("dryRun"):
                return web.json_response(pod, status=201)
            return await self._create(pod, namespace)
        if name not in self.pods:
            return _failure(404, f'pods "{name}" not found', "NotFound")
        if verb == "get":
            return web.json_response(self.pods[name])
        return await self._delete(request, name)

    async def _create(self, pod: dict[str, Any], namespace: str) -> web.Response:
        name = pod["metadata"]["name"]
        if name in self.pods:
            return _failure(409, f'pods "{name}" already exists', "AlreadyExists")
        pod = copy.deepcopy(pod)
        pod["metadata"] |= {"uid": str(uuid.uuid4()), "namespace": namespace}
        pod["status"] = {"phase": "Pending"}
        self.made.append(pod)
        self.made_at.append(time.monotonic())
        await self._set("ADDED", pod)
        self.most = max(self.most, len(self.pods))
        task = asyncio.create_task(self._play(name, pod["metadata"]["uid"], self.script(pod)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return web.json_response(pod, status=201)

    async def _play(self, name: str, uid: str, script: Script) -> None:
        began = time.monotonic()
        for at, kind, what in script:
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            pod = self.pods.get(name)
            if pod is None or pod["metadata"]["uid"] != uid:
                return
            if kind == "event":
                self.events.append(
                    {**what, "involvedObject": {"kind": "Pod", "name": name, "uid": uid}}
                )
                continue
            changed = copy.deepcopy(pod)
            changed["status"] = what["status"]
            changed["spec"]["nodeName"] = what["nodeName"]
            await self._set("MODIFIED", changed)

    async def _delete(self, request: web.Request, name: str) -> web.Response:
        options = await request.json() if request.can_read_body else {}
        pod = copy.deepcopy(self.pods[name])
        wanted, uid = options.get("preconditions", {}).get("uid"), pod["metadata"].get("uid")
        if wanted not in (None, uid):
            why = f"UID in precondition: {wanted}, UID in object meta: {uid}"
            words = f'Operation cannot be fulfilled on Pod "{name}": Precondition failed: {why}'
            return _failure(409, words, "Conflict")
        if options.get("gracePeriodSeconds", 30) == 0:
            await self.remove(name)
            return web.json_response(pod)
        pod["metadata"]["deletionTimestamp"] = "2026-11-24T00:00:00Z"
        await self._set("MODIFIED", pod)
        if self.faults.never_ends:
            return web.json_response(pod)
        task = asyncio.create_task(self._later(name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return web.json_response(pod)

    async def _later(self, name: str) -> None:
        await asyncio.sleep(0.2)
        await self.remove(name)

    async def remove(self, name: str) -> None:
        """It is gone, whoever wanted it."""
        pod = self.pods.pop(name, None)
        if pod is not None:
            await self._tell("DELETED", pod)

    async def _set(self, kind: str, pod: dict[str, Any]) -> None:
        self.pods[pod["metadata"]["name"]] = pod
        await self._tell(kind, pod)

    async def _tell(self, kind: str, pod: dict[str, Any]) -> None:
        version = next(self._versions)
        pod["metadata"]["resourceVersion"] = str(version)
        self._history.append((version, kind, copy.deepcopy(pod)))
        async with self._changed:
            self._changed.notify_all()

    def _events_of(self, request: web.Request) -> list[dict[str, Any]]:
        wanted = dict(
            one.split("=", 1) for one in request.query.get("fieldSelector", "").split(",") if one
        )
        uid = wanted.get("involvedObject.uid")
        return [one for one in self.events if uid in (None, one["involvedObject"]["uid"])]

    def _list(self, request: web.Request, items: Iterable[dict[str, Any]]) -> web.Response:
        listed, begin = list(items), int(request.query.get("continue") or 0)
        if begin and self.faults.list_expires > 0:
            self.faults.list_expires -= 1
            return _failure(410, "The provided continue parameter is too old", "Expired")
        page = min(int(request.query.get("limit") or 500), self.faults.page or 500)
        more = str(begin + page) if begin + page < len(listed) else ""
        metadata = {"resourceVersion": str(next(self._versions)), "continue": more}
        body = {"kind": "List", "metadata": metadata, "items": listed[begin : begin + page]}
        return web.json_response(body)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        if self.faults.watch_expires > 0:
            self.faults.watch_expires -= 1
            gone = {"kind": "Status", "code": 410, "reason": "Expired"}
            await response.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            return response
        version = int(request.query.get("resourceVersion") or 0)
        until = time.monotonic() + float(request.query.get("timeoutSeconds") or 60)
        while time.monotonic() < until:
            if self.faults.watch_is_silent:
                await asyncio.sleep(0.05)
                continue
            for at, kind, pod in list(self._history):
                if at <= version:
                    continue
                version = at
                line = json.dumps({"type": kind, "object": pod}).encode() + b"\n"
                if self.faults.watch_breaks > 0:
                    self.faults.watch_breaks -= 1
                    await response.write(line[: len(line) // 2])
                    return response
                await response.write(line)
            async with self._changed:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.2)
        return response


def node(name: str, architecture: str = "amd64", images: Iterable[str] = ()) -> dict[str, Any]:
    """A node that runs pods, and holds images by these names."""
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"operatingSystem": "linux", "architecture": architecture},
            "images": [{"names": list(images)}],
        },
    }


def _selected(request: web.Request, pods: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    wanted = dict(
        one.split("=", 1) for one in request.query.get("labelSelector", "").split(",") if one
    )
    return [one for one in pods if wanted.items() <= one["metadata"].get("labels", {}).items()]


def _failure(code: int, message: str, reason: str = "") -> web.Response:
    body = {"kind": "Status", "status": "Failure", "message": message, "reason": reason}
    return web.json_response({**body, "code": code}, status=code)
