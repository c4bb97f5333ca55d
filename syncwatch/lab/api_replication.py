"""The lab Harbor's API: registry endpoints, replication policies, executions, tasks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web
from cronsim import CronSim, CronSimError

from syncwatch.lab import rendering
from syncwatch.lab.answers import (
    RefusedError,
    bare,
    created,
    json_answer,
    json_body,
    not_found,
)
from syncwatch.lab.destination import reach
from syncwatch.lab.identity import require
from syncwatch.lab.listing import list_answer, unprocessable, whole_number
from syncwatch.lab.records import REPLICATION, RUNNING, Policy, Registry
from syncwatch.plan.matching import Filter

if TYPE_CHECKING:
    from collections.abc import Callable

    from syncwatch.lab.jobs import Jobs
    from syncwatch.lab.records import Execution, Task
    from syncwatch.lab.replication import Replication
    from syncwatch.lab.world import World

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TRIGGERS = frozenset({"manual", "scheduled", "event_based"})
ADAPTERS = (
    "ali-acr",
    "aws-ecr",
    "azure-acr",
    "docker-hub",
    "docker-registry",
    "github-ghcr",
    "google-gcr",
    "harbor",
    "huawei-SWR",
    "jfrog-artifactory",
    "tencent-tcr",
    "volcengine-cr",
)
"""What the core's env template lists (REPLICATION_ADAPTER_WHITELIST); asked as docker-registry."""

_REGISTRIES: dict[str, Callable[[Registry], Any]] = {
    "id": lambda row: row.id,
    "name": lambda row: row.name,
    "url": lambda row: row.url,
    "type": lambda row: row.type,
    "health": lambda row: row.status,
    "creation_time": lambda row: row.created,
    "update_time": lambda row: row.updated,
}
_POLICIES: dict[str, Callable[[Policy], Any]] = {
    "id": lambda row: row.id,
    "name": lambda row: row.name,
    "description": lambda row: row.description,
    "creator": lambda row: row.creator,
    "dest_registry_id": lambda row: 0 if row.pull else row.registry_id,
    "src_registry_id": lambda row: row.registry_id if row.pull else 0,
    "dest_namespace": lambda row: row.namespace,
    "enabled": lambda row: str(row.enabled).lower(),
    "creation_time": lambda row: (row.created, row.id),
    "update_time": lambda row: row.updated,
}
_EXECUTIONS: dict[str, Callable[[Execution], Any]] = {
    "id": lambda row: row.id,
    "start_time": lambda row: (row.started, row.id),
    "end_time": lambda row: row.ended,
    "status": lambda row: row.status,
    "trigger": lambda row: row.trigger,
}
_TASKS: dict[str, Callable[[Task], Any]] = {
    "id": lambda row: row.id,
    "start_time": lambda row: (int(row.started), row.id),
    "end_time": lambda row: row.ended,
    "status": lambda row: row.status,
}


class ReplicationApi:
    """Handlers over registries, policies and the job history."""

    def __init__(self, world: World, replication: Replication, jobs: Jobs) -> None:
        self._world = world
        self._replication = replication
        self._jobs = jobs

    def routes(self) -> list[web.RouteDef]:
        """The routes under /api/v2.0."""
        executions = "/replication/executions"
        return [
            web.get("/registries", self.list_registries),
            web.post("/registries", self.create_registry),
            web.post("/registries/ping", self.ping_registry),
            web.get("/registries/{id}", self.get_registry),
            web.put("/registries/{id}", self.update_registry),
            web.delete("/registries/{id}", self.delete_registry),
            web.get("/replication/adapters", self.list_adapters),
            web.get("/replication/policies", self.list_policies),
            web.post("/replication/policies", self.create_policy),
            web.get("/replication/policies/{id}", self.get_policy),
            web.put("/replication/policies/{id}", self.update_policy),
            web.delete("/replication/policies/{id}", self.delete_policy),
            web.get(executions, self.list_executions),
            web.post(executions, self.start_execution),
            web.get(executions + "/{id}", self.get_execution),
            web.put(executions + "/{id}", self.stop_execution),
            web.get(executions + "/{id}/tasks", self.list_tasks),
            web.get(executions + "/{id}/tasks/{task}/log", self.get_log),
        ]

    async def list_registries(self, request: web.Request) -> web.Response:
        """Needs registry:list."""
        require(self._world, request, "registry", "list")
        name = request.query.get("name", "")
        rows = [row for row in self._world.registries.values() if name in row.name]
        return list_answer(request, rows, rendering.registry, keys=_REGISTRIES, sort="id")

    async def create_registry(self, request: web.Request) -> web.Response:
        """Needs registry:create. A taken name is 409, an endpoint that does not answer 400."""
        require(self._world, request, "registry", "create")
        body = await json_body(request)
        row = _registry_from(body, self._world)
        self._check_name(row)
        await self._check_health(row)
        row.id = self._world.next_id("registry")
        self._world.registries[row.id] = row
        return created(request, row.id)

    async def ping_registry(self, request: web.Request) -> web.Response:
        """Needs registry:read. With an `id` the stored URL is asked, with the credential sent.

        Only since 2.16: before, url, insecure and ca_certificate were taken as well (api.md §4).
        """
        require(self._world, request, "registry", "read")
        body = await json_body(request)
        if body.get("id"):
            row = _overridden(self._registry(int(body["id"])), body, self._world)
        else:
            credential = {name: body.get(name, "") for name in ("access_key", "access_secret")}
            row = _registry_from({"name": "ping", **body, "credential": credential}, self._world)
        await self._check_health(row)
        return bare()

    async def get_registry(self, request: web.Request) -> web.Response:
        """Needs registry:read."""
        require(self._world, request, "registry", "read")
        return json_answer(rendering.registry(self._registry(_path_id(request))))

    async def update_registry(self, request: web.Request) -> web.Response:
        """Needs registry:update. The body is flat and names what changes (RegistryUpdate).

        Another URL without its secret wipes that, and so does having no user (toDaoModel). The
        kind of registry stays.
        """
        require(self._world, request, "registry", "update")
        row, body = self._registry(_path_id(request)), await json_body(request)
        edited = replace(row, updated=self._world.now())
        names = ("name", "description", "access_key", "access_secret", "ca_certificate")
        for name in names:
            setattr(edited, name, str(body.get(name, getattr(row, name))))
        edited.credential_type = str(body.get("credential_type", row.credential_type))
        edited.insecure = bool(body.get("insecure", row.insecure))
        edited.url = _endpoint_url(str(body.get("url", row.url)))
        moved = edited.url != row.url and "access_secret" not in body
        if moved or not edited.access_key:
            edited.access_secret = ""
        self._check_name(edited)
        await self._check_health(edited)
        self._world.registries[row.id] = edited
        return bare()

    def _check_name(self, row: Registry) -> None:
        others = (one for one in self._world.registries.values() if one.id != row.id)
        if any(one.name == row.name for one in others):
            raise RefusedError(409, "CONFLICT", f"registry {row.name} already exists")

    async def delete_registry(self, request: web.Request) -> web.Response:
        """Needs registry:delete; 412 while a policy uses it."""
        require(self._world, request, "registry", "delete")
        row = self._registry(_path_id(request))
        if any(policy.registry_id == row.id for policy in self._world.policies.values()):
            message = (
                f"the registry {row.id} is referenced by replication policies, cannot delete it"
            )
            raise RefusedError(412, "PRECONDITION", message)
        del self._world.registries[row.id]
        return bare()

    async def check_registries(self) -> None:
        """One round of the background health check; only `status` tells of it."""
        for row in list(self._world.registries.values()):
            async with reach(row, self._world.times.request_timeout) as there:
                row.status = "healthy" if await there.healthy() else "unhealthy"

    async def _check_health(self, row: Registry) -> None:
        async with reach(row, self._world.times.request_timeout) as there:
            if not await there.healthy():
                raise RefusedError(400, "BAD_REQUEST", "the registry is unhealthy")
        row.status = "healthy"

    def _registry(self, identifier: int) -> Registry:
        row = self._world.registries.get(identifier)
        if row is None:
            raise not_found(f"registry {identifier}")
        return row

    async def list_adapters(self, request: web.Request) -> web.Response:
        """Needs replication-adapter:list."""
        require(self._world, request, "replication-adapter", "list")
        return json_answer(list(ADAPTERS))

    async def list_policies(self, request: web.Request) -> web.Response:
        """Needs replication-policy:list."""
        require(self._world, request, "replication-policy", "list")
        name = request.query.get("name", "")
        return list_answer(
            request,
            [row for row in self._world.policies.values() if name in row.name],
            lambda row: rendering.policy(self._world, row),
            keys=_POLICIES,
            sort="-creation_time",
        )

    async def create_policy(self, request: web.Request) -> web.Response:
        """Needs replication-policy:create. Patterns are not looked at."""
        identity = require(self._world, request, "replication-policy", "create")
        row = policy_from(await json_body(request), self._world)
        if any(one.name == row.name for one in self._world.policies.values()):
            message = f"replication policy {row.name} already exists"
            raise RefusedError(409, "CONFLICT", message)
        row.id, row.creator = self._world.next_id("policy"), identity.name
        self._world.policies[row.id] = row
        return created(request, row.id)

    async def get_policy(self, request: web.Request) -> web.Response:
        """Needs replication-policy:read."""
        require(self._world, request, "replication-policy", "read")
        return json_answer(rendering.policy(self._world, self._policy(_path_id(request))))

    async def update_policy(self, request: web.Request) -> web.Response:
        """Needs replication-policy:update. Replaces all, and blanks the creator (api.md §2)."""
        require(self._world, request, "replication-policy", "update")
        row = self._policy(_path_id(request))
        edited = policy_from(await json_body(request), self._world)
        edited.id, edited.created, edited.creator = row.id, row.created, ""
        self._world.policies[row.id] = edited
        return bare()

    async def delete_policy(self, request: web.Request) -> web.Response:
        """Needs replication-policy:delete; 412 while it runs. Its executions go with it."""
        require(self._world, request, "replication-policy", "delete")
        row = self._policy(_path_id(request))
        if self._replication.is_running(row):
            message = f"the policy {row.id} has running executions, stop the execution first"
            raise RefusedError(412, "PRECONDITION", message)
        self._jobs.purge(REPLICATION, row.id)
        del self._world.policies[row.id]
        return bare()

    def _policy(self, identifier: int) -> Policy:
        row = self._world.policies.get(identifier)
        if row is None:
            raise not_found(f"replication policy {identifier}")
        return row

    async def list_executions(self, request: web.Request) -> web.Response:
        """Needs replication:list. Without `policy_id` it is one feed of all policies."""
        require(self._world, request, "replication", "list")
        policy = whole_number(request, "policy_id", 0)
        status, trigger = request.query.get("status", ""), request.query.get("trigger", "")
        rows = [
            row
            for row in self._world.executions.values()
            if row.vendor == REPLICATION
            and policy in (0, row.vendor_id)
            and status in ("", rendering.execution_status(row))
            and trigger in ("", row.trigger)
        ]
        return list_answer(
            request,
            rows,
            rendering.execution,
            keys=_EXECUTIONS,
            sort="-start_time",
            conditions=(),
        )

    async def start_execution(self, request: web.Request) -> web.Response:
        """Needs replication:create; 412 for a disabled policy."""
        require(self._world, request, "replication", "create")
        row = self._policy(int((await json_body(request)).get("policy_id") or 0))
        if not row.enabled:
            raise RefusedError(412, "PRECONDITION", f"the policy {row.id} is disabled")
        scheduled = request.query.get("trigger") == "scheduled"
        execution = self._replication.start(row, "scheduled" if scheduled else "manual")
        return created(request, execution.id)

    async def get_execution(self, request: web.Request) -> web.Response:
        """Needs replication:read; 404 once purged."""
        require(self._world, request, "replication", "read")
        return json_answer(rendering.execution(self._execution(request)))

    async def stop_execution(self, request: web.Request) -> web.Response:
        """Needs replication:create, as starting does."""
        require(self._world, request, "replication", "create")
        execution = self._execution(request)
        if execution.status == RUNNING or execution.tasks:
            self._jobs.stop(execution)
        return bare()

    def _execution(self, request: web.Request) -> Execution:
        identifier = _path_id(request)
        row = self._world.executions.get(identifier)
        if row is None or row.vendor != REPLICATION:
            raise not_found(f"replication execution {identifier}")
        return row

    async def list_tasks(self, request: web.Request) -> web.Response:
        """Needs replication:list."""
        require(self._world, request, "replication", "list")
        status = request.query.get("status", "")
        rows = [
            task
            for task in self._execution(request).tasks
            if status in ("", rendering.task_status(task))
        ]
        return list_answer(
            request, rows, rendering.task, keys=_TASKS, sort="-start_time", conditions=()
        )

    async def get_log(self, request: web.Request) -> web.Response:
        """Needs replication:read; plain text of the last attempt."""
        require(self._world, request, "replication", "read")
        execution = self._execution(request)
        wanted = _path_id(request, "task")
        task = next((row for row in execution.tasks if row.id == wanted), None)
        if task is None:
            raise not_found(f"task {wanted}")
        answer = web.Response(text="".join(task.log))
        answer.headers["Content-Type"] = "text/plain"
        return answer


def policy_from(body: dict[str, Any], world: World) -> Policy:
    """A policy from a request's body. Reads `deletion`, never `replicate_deletion` (api.md §2).

    Raises RefusedError (400) for what Harbor's own validation refuses.
    """
    source = int((body.get("src_registry") or {}).get("id") or 0)
    destination = int((body.get("dest_registry") or {}).get("id") or 0)
    if (source == 0) == (destination == 0):
        message = "either src_registry or dest_registry should be empty and the other one shouldn't"
        raise RefusedError(400, "BAD_REQUEST", message)
    if (source or destination) not in world.registries:
        raise not_found(f"registry {source or destination}")
    trigger = body.get("trigger") or {}
    kind = str(trigger.get("type") or "manual")
    cron = str((trigger.get("trigger_settings") or {}).get("cron") or "")
    _check_trigger(kind, cron)
    single = bool(body.get("single_active_replication")) and world.since(2, 14)
    if single and kind == "event_based":
        raise RefusedError(500, "UNKNOWN", "internal server error")
    count = body.get("dest_namespace_replace_count")
    now = world.now()
    return Policy(
        id=0,
        name=str(body.get("name", "")),
        description=str(body.get("description", "")),
        registry_id=source or destination,
        pull=bool(source),
        namespace=str(body.get("dest_namespace", "")),
        replace_count=-1 if count is None else int(count),
        trigger=kind,
        cron=cron,
        filters=[_filter_from(one) for one in body.get("filters") or []],
        deletion=bool(body.get("deletion")),
        override=bool(body.get("override")),
        enabled=bool(body.get("enabled")),
        speed=max(int(body.get("speed") or 0), 0),
        copy_by_chunk=bool(body.get("copy_by_chunk")),
        single_active=single,
        created=now,
        updated=now,
    )


def _filter_from(body: dict[str, Any]) -> Filter:
    """src/pkg/reg/model/policy.go Filter.Validate. Raises RefusedError (400)."""
    kind, value = str(body.get("type", "")), body.get("value")
    decoration = str(body.get("decoration") or "")
    wanted = list if kind == "label" else str
    allowed = ("", "matches", "excludes") if kind in ("tag", "label") else ("",)
    named = kind in ("name", "tag", "label", "resource")
    if not named or not isinstance(value, wanted) or decoration not in allowed:
        raise RefusedError(400, "BAD_REQUEST", f"invalid filter: {kind}")
    if kind == "resource" and value not in ("image", "artifact"):
        raise RefusedError(400, "BAD_REQUEST", f"invalid resource filter: {value}")
    return Filter(kind, value, decoration)


def _check_trigger(kind: str, cron: str) -> None:
    """Cron has six fields, seconds first and 0, minutes no star. Raises RefusedError (400)."""
    if kind not in TRIGGERS:
        raise RefusedError(400, "BAD_REQUEST", f"invalid trigger type: {kind}")
    if kind != "scheduled":
        return
    fields = cron.split()
    try:
        CronSim(cron, _EPOCH)
        sound = len(fields) == 6 and fields[0] == "0" and fields[1] != "*"
    except CronSimError:
        sound = False
    if not sound:
        raise RefusedError(400, "BAD_REQUEST", f"invalid cron string for scheduled trigger: {cron}")


def _registry_from(body: dict[str, Any], world: World) -> Registry:
    credential = body.get("credential") or {}
    now = world.now()
    key = str(credential.get("access_key") or "")
    return Registry(
        id=0,
        name=str(body.get("name", "")),
        type=str(body.get("type") or "docker-registry"),
        url=_endpoint_url(str(body.get("url", ""))),
        insecure=bool(body.get("insecure")),
        access_key=key,
        # Harbor keeps no secret without a user (src/pkg/reg/manager.go toDaoModel).
        access_secret=str(credential.get("access_secret") or "") if key else "",
        credential_type=str(credential.get("type") or "basic"),
        description=str(body.get("description", "")),
        ca_certificate=str(body.get("ca_certificate", "")) if world.since(2, 15) else "",
        created=now,
        updated=now,
    )


def _overridden(row: Registry, body: dict[str, Any], world: World) -> Registry:
    """A stored endpoint as a ping with its id asks for it."""
    asked = replace(row)
    names = ["access_key", "access_secret"]
    names += [] if world.since(2, 16) else ["url", "insecure", "ca_certificate"]
    for name in names:
        setattr(asked, name, body.get(name, getattr(row, name)))
    return asked


def _endpoint_url(url: str) -> str:
    """Scheme and host, no slash at the end (`lib.ValidateHTTPURL`). Raises RefusedError (400)."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise RefusedError(400, "BAD_REQUEST", f"invalid URL: {url}")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _path_id(request: web.Request, name: str = "id") -> int:
    """An id in the path. Raises RefusedError (422) when it is no number."""
    text = request.match_info[name]
    if not text.lstrip("-").isdigit():
        raise unprocessable(f'{name} in path must be of type int64: "{text}"')
    return int(text)
