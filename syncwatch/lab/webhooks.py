"""Harbor's webhooks: which policies an event concerns, and delivering to their targets.

Each event for each target is a job of its own, so nothing keeps their order; three attempts in
all, 3 s each, 2xx is success, then given up for good (api.md §7, recording 14).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp

from syncwatch.lab.payloads import artifact_data, body_of, replication_data
from syncwatch.lab.records import REPLICATION, WEBHOOK

if TYPE_CHECKING:
    from syncwatch.lab.jobs import Jobs
    from syncwatch.lab.records import Event, Project, Task, WebhookPolicy
    from syncwatch.lab.world import World

_TOLD = frozenset({"PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT"})


class Webhooks:
    """Turns events and task statuses into deliveries."""

    def __init__(self, world: World, jobs: Jobs) -> None:
        self._world = world
        self._jobs = jobs
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the client; must run in the loop that delivers."""
        connector = aiohttp.TCPConnector(limit=0, resolver=aiohttp.ThreadedResolver())
        jar = aiohttp.DummyCookieJar()
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=jar)

    async def close(self) -> None:
        """Close the client."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def on_event(self, event: Event) -> None:
        """An artifact was pushed, pulled or deleted; tags made by the API are not told."""
        project = self._world.project(event.repository.partition("/")[0], is_name=True)
        if project is not None and event.type in _TOLD:
            data = artifact_data(self._world, event, project)
            self._tell(project, event.type, data, at=event.at, operator=event.operator)

    def on_status(self, task: Task) -> None:
        """A replication task changed its status; the source project's policies are told."""
        if task.vendor != REPLICATION:
            return
        execution = self._world.executions.get(task.execution_id)
        policy = self._world.policies.get(execution.vendor_id) if execution else None
        project = self._world.project(task.source.partition("/")[0], is_name=True)
        if execution is None or policy is None or project is None:
            return
        there = self._world.registries[policy.registry_id]
        data = replication_data(self._world, task, execution, policy, there)
        self._tell(project, REPLICATION, data, at=self._world.now(), operator="admin")

    def _tell(
        self, project: Project, event_type: str, data: dict[str, Any], *, at: float, operator: str
    ) -> None:
        switches = self._world.switches
        if switches.drop_webhooks or not switches.notification_enable:
            return
        for policy in sorted(self._world.webhooks.values(), key=lambda row: row.id):
            concerned = policy.project_id == project.id and event_type in policy.event_types
            if not (concerned and policy.enabled):
                continue
            for target in policy.targets:
                cloud = target.get("payload_format") == "CloudEvents"
                body = body_of(
                    event_type, data, at=at, operator=operator, policy=policy, cloud_events=cloud
                )
                for _ in range(switches.webhook_copies):
                    self._deliver(policy, event_type, dict(target), body, cloud_events=cloud)

    def _deliver(
        self,
        policy: WebhookPolicy,
        event_type: str,
        target: dict[str, Any],
        body: str,
        *,
        cloud_events: bool,
    ) -> None:
        extra = {"event_type": event_type, "payload": body}
        execution = self._jobs.new_execution(WEBHOOK, policy.id, "EVENT", extra)
        headers = {
            "Content-Type": f"application/{'cloudevents+' if cloud_events else ''}json",
            "User-Agent": "Go-http-client/1.1",
            "Accept-Encoding": "gzip",
        }
        if target.get("auth_header"):
            headers["Authorization"] = target["auth_header"]

        async def attempt(task: Task) -> bool:
            return await self._post(task, target, headers, body)

        self._jobs.submit(self._jobs.new_task(execution), attempt)

    async def _post(
        self, task: Task, target: dict[str, Any], headers: dict[str, str], body: str
    ) -> bool:
        if self._session is None:
            return False
        limit = aiohttp.ClientTimeout(total=self._world.times.webhook_timeout)
        try:
            async with self._session.post(
                target["address"],
                data=body.encode(),
                headers=headers,
                timeout=limit,
                ssl=not target.get("skip_cert_verify", False),
                skip_auto_headers=("Accept",),
            ) as answer:
                status = answer.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            task.log.append(f"webhook job exit: {type(error).__name__}\n")
            return False
        task.log.append(f"webhook job exit: response code {status}\n")
        return 200 <= status < 300
