"""The lab Harbor's API: the system itself, users, robots, the audit log, the job queues."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from syncwatch.lab import rendering
from syncwatch.lab.answers import RefusedError, bare, created, json_answer, json_body, not_found
from syncwatch.lab.identity import (
    PROJECT_PERMISSIONS,
    SYSTEM,
    SYSTEM_PERMISSIONS,
    identify,
    require,
    require_known,
)
from syncwatch.lab.listing import list_answer
from syncwatch.lab.records import REPLICATION, WEBHOOK, Robot
from syncwatch.lab.world import stamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from syncwatch.lab.jobs import Jobs
    from syncwatch.lab.records import AuditEntry, Project
    from syncwatch.lab.world import World

_COMPONENTS = (
    "core",
    "database",
    "jobservice",
    "portal",
    "redis",
    "registry",
    "registryctl",
)
_ROBOTS: dict[str, Callable[[Robot], Any]] = {
    "id": lambda row: row.id,
    "name": lambda row: row.name,
}
_AUDIT: dict[str, Callable[[AuditEntry], Any]] = {
    "id": lambda row: row.id,
    "project_id": lambda row: row.project_id,
    "operation": lambda row: row.operation,
    "resource_type": lambda row: row.resource_type,
    "resource": lambda row: row.resource,
    "username": lambda row: row.username,
    "op_time": lambda row: row.at,
}


class SystemApi:
    """Handlers that concern no project."""

    def __init__(self, world: World, jobs: Jobs) -> None:
        self._world = world
        self._jobs = jobs

    def routes(self) -> list[web.RouteDef]:
        """The routes under /api/v2.0."""
        return [
            web.get("/systeminfo", self.get_info),
            web.get("/health", self.get_health),
            web.get("/ping", self.ping),
            web.get("/users/current", self.get_user),
            web.get("/users/current/permissions", self.list_permissions),
            web.get("/robots", self.list_robots),
            web.post("/robots", self.create_robot),
            web.get("/robots/{id}", self.get_robot),
            web.delete("/robots/{id}", self.delete_robot),
            web.get("/auditlog-exts", self.list_audit_log),
            web.get("/jobservice/queues", self.list_queues),
            web.put("/jobservice/queues/{vendor}", self.change_queue),
        ]

    async def get_info(self, request: web.Request) -> web.Response:
        """Anybody; version, clock and URLs only for somebody (recording 16)."""
        info: dict[str, Any] = {
            "auth_mode": "db_auth",
            "banner_message": "",
            "oidc_provider_name": "",
            "primary_auth_mode": False,
            "self_registration": False,
        }
        if identify(self._world, request).known:
            info |= self._for_somebody()
        return json_answer(info)

    def _for_somebody(self) -> dict[str, Any]:
        return {
            "current_time": stamp(self._world.now()),
            "external_url": self._world.url,
            "harbor_version": self._world.version,
            "has_ca_root": False,
            "notification_enable": self._world.switches.notification_enable,
            "project_creation_restriction": "everyone",
            "read_only": self._world.switches.read_only,
            "registry_storage_provider_name": "filesystem",
            "registry_url": urlsplit(self._world.url).netloc,
        }

    async def get_health(self, request: web.Request) -> web.Response:
        """Anybody; 200 even when a component is ill."""
        components = [{"name": name, "status": "healthy"} for name in _COMPONENTS]
        return json_answer({"status": "healthy", "components": components})

    async def ping(self, request: web.Request) -> web.Response:
        """Anybody; text."""
        return web.Response(text="Pong")

    async def get_version(self, request: web.Request) -> web.Response:
        """/api/version: the API's version, not Harbor's; anybody."""
        return json_answer({"version": "v2.0"})

    async def get_user(self, request: web.Request) -> web.Response:
        """The administrator; robots are no users."""
        identity = require_known(self._world, request)
        if not identity.admin:
            message = "get current user not available for security context: robot"
            raise RefusedError(412, "PRECONDITION", message)
        return json_answer({"user_id": 1, "username": "admin", "sysadmin_flag": True})

    async def list_permissions(self, request: web.Request) -> web.Response:
        """Somebody; without a `scope` the list is empty, for the administrator too.

        Scopes are `/system` and `/project/ID` (handler/user.go, GetCurrentUserPermissions).
        """
        identity = require_known(self._world, request)
        scope = request.query.get("scope", "")
        if scope == "/system":
            granted = _listed(SYSTEM_PERMISSIONS, scope, identity.may)
        elif (project := self._project(scope)) is not None:
            may_there = partial(identity.may_in, project)
            granted = _listed(PROJECT_PERMISSIONS, scope, may_there)
        else:
            granted = []
        return json_answer(granted)

    def _project(self, scope: str) -> Project | None:
        number = scope.removeprefix("/project/")
        return self._world.projects.get(int(number)) if number.isdecimal() else None

    async def list_robots(self, request: web.Request) -> web.Response:
        """Needs robot:list."""
        require(self._world, request, "robot", "list")
        rows = self._world.robots.values()
        return list_answer(request, rows, rendering.robot, keys=_ROBOTS, sort="name")

    async def create_robot(self, request: web.Request) -> web.Response:
        """Needs robot:create. The secret is told once. Unknown permissions are 400."""
        require(self._world, request, "robot", "create")
        row = robot_from(await json_body(request), self._world)
        row.id = self._world.next_id("robot")
        self._world.robots[row.id] = row
        told = {
            "id": row.id,
            "name": row.name,
            "secret": row.secret,
            "creation_time": stamp(row.created),
            "expires_at": -1,
        }
        return created(request, row.id, told)

    async def get_robot(self, request: web.Request) -> web.Response:
        """Needs robot:read."""
        require(self._world, request, "robot", "read")
        return json_answer(rendering.robot(self._robot(request)))

    async def delete_robot(self, request: web.Request) -> web.Response:
        """Needs robot:delete."""
        require(self._world, request, "robot", "delete")
        del self._world.robots[self._robot(request).id]
        return bare()

    def _robot(self, request: web.Request) -> Robot:
        wanted = request.match_info["id"]
        found = next((row for row in self._world.robots.values() if str(row.id) == wanted), None)
        if found is None:
            raise not_found(f"robot account {wanted}")
        return found

    async def list_audit_log(self, request: web.Request) -> web.Response:
        """Somebody; without audit-log:list the list is empty. Exists since 2.13."""
        if not self._world.since(2, 13):
            raise not_found("the requested path")
        identity = require_known(self._world, request)
        rows = self._world.audit_log if identity.may("audit-log", "list") else []
        return list_answer(request, rows, rendering.audit_entry, keys=_AUDIT, sort="-op_time,-id")

    async def list_queues(self, request: web.Request) -> web.Response:
        """Needs jobservice-monitor:list; the only place where a paused queue shows."""
        require(self._world, request, "jobservice-monitor", "list")
        queues = [
            {
                "job_type": vendor,
                "count": self._jobs.waiting(vendor),
                "latency": 0,
                "paused": self._jobs.is_paused(vendor),
            }
            for vendor in (REPLICATION, WEBHOOK)
        ]
        return json_answer(queues)

    async def change_queue(self, request: web.Request) -> web.Response:
        """Needs jobservice-monitor:stop; `action` is `pause` or `resume`."""
        require(self._world, request, "jobservice-monitor", "stop")
        vendor, action = request.match_info["vendor"], (await json_body(request)).get("action")
        if action == "pause":
            self._jobs.pause(vendor)
        elif action == "resume":
            self._jobs.resume(vendor)
        else:
            raise RefusedError(422, "UNPROCESSABLE_ENTITY", "action in body should be one of")
        return bare()


def _listed(
    known: dict[str, set[str]], scope: str, may: Callable[[str, str], bool]
) -> list[dict[str, str]]:
    """What somebody may of what is known in a scope; a project itself is its bare path."""
    itself = "project" if scope.startswith("/project/") else ""
    return [
        {"resource": scope if resource == itself else f"{scope}/{resource}", "action": action}
        for resource, actions in known.items()
        for action in sorted(actions)
        if may(resource, action)
    ]


def robot_from(body: dict[str, Any], world: World) -> Robot:
    """A system robot from a request's body. Raises RefusedError (400)."""
    permissions = list(body.get("permissions") or [])
    grants = set()
    for entry in permissions:
        system = entry.get("kind") == "system"
        known = SYSTEM_PERMISSIONS if system else PROJECT_PERMISSIONS
        for access in entry.get("access") or []:
            resource, action = str(access.get("resource")), str(access.get("action"))
            if world.since(2, 10) and action not in known.get(resource, ()):
                message = f"bad request permission: {resource}:{action}"
                raise RefusedError(400, "BAD_REQUEST", message)
            grants.add((SYSTEM if system else str(entry.get("namespace")), resource, action))
    return Robot(
        id=0,
        name=f"robot${body.get('name', '')}",
        secret=secrets.token_urlsafe(24),
        description=str(body.get("description", "")),
        duration=int(body.get("duration") or -1),
        created=world.now(),
        permissions=permissions,
        grants=frozenset(grants),
    )
