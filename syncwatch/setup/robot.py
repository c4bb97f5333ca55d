"""Pure: the read-only robot account, with the least that the daemon needs (recording 16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from syncwatch.harbor.writing import Record
    from syncwatch.setup.changes import Form
    from syncwatch.setup.sections import RobotSection

PATH = "/robots"
SYSTEM = (
    ("replication-policy", "list"),
    ("replication-policy", "read"),
    ("replication", "list"),
    ("replication", "read"),
    ("registry", "list"),
    ("registry", "read"),
)
"""What it may on the whole Harbor (api.md §3)."""
PROJECTS = (
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
"""What it may in every project."""


def wanted(section: RobotSection) -> Form:
    """What is shown of it before it is made."""
    return {
        "description": section.description,
        "permissions": "read-only, in all projects",
        "expires": f"after {section.days} days" if section.days else "never",
        "secret_file": str(section.secret_file),
    }


def body(section: RobotSection) -> Record:
    """The body of POST /robots."""
    return {
        "name": section.name,
        "description": section.description,
        "level": "system",
        "duration": section.days or -1,
        "permissions": [
            _permission("system", "/", SYSTEM),
            _permission("project", "*", PROJECTS),
        ],
    }


def _permission(kind: str, namespace: str, access: tuple[tuple[str, str], ...]) -> Record:
    granted = [{"resource": resource, "action": action} for resource, action in access]
    return {"kind": kind, "namespace": namespace, "access": granted}


def is_it(record: Record, name: str) -> bool:
    """Whether a robot of Harbor's list has this name; the prefix is Harbor's to choose."""
    return str(record.get("name", "")).removeprefix("robot$") == name or str(
        record.get("name", "")
    ).endswith(f"${name}")


def lacks(record: Record) -> list[str]:
    """The permissions that it ought to have and has not, as `resource:action`."""
    granted = {
        (entry.get("kind"), access.get("resource"), access.get("action"))
        for entry in record.get("permissions") or ()
        if entry.get("namespace") in ("/", "*")
        for access in entry.get("access") or ()
    }
    needed = [("system", *one) for one in SYSTEM] + [("project", *one) for one in PROJECTS]
    return [
        f"{resource}:{action}"
        for kind, resource, action in needed
        if (kind, resource, action) not in granted
    ]
