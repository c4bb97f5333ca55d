"""Who asks the lab Harbor, and what they may.

Wrong credentials do not fail, they see less (recording 16): they make a request nobody's. A project
that does not exist is 404 to the administrator and 403 to everybody else (api.md §3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.lab.answers import RefusedError, not_found
from syncwatch.lab.tokens import basic_credentials

if TYPE_CHECKING:
    from aiohttp import web

    from syncwatch.lab.records import Project
    from syncwatch.lab.world import World

SYSTEM = "/"
EVERY_PROJECT = "*"

_PUBLIC = frozenset(
    {
        ("project", "read"),
        ("repository", "list"),
        ("repository", "read"),
        ("repository", "pull"),
        ("artifact", "list"),
        ("artifact", "read"),
        ("tag", "list"),
        ("accessory", "list"),
        ("label", "list"),
    }
)
"""What anybody may in a public project."""

SYSTEM_PERMISSIONS = {
    "audit-log": {"list"},
    "catalog": {"read"},
    "garbage-collection": {"create", "list", "read", "stop", "update"},
    "jobservice-monitor": {"list", "stop"},
    "label": {"create", "delete", "list", "read", "update"},
    "project": {"create", "list"},
    "purge-audit": {"create", "list", "read", "stop", "update"},
    "quota": {"list", "read", "update"},
    "registry": {"create", "delete", "list", "read", "update"},
    "replication": {"create", "list", "read"},
    "replication-adapter": {"list"},
    "replication-policy": {"create", "delete", "list", "read", "update"},
    "robot": {"create", "delete", "list", "read"},
    "scan-all": {"create", "read", "stop", "update"},
    "system-volumes": {"read"},
    "user": {"create", "delete", "list", "read", "update"},
}
PROJECT_PERMISSIONS = {
    "accessory": {"list"},
    "artifact": {"create", "delete", "list", "read"},
    "artifact-label": {"create", "delete"},
    "immutable-tag": {"create", "delete", "list", "update"},
    "label": {"create", "delete", "list", "read", "update"},
    "log": {"list"},
    "member": {"create", "delete", "list", "read", "update"},
    "metadata": {"create", "delete", "list", "read", "update"},
    "notification-policy": {"create", "delete", "list", "read", "update"},
    "preheat-policy": {"create", "delete", "list", "read", "update"},
    "project": {"delete", "read", "update"},
    "quota": {"read"},
    "repository": {"delete", "list", "pull", "push", "read", "update"},
    "robot": {"create", "delete", "list", "read"},
    "scan": {"create", "read", "stop"},
    "tag": {"create", "delete", "list"},
    "tag-retention": {"create", "delete", "list", "operate", "read", "update"},
}
"""What a robot can be granted since 2.10 (`PoliciesMap`); anything else is 400."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody: the administrator, a robot, or nobody (`name` empty)."""

    name: str = ""
    admin: bool = False
    grants: frozenset[tuple[str, str, str]] = frozenset()

    @property
    def known(self) -> bool:
        """Whether the request is authenticated."""
        return bool(self.name)

    def may(self, resource: str, action: str) -> bool:
        """On the system."""
        return self.admin or (SYSTEM, resource, action) in self.grants

    def may_in(self, project: Project | None, resource: str, action: str) -> bool:
        """In a project; nobody but the administrator may anything in one that is not there."""
        if self.admin:
            return True
        if project is None:
            return False
        spaces = (EVERY_PROJECT, project.name)
        granted = any((space, resource, action) in self.grants for space in spaces)
        return granted or (project.public and (resource, action) in _PUBLIC)


NOBODY = Identity()


def who(world: World, authorization: str | None) -> Identity:
    """Whose request this is, by its Authorization header."""
    credentials = basic_credentials(authorization)
    if credentials is None:
        return NOBODY
    name, password = credentials
    if name == "admin" and password == world.admin_password:
        return Identity("admin", admin=True)
    for robot in world.robots.values():
        if (robot.name, robot.secret) == (name, password) and not robot.disabled:
            return Identity(name, grants=robot.grants)
    return NOBODY


def identify(world: World, request: web.Request) -> Identity:
    """Whose request this is."""
    return who(world, request.headers.get("Authorization"))


def require(world: World, request: web.Request, resource: str, action: str) -> Identity:
    """Somebody who may do this on the system. Raises RefusedError (401, 403)."""
    identity = require_known(world, request)
    if not identity.may(resource, action):
        raise RefusedError(403, "FORBIDDEN", identity.name)
    return identity


def require_known(world: World, request: web.Request) -> Identity:
    """Somebody. Raises RefusedError (401)."""
    identity = identify(world, request)
    if not identity.known:
        raise RefusedError(401, "UNAUTHORIZED", "unauthorized")
    return identity


def require_in_project(
    world: World, request: web.Request, resource: str, action: str
) -> tuple[Identity, Project | None]:
    """Somebody who may do this in the path's project. Raises RefusedError (401, 403).

    The project is None when it does not exist, which only the administrator gets to know.
    """
    project = project_of(world, request)
    identity = identify(world, request)
    if identity.may_in(project, resource, action):
        return identity, project
    if not identity.known:
        raise RefusedError(401, "UNAUTHORIZED", "unauthorized")
    raise RefusedError(403, "FORBIDDEN", "forbidden")


def existing_project(
    world: World, request: web.Request, resource: str, action: str
) -> tuple[Identity, Project]:
    """As `require_in_project`, and the project is there. Raises RefusedError (401, 403, 404)."""
    identity, project = require_in_project(world, request, resource, action)
    if project is None:
        raise not_found(f"project {request.match_info['project']}")
    return identity, project


def project_of(world: World, request: web.Request) -> Project | None:
    """The path's project, by name, or by id unless `X-Is-Resource-Name: true` was sent."""
    is_name = request.headers.get("X-Is-Resource-Name", "").lower() == "true"
    return world.project(request.match_info["project"], is_name=is_name)
