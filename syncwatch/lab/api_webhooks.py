"""The lab Harbor's API: webhook policies of a project and the history of their deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from syncwatch.lab import rendering
from syncwatch.lab.answers import (
    RefusedError,
    bare,
    created,
    json_answer,
    json_body,
    not_found,
)
from syncwatch.lab.identity import existing_project
from syncwatch.lab.listing import list_answer
from syncwatch.lab.payloads import CLOUD_TYPES
from syncwatch.lab.records import WEBHOOK, WebhookPolicy
from syncwatch.lab.world import stamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from syncwatch.lab.jobs import Jobs
    from syncwatch.lab.records import Execution, Project, Task
    from syncwatch.lab.world import World

_POLICIES: dict[str, Callable[[WebhookPolicy], Any]] = {
    "id": lambda row: row.id,
    "name": lambda row: row.name,
    "enabled": lambda row: str(row.enabled).lower(),
    "creation_time": lambda row: (row.created, row.id),
}
_HISTORY: dict[str, Callable[[Any], Any]] = {
    "id": lambda row: row.id,
    "status": lambda row: row.status,
    "start_time": lambda row: (row.started, row.id),
}


class WebhooksApi:
    """Handlers over webhook policies."""

    def __init__(self, world: World, jobs: Jobs) -> None:
        self._world = world
        self._jobs = jobs

    def routes(self) -> list[web.RouteDef]:
        """The routes under /api/v2.0."""
        base = "/projects/{project}/webhook"
        policy = base + "/policies/{id}"
        return [
            web.get(base + "/events", self.list_events),
            web.get(base + "/lasttrigger", self.list_last_triggers),
            web.get(base + "/policies", self.list_policies),
            web.post(base + "/policies", self.create_policy),
            web.get(policy, self.get_policy),
            web.put(policy, self.update_policy),
            web.delete(policy, self.delete_policy),
            web.get(policy + "/executions", self.list_executions),
            web.get(policy + "/executions/{execution}/tasks", self.list_tasks),
            web.get(policy + "/executions/{execution}/tasks/{task}/log", self.get_log),
        ]

    async def list_events(self, request: web.Request) -> web.Response:
        """Needs notification-policy:read there."""
        existing_project(self._world, request, "notification-policy", "read")
        return json_answer(
            {
                "event_type": list(CLOUD_TYPES),
                "notify_type": ["http", "slack"],
                "payload_formats": [{"formats": ["Default", "CloudEvents"], "notify_type": "http"}],
            }
        )

    async def list_last_triggers(self, request: web.Request) -> web.Response:
        """Needs notification-policy:read there. One row for each policy and event type."""
        _, project = existing_project(self._world, request, "notification-policy", "read")
        rows = sorted(self._of(project), key=lambda row: -row.id)
        shown = [self._last_trigger(row, kind) for row in rows for kind in row.event_types]
        return json_answer(shown)

    def _last_trigger(self, row: WebhookPolicy, kind: str) -> dict[str, Any]:
        times = [
            execution.started
            for execution in self._history(row)
            if execution.extra.get("event_type") == kind
        ]
        shown = {
            "policy_name": row.name,
            "event_type": kind,
            "enabled": row.enabled,
            "creation_time": stamp(row.created),
        }
        return shown | ({"last_trigger_time": stamp(max(times))} if times else {})

    async def list_policies(self, request: web.Request) -> web.Response:
        """Needs notification-policy:list there."""
        _, project = existing_project(self._world, request, "notification-policy", "list")
        return list_answer(
            request,
            self._of(project),
            rendering.webhook_policy,
            keys=_POLICIES,
            sort="-creation_time",
        )

    async def create_policy(self, request: web.Request) -> web.Response:
        """Needs notification-policy:create there; 409 when the project has the name."""
        _, project = existing_project(self._world, request, "notification-policy", "create")
        row = webhook_policy_from(await json_body(request), project, self._world)
        if any(one.name == row.name for one in self._of(project)):
            message = f"notification policy named {row.name} already exists"
            raise RefusedError(409, "CONFLICT", message)
        row.id = self._world.next_id("webhook")
        self._world.webhooks[row.id] = row
        return created(request, row.id)

    async def get_policy(self, request: web.Request) -> web.Response:
        """Needs notification-policy:read there; `auth_header` in clear."""
        return json_answer(rendering.webhook_policy(self._policy(request, "read")))

    async def update_policy(self, request: web.Request) -> web.Response:
        """Needs notification-policy:update there; replaces all."""
        row = self._policy(request, "update")
        project = self._world.projects[row.project_id]
        edited = webhook_policy_from(await json_body(request), project, self._world)
        edited.id, edited.created = row.id, row.created
        self._world.webhooks[row.id] = edited
        return bare()

    async def delete_policy(self, request: web.Request) -> web.Response:
        """Needs notification-policy:delete there; its history goes with it."""
        row = self._policy(request, "delete")
        self._jobs.purge(WEBHOOK, row.id)
        del self._world.webhooks[row.id]
        return bare()

    async def list_executions(self, request: web.Request) -> web.Response:
        """Needs notification-policy:read there. One execution for each event and target."""
        row = self._policy(request, "read")
        return list_answer(
            request,
            self._history(row),
            rendering.webhook_execution,
            keys=_HISTORY,
            sort="-start_time",
        )

    async def list_tasks(self, request: web.Request) -> web.Response:
        """Needs notification-policy:read there."""
        rows = self._execution(request).tasks
        return list_answer(request, rows, rendering.webhook_task, keys=_HISTORY, sort="-start_time")

    async def get_log(self, request: web.Request) -> web.Response:
        """Needs notification-policy:read there."""
        wanted = request.match_info["task"]
        found = (row for row in self._execution(request).tasks if str(row.id) == wanted)
        task: Task | None = next(found, None)
        if task is None:
            raise not_found(f"task {wanted}")
        answer = web.Response(text="".join(task.log))
        answer.headers["Content-Type"] = "text/plain"
        return answer

    def _of(self, project: Project) -> list[WebhookPolicy]:
        return [row for row in self._world.webhooks.values() if row.project_id == project.id]

    def _history(self, row: WebhookPolicy) -> list[Execution]:
        return [
            execution
            for execution in self._world.executions.values()
            if (execution.vendor, execution.vendor_id) == (WEBHOOK, row.id)
        ]

    def _policy(self, request: web.Request, action: str) -> WebhookPolicy:
        _, project = existing_project(self._world, request, "notification-policy", action)
        wanted = request.match_info["id"]
        found = (row for row in self._of(project) if str(row.id) == wanted)
        row = next(found, None)
        if row is None:
            raise not_found(f"project id:{project.id}, webhook policy id: {wanted}")
        return row

    def _execution(self, request: web.Request) -> Execution:
        row, wanted = self._policy(request, "read"), request.match_info["execution"]
        found = next((one for one in self._history(row) if str(one.id) == wanted), None)
        if found is None:
            raise not_found(f"execution {wanted} not found in policy {row.id}")
        return found


def webhook_policy_from(body: dict[str, Any], project: Project, world: World) -> WebhookPolicy:
    """A webhook policy from a request's body. Raises RefusedError (400)."""
    targets = [dict(target) for target in body.get("targets") or []]
    if not targets:
        message = f"empty notification target with policy {body.get('name', '')}"
        raise RefusedError(400, "BAD_REQUEST", message)
    for target in targets:
        _check_target(target)
    unknown = set(body.get("event_types") or []) - set(CLOUD_TYPES)
    if unknown:
        message = f"unsupported event type {min(unknown)}"
        raise RefusedError(400, "BAD_REQUEST", message)
    now = world.now()
    return WebhookPolicy(
        id=0,
        project_id=project.id,
        name=str(body.get("name", "")),
        description=str(body.get("description", "")),
        event_types=list(body.get("event_types") or []),
        targets=targets,
        enabled=bool(body.get("enabled")),
        creator=str(body.get("creator", "")),
        created=now,
        updated=now,
    )


def _check_target(target: dict[str, Any]) -> None:
    parts = urlsplit(str(target.get("address", "")))
    sound = parts.scheme in ("http", "https") and parts.netloc
    if not sound or target.get("type") not in ("http", "slack"):
        raise RefusedError(400, "BAD_REQUEST", "unsupported target")
    payload_format = target.setdefault("payload_format", "Default") or "Default"
    if payload_format not in ("Default", "CloudEvents"):
        raise RefusedError(400, "BAD_REQUEST", f"unsupported payload format {payload_format}")
