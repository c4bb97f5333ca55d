"""One cluster, as probes need it: our pods, their events, the nodes. In and out: plain JSON.

Every request has a timeout. A watch ends by itself, breaks off, or is told that it asks for what
is no longer kept (410): then the pods are listed anew, so that no change is missed.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from syncwatch.errors import ClusterError
from syncwatch.probe.connecting import Connection, Gone
from syncwatch.probe.pod import SELECTOR
from syncwatch.runtime import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

PAGE = "500"
PAGES = 20
"""How many pages of a list are read at most."""

WATCHED = 240
"""Seconds that one watch lasts; the server ends it then."""
LATER = 15.0
"""Seconds more that are waited for that end, before the connection is taken for dead."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds before a watch that failed is tried again."""
SHORTEST = 1.0
"""Seconds that a watch lasts; one that a proxy ends sooner is not asked for again at once."""

IN_A_ROW = 3
"""So many pods that are refused are no longer each one's own fault."""

WATCH, CREATE = "watch pods", "create pods"
LASTING = ("forbidden", "misconfigured")
"""Kinds of trouble that stay until somebody changes something."""

LINE_LIMIT = 4 * 1024 * 1024
"""Bytes of one line of a watch: etcd takes objects of one and a half megabytes at most."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node: whether it runs pods, and the names of images that it says it holds.

    A kubelet names its fifty largest images only, and does so about once a minute.
    """

    name: str
    os: str
    architecture: str
    ready: bool
    schedulable: bool
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Right:
    """What a probe needs to be allowed to do; in our namespace, but with nodes, which have none."""

    verb: str
    resource: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


RIGHTS = (
    *(Right(verb, "pods") for verb in ("create", "get", "list", "watch", "delete")),
    Right("list", "events"),
)
NODES = Right("list", "nodes")
"""Needed where nodes are looked at."""


class Cluster:
    """The API of one cluster; all methods raise ClusterError.

    `trouble` is what it does not let us do as things stand, by what was asked: the watch says so
    while it does not go, and what lacks a permission is remembered until it is granted. `allowed`
    is waited for before each request.
    """

    def __init__(
        self,
        name: str,
        *,
        kubeconfig: Path | None,
        context: str | None,
        namespace: str,
        timeout: float,
        allowed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.trouble: dict[str, ClusterError] = {}
        self._name = name
        self._watches = False
        self._refusals = 0
        self._connection = Connection(
            name, kubeconfig=kubeconfig, context=context, timeout=timeout, allowed=allowed
        )
        self._namespace = namespace
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._events = f"/api/v1/namespaces/{namespace}/events"

    async def create(self, pod: dict[str, Any]) -> dict[str, Any]:
        """Make a pod; where there is one of that name it is ours, from before."""
        try:
            with self._minding(CREATE):
                made = await self._connection.ask("POST", self._pods, body=pod)
        except ClusterError as error:
            before = await self._before(pod, error)
            if before is None:
                self._count_refusal(error)
                raise
            return before
        self._refusals = 0
        return self._sound(made or {})

    def _count_refusal(self, error: ClusterError) -> None:
        """One pod may be refused for what it is; several in a row are the cluster's way."""
        self._refusals = self._refusals + 1 if error.kind == "refused" else 0
        if self._refusals >= IN_A_ROW:
            self.trouble[CREATE] = error

    async def _before(self, pod: dict[str, Any], error: ClusterError) -> dict[str, Any] | None:
        if error.kind != "refused" or "already exists" not in error.message:
            return None
        return await self.get(str(pod["metadata"]["name"]))

    async def get(self, name: str) -> dict[str, Any] | None:
        """The pod as it is now, None where there is none."""
        with self._minding("get pods"):
            pod = await self._connection.ask("GET", f"{self._pods}/{name}")
        return self._sound(pod) if pod is not None else None

    async def delete(self, name: str, uid: str, grace_seconds: int, *, namespace: str = "") -> None:
        """Have a pod deleted, by its uid where that is known; gone already is as good.

        `namespace` is where it is, if not where probes are made now.
        """
        pods = f"/api/v1/namespaces/{namespace}/pods" if namespace else self._pods
        options: dict[str, Any] = {"gracePeriodSeconds": grace_seconds}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            # What we may not elsewhere is no trouble of this one.
            with nullcontext() if namespace else self._minding("delete pods"):
                await self._connection.ask("DELETE", f"{pods}/{name}", body=options)
        except ClusterError as error:
            # Another pod of that name is not ours to delete.
            if error.kind != "refused" or "uid" not in error.message.lower():
                raise

    async def events(self, uid: str) -> list[dict[str, Any]]:
        """All events of the pod of that uid that are kept still (an hour, mostly)."""
        selector = f"involvedObject.kind=Pod,involvedObject.uid={uid}"
        with self._minding("list events"):
            listed, _ = await self._list(self._events, {"fieldSelector": selector})
        return listed

    async def pods(self) -> list[dict[str, Any]]:
        """All pods that are labelled as ours."""
        listed, _ = await self._list(self._pods, {"labelSelector": SELECTOR})
        return [self._sound(one) for one in listed]

    async def nodes(self) -> list[Node]:
        """The cluster's nodes; needs the permission to list them."""
        with self._minding("list nodes"):
            listed, _ = await self._list("/api/v1/nodes", {})
        try:
            return [_node(self._sound(one)) for one in listed]
        except (AttributeError, TypeError):
            words = f"Cluster {self._name} tells of nodes in a form that is not Kubernetes'."
            raise ClusterError("server", words) from None

    async def may(self, right: Right) -> bool:
        """Whether we are allowed to; everybody may ask that (SelfSubjectAccessReview)."""
        asked = {"verb": right.verb, "resource": right.resource}
        if right != NODES:
            asked["namespace"] = self._namespace
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        told = await self._connection.ask("POST", path, body=body)
        return bool(((told or {}).get("status") or {}).get("allowed"))

    async def try_pod(self, pod: dict[str, Any]) -> None:
        """Whether it would take a pod: all that stands before one is asked, and none is made."""
        await self._connection.ask("POST", self._pods, query={"dryRun": "All"}, body=pod)

    async def watch(self, changed: Callable[[dict[str, Any], bool], None]) -> None:
        """Tell of every pod of ours as it changes, and whether it was deleted, for ever.

        What goes wrong costs time and nothing else: all is listed anew.
        """
        known: dict[str, dict[str, Any]] = {}
        pause, version = FIRST_PAUSE, ""
        while True:
            self._watches = False
            try:
                if not version:
                    version = await self._begin(known, changed)
                began = time.monotonic()
                version = await self._follow(version, known, changed)
                if time.monotonic() - began >= SHORTEST:
                    pause = FIRST_PAUSE
                    continue
            except Gone:
                version = ""
            except ClusterError as error:
                log.debug("watch_broke_off", cluster=self._name, error=error.kind)
                if not self._watches:
                    # That a watch breaks off is its way; that none begins is not.
                    self.trouble[WATCH] = error
                version = ""
                pause = max(pause, min(error.retry_after or 0.0, LONGEST_PAUSE))
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def close(self) -> None:
        """End all connections."""
        await self._connection.close()

    @contextmanager
    def _minding(self, what: str) -> Iterator[None]:
        """Remember what we may not do, until we may."""
        try:
            yield
        except ClusterError as error:
            if error.kind in LASTING:
                self.trouble[what] = error
            elif error.kind == "refused" and what != CREATE:
                self.trouble.pop(what, None)
            raise
        self.trouble.pop(what, None)

    async def _begin(
        self, known: dict[str, dict[str, Any]], changed: Callable[[dict[str, Any], bool], None]
    ) -> str:
        """List all pods, tell of them and of those that are gone; from where on to watch."""
        listed, version = await self._list(self._pods, {"labelSelector": SELECTOR})
        there = {_name(pod): self._sound(pod) for pod in listed}
        for name in [name for name in known if name not in there]:
            changed(known.pop(name), True)
        for name, pod in there.items():
            known[name] = pod
            changed(pod, False)
        return version

    async def _follow(
        self,
        version: str,
        known: dict[str, dict[str, Any]],
        changed: Callable[[dict[str, Any], bool], None],
    ) -> str:
        """One watch, until it ends; from where on the next has to go on."""
        query = {
            "labelSelector": SELECTOR,
            "watch": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCHED),
            "allowWatchBookmarks": "true",
        }
        async with self._connection.stream(self._pods, query, WATCHED + LATER) as stream:
            self._watches = True
            self.trouble.pop(WATCH, None)
            rest = b""
            async for piece in stream.iter_any():
                *lines, rest = (rest + piece).split(b"\n")
                for kind, pod in self._told(lines):
                    version = _version(pod) or version
                    if kind == "BOOKMARK":
                        continue
                    deleted = kind == "DELETED"
                    known.pop(_name(pod), None)
                    if not deleted:
                        known[_name(pod)] = pod
                    changed(pod, deleted)
                if len(rest) > LINE_LIMIT:
                    raise Gone(self._name)
        return version

    def _told(self, lines: list[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
        """What the lines of a watch tell. Raises Gone where it cannot go on."""
        for line in lines:
            if not line.strip():
                continue
            try:
                told = msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.MsgspecError, UnicodeDecodeError):
                raise Gone(self._name) from None
            kind, pod = told.get("type"), told.get("object")
            # An expired version is told so, by a status in a line of its own (410).
            if kind == "ERROR":
                raise Gone(self._name)
            yield str(kind), self._sound(pod, named=kind != "BOOKMARK")

    def _sound(self, thing: Any, *, named: bool = True) -> dict[str, Any]:
        """What the API answered, if it is an object (with a name). Raises ClusterError."""
        metadata = thing.get("metadata") if isinstance(thing, dict) else None
        whole = isinstance(metadata, dict) and (not named or isinstance(metadata.get("name"), str))
        if not whole:
            words = f"Cluster {self._name} answered with what is no object of Kubernetes."
            raise ClusterError("server", words)
        return dict(thing)

    async def _list(self, path: str, query: dict[str, str]) -> tuple[list[dict[str, Any]], str]:
        """All items of a list, page by page, and its version; one that expires begins anew."""
        for _ in range(3):
            try:
                return await self._paged(path, query)
            except Gone:
                continue
        raise ClusterError("server", f"Cluster {self._name} does not end its list of {path}.")

    async def _paged(self, path: str, query: dict[str, str]) -> tuple[list[dict[str, Any]], str]:
        items: list[dict[str, Any]] = []
        going_on = ""
        for _ in range(PAGES):
            more = {"continue": going_on} if going_on else {}
            page = await self._connection.ask("GET", path, query={**query, "limit": PAGE, **more})
            if page is None:
                return [], ""
            listed, metadata = page.get("items") or [], page.get("metadata") or {}
            if not isinstance(listed, list) or not isinstance(metadata, dict):
                raise ClusterError("server", f"Cluster {self._name} answered with what is no list.")
            items += [one for one in listed if isinstance(one, dict)]
            going_on = metadata.get("continue") or ""
            if not going_on:
                break
        return items, str(metadata.get("resourceVersion") or "")


def _node(node: dict[str, Any]) -> Node:
    status, spec = node.get("status") or {}, node.get("spec") or {}
    labels = (node.get("metadata") or {}).get("labels") or {}
    info = status.get("nodeInfo") or {}
    conditions = status.get("conditions") or []
    return Node(
        name=_name(node),
        os=info.get("operatingSystem") or labels.get("kubernetes.io/os") or "",
        architecture=info.get("architecture") or labels.get("kubernetes.io/arch") or "",
        ready=any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions),
        schedulable=not spec.get("unschedulable"),
        images=tuple(
            name for image in status.get("images") or [] for name in image.get("names") or []
        ),
    )


def _name(thing: dict[str, Any]) -> str:
    return _of_metadata(thing, "name")


def _version(thing: dict[str, Any]) -> str:
    return _of_metadata(thing, "resourceVersion")


def _of_metadata(thing: dict[str, Any], name: str) -> str:
    metadata = thing.get("metadata")
    return str(metadata.get(name) or "") if isinstance(metadata, dict) else ""
