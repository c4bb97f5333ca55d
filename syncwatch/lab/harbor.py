"""A Harbor in this process: what the recorded one answers, does and sends, on a loopback port.

    async with LabHarbor().serving() as harbor:
        harbor.create_registry("cluster1", registry.url)
        policy = harbor.create_policy("to-cluster1", "cluster1", name="apps/**")
        harbor.push("apps/web", "1.0", images.image("web 1.0"))

Events, jobs, retries and webhooks then run by themselves, in the times of `LabTimes`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web

from syncwatch.lab import rendering
from syncwatch.lab.answers import around
from syncwatch.lab.api_artifacts import ArtifactsApi
from syncwatch.lab.api_replication import ReplicationApi, policy_from
from syncwatch.lab.api_system import SystemApi, robot_from
from syncwatch.lab.api_webhooks import WebhooksApi, webhook_policy_from
from syncwatch.lab.artifacts import Artifacts
from syncwatch.lab.harbor_v2 import HarborV2
from syncwatch.lab.jobs import Jobs
from syncwatch.lab.listener import Listener
from syncwatch.lab.records import REPLICATION, Label, Registry
from syncwatch.lab.replication import Replication
from syncwatch.lab.times import LabTimes
from syncwatch.lab.webhooks import Webhooks
from syncwatch.lab.world import VERSION, World

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterable

    from aiohttp.typedefs import Handler, Middleware

    from syncwatch.lab.images import Image
    from syncwatch.lab.records import Artifact, Execution, Policy
    from syncwatch.lab.world import Switches

EVENT_TYPES = ("PUSH_ARTIFACT", "DELETE_ARTIFACT", "REPLICATION")
"""What a webhook policy made without naming event types is told."""

READ_ONLY_ROBOT: tuple[dict[str, Any], ...] = (
    {
        "kind": "system",
        "namespace": "/",
        "access": [
            {"resource": resource, "action": action}
            for resource in ("replication-policy", "replication", "registry")
            for action in ("list", "read")
        ],
    },
    {
        "kind": "project",
        "namespace": "*",
        "access": [
            {"resource": resource, "action": action}
            for resource, action in (
                ("repository", "list"),
                ("repository", "read"),
                ("repository", "pull"),
                ("artifact", "list"),
                ("artifact", "read"),
                ("tag", "list"),
                ("accessory", "list"),
                ("notification-policy", "list"),
                ("notification-policy", "read"),
                ("project", "read"),
            )
        ],
    },
)
"""The permissions of recording 16: the least that a read-only watcher needs."""


class LabHarbor:
    """One Harbor. Methods act as its administrator and at once; `world` is its whole state.

    `stop` makes it unreachable while its jobs go on, `start` brings it back on the same port,
    `close` ends it.
    """

    username = "admin"

    def __init__(
        self,
        *,
        times: LabTimes | None = None,
        version: str = VERSION,
        seed: int = 0,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.world = World(times or LabTimes.fast(), version=version, seed=seed)
        self.artifacts = Artifacts(self.world)
        self.jobs = Jobs(self.world)
        self.replication = Replication(self.world, self.artifacts, self.jobs)
        self.webhooks = Webhooks(self.world, self.jobs)
        self._v2 = HarborV2(self.world, self.artifacts)
        self._system = SystemApi(self.world, self.jobs)
        self._registries = ReplicationApi(self.world, self.replication, self.jobs)
        self._listener = Listener(self._application, port=port, tls=tls)
        self._begun = False
        self.requests: deque[str] = deque(maxlen=REQUESTS_KEPT)
        """What it was asked, oldest first: method, path and query, still encoded."""
        self.world.listeners += [self.webhooks.on_event, self.replication.on_event]
        self.jobs.status_changed.append(self.webhooks.on_status)
        self.artifacts.create_project("library", public=True)
        # The installer makes it, which no audit log tells.
        self.world.audit_log.clear()

    @property
    def url(self) -> str:
        """Where it listens, `http://127.0.0.1:PORT`; its external URL too."""
        return self._listener.url

    @property
    def host(self) -> str:
        """`127.0.0.1:PORT`, as image references write it."""
        return self.url.partition("://")[2]

    @property
    def password(self) -> str:
        """The administrator's password."""
        return self.world.admin_password

    @property
    def version(self) -> str:
        """What it says it is, such as `v2.12.0-abcdef12`; decides what it offers and sends."""
        return self.world.version

    @version.setter
    def version(self, version: str) -> None:
        self.world.version = version

    @property
    def switches(self) -> Switches:
        """What can be wrong with it."""
        return self.world.switches

    async def start(self) -> None:
        """Listen, and on the first call begin to work."""
        await self._listener.start()
        self.world.url = self.url
        if self._begun:
            return
        self._begun = True
        await self.webhooks.start()
        self.world.repeat(self.jobs.refresh_for_ever())
        self.world.repeat(self.replication.schedule_for_ever())
        self.world.repeat(self._check_health_for_ever())

    async def stop(self) -> None:
        """Refuse connections; what is under way goes on."""
        await self._listener.stop()

    async def close(self) -> None:
        """End everything."""
        await self._listener.stop()
        await self.world.close()
        await self.webhooks.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[LabHarbor]:
        """Run for the length of a `with` block."""
        await self.start()
        try:
            yield self
        finally:
            await self.close()

    async def idle(self, *, within: float = 30.0) -> None:
        """Wait until no job is under way or to be tried again, then refresh all statuses.

        Raises TimeoutError after `within` seconds.
        """
        async with asyncio.timeout(within):
            await self.world.settled()
        self.jobs.refresh()

    def create_project(self, name: str, *, public: bool = False) -> int:
        """Make a project unless it is there; its id."""
        found = self.world.project(name, is_name=True)
        return (found or self.artifacts.create_project(name, public=public)).id

    def push(self, repository: str, tag: str, image: Image, *, create_project: bool = True) -> str:
        """Push an image as `docker push` would, children first; "" pushes by digest alone.

        Returns the digest. Raises LookupError when the project is not there and not to be made.
        """
        if create_project:
            self.create_project(repository.partition("/")[0])
        return self.artifacts.push(repository, tag, image).digest

    def tag(self, repository: str, reference: str, name: str) -> None:
        """Set a tag by the API: no push event. Raises LookupError."""
        self.artifacts.tag(self.artifact(repository, reference), name)

    def untag(self, repository: str, name: str) -> None:
        """Delete a tag; its artifact stays. Raises LookupError."""
        self.artifacts.untag(self.artifact(repository, name), name)

    def delete_artifact(self, repository: str, reference: str) -> None:
        """Delete an artifact with all its tags. Raises LookupError."""
        self.artifacts.delete(self.artifact(repository, reference))

    def artifact(self, repository: str, reference: str) -> Artifact:
        """The row under a tag or digest. Raises LookupError."""
        found = self.artifacts.find(repository, reference)
        if found is None:
            raise LookupError(f"the lab Harbor has no {repository} {reference}")
        return found

    def create_label(self, name: str) -> int:
        """Make a global label; its id."""
        identifier = self.world.next_id("label")
        self.world.labels[identifier] = Label(identifier, name, 0, self.world.now())
        return identifier

    def label(self, repository: str, reference: str, label: int) -> None:
        """Put a label on an artifact. Raises LookupError."""
        self.artifact(repository, reference).labels.append(label)

    def create_registry(
        self,
        name: str,
        url: str,
        *,
        username: str = "",
        password: str = "",
        kind: str = "docker-registry",
    ) -> int:
        """Make a registry endpoint, without the ping that the API makes; its id."""
        identifier, now = self.world.next_id("registry"), self.world.now()
        self.world.registries[identifier] = Registry(
            identifier, name, kind, url, True, username, password, "", now, now
        )
        return identifier

    def create_policy(
        self,
        name: str,
        registry: int | str,
        *,
        filters: Iterable[dict[str, Any]] = (),
        pattern: str = "",
        trigger: str = "event_based",
        cron: str = "",
        namespace: str = "",
        replace_count: int = 0,
        override: bool = True,
        deletion: bool = False,
        enabled: bool = True,
    ) -> int:
        """Make a replication policy; its id. `pattern` is short for one name filter.

        `registry` is an endpoint's id or name. Raises LookupError.
        """
        named = [{"type": "name", "value": pattern}] if pattern else []
        body = {
            "name": name,
            "dest_registry": {"id": self._registry_id(registry)},
            "filters": [*named, *filters],
            "trigger": {"type": trigger, "trigger_settings": {"cron": cron}},
            "dest_namespace": namespace,
            "dest_namespace_replace_count": replace_count,
            "override": override,
            "deletion": deletion,
            "enabled": enabled,
        }
        policy = policy_from(body, self.world)
        policy.id = self.world.next_id("policy")
        self.world.policies[policy.id] = policy
        return policy.id

    def _registry_id(self, registry: int | str) -> int:
        for row in self.world.registries.values():
            if registry in (row.id, row.name):
                return row.id
        raise LookupError(f"the lab Harbor has no registry {registry}")

    def policy(self, policy: int | str) -> Policy:
        """A policy's record by id or name, to be edited in place. Raises LookupError."""
        for row in self.world.policies.values():
            if policy in (row.id, row.name):
                return row
        raise LookupError(f"the lab Harbor has no policy {policy}")

    def create_webhook_policy(
        self,
        project: str,
        address: str,
        *,
        name: str = "syncwatch",
        auth_header: str = "",
        event_types: Iterable[str] = EVENT_TYPES,
        cloud_events: bool = False,
        enabled: bool = True,
    ) -> int:
        """Make a webhook policy, and its project where it is not there; its id."""
        row = self.world.projects[self.create_project(project)]
        target = {
            "type": "http",
            "address": address,
            "auth_header": auth_header,
            "skip_cert_verify": True,
            "payload_format": "CloudEvents" if cloud_events else "Default",
        }
        body = {
            "name": name,
            "targets": [target],
            "event_types": list(event_types),
            "enabled": enabled,
        }
        policy = webhook_policy_from(body, row, self.world)
        policy.id = self.world.next_id("webhook")
        self.world.webhooks[policy.id] = policy
        return policy.id

    def create_robot(
        self, name: str, permissions: Iterable[dict[str, Any]] = READ_ONLY_ROBOT
    ) -> tuple[str, str]:
        """Make a system robot; its login name and secret."""
        robot = robot_from({"name": name, "permissions": list(permissions)}, self.world)
        robot.id = self.world.next_id("robot")
        self.world.robots[robot.id] = robot
        return robot.name, robot.secret

    def run(self, policy: int | str) -> int:
        """Run a policy by hand; the execution's id. Raises LookupError."""
        return self.replication.start(self.policy(policy), "manual").id

    def fire(self, policy: int | str) -> int:
        """Run a policy as if its cron had fired; the execution's id. Raises LookupError."""
        return self.replication.start(self.policy(policy), "scheduled").id

    def executions(self, policy: int | str | None = None) -> list[dict[str, Any]]:
        """Replication executions as the API shows them, newest first."""
        wanted = None if policy is None else self.policy(policy).id
        return [
            rendering.execution(row)
            for row in sorted(self.world.executions.values(), key=_newest_first)
            if row.vendor == REPLICATION and wanted in (None, row.vendor_id)
        ]

    def tasks(self, execution: int) -> list[dict[str, Any]]:
        """An execution's tasks as the API shows them, oldest first."""
        return [rendering.task(row) for row in self.world.executions[execution].tasks]

    def pause_queue(self, vendor: str = REPLICATION) -> None:
        """Pause the REPLICATION or WEBHOOK queue: tasks stay `Pending`."""
        self.jobs.pause(vendor)

    def resume_queue(self, vendor: str = REPLICATION) -> None:
        """Resume a queue."""
        self.jobs.resume(vendor)

    def hold_flows(self, *, held: bool = True) -> None:
        """Keep new executions `InProgress` with total 0, or let them go."""
        self.replication.hold_flows(held=held)

    def refresh(self) -> None:
        """Let every execution's status follow its tasks now."""
        self.jobs.refresh()

    def sweep(self) -> None:
        """The nightly sweep of executions."""
        self.jobs.sweep()

    def purge_executions(self, policy: int | str | None = None) -> None:
        """Forget the replication executions of one policy or of all."""
        self.jobs.purge(REPLICATION, None if policy is None else self.policy(policy).id)

    async def _check_health_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self.world.times.health_interval)
            await self._registries.check_registries()

    @property
    def _log_request(self) -> Middleware:
        @web.middleware
        async def log(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.requests.append(f"{request.method} {request.raw_path}")
            return await handler(request)

        return log

    def _application(self) -> web.Application:
        log = self._log_request
        application = web.Application(client_max_size=0, middlewares=[log, around(self.world)])
        parts = (
            ArtifactsApi(self.world, self.artifacts),
            self._registries,
            self._system,
            WebhooksApi(self.world, self.jobs),
        )
        routes = [web.get("/api/version", self._system.get_version), *self._v2.routes()]
        for part in parts:
            routes += [
                web.RouteDef(route.method, f"/api/v2.0{route.path}", route.handler, route.kwargs)
                for route in part.routes()
            ]
        application.add_routes(routes)
        return application


REQUESTS_KEPT = 100_000


def _newest_first(row: Execution) -> int:
    return -row.id
