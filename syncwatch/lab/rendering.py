"""The lab Harbor's records as its API shows them; shapes and omissions are the recordings'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from syncwatch.lab.records import ERROR, PENDING, RUNNING, STOPPED, SUCCESS
from syncwatch.lab.world import second_stamp, stamp

if TYPE_CHECKING:
    from syncwatch.lab.artifacts import Artifacts
    from syncwatch.lab.records import (
        Accessory,
        Artifact,
        AuditEntry,
        Execution,
        Label,
        Policy,
        Project,
        Registry,
        Repository,
        Robot,
        Tag,
        Task,
        WebhookPolicy,
    )
    from syncwatch.lab.world import World

_ZERO = stamp(0)
_ICONS = {
    "IMAGE": "sha256:0048162a053eef4d4ce3fe7518615bef084403614f8bca43b40ae2e762e11e06",
    "CHART": "sha256:61cf3a178ff0f75bf08a25d96b75cf7355dc197749a9128ed3ef34b0df05518b",
    "signature.cosign": "sha256:20401d5b3a0f6dbc607c8d732eb08471af4ae6b19811a4efce8c6a724aed2882",
}
_EXECUTION_WORDS = {RUNNING: "InProgress", SUCCESS: "Succeed", ERROR: "Failed", STOPPED: "Stopped"}
_TASK_WORDS = {PENDING: "Pending", **_EXECUTION_WORDS}


def registry(row: Registry) -> dict[str, Any]:
    """A registry endpoint; the secret is always five stars."""
    credential = {
        "access_key": row.access_key,
        "access_secret": "*****",
        "type": row.credential_type,
    }
    shown = {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "type": row.type,
        "url": row.url,
        "insecure": row.insecure,
        "ca_certificate": row.ca_certificate,
        "status": row.status,
        "credential": credential if row.access_key else {},
        "creation_time": stamp(row.created),
        "update_time": stamp(row.updated),
    }
    kept = {"id", "credential"}
    return {name: value for name, value in shown.items() if value or name in kept}


def local_registry(world: World) -> dict[str, Any]:
    """The synthetic registry 0, Harbor itself; its URL is the internal one in a real Harbor."""
    return {
        "id": 0,
        "name": "Local",
        "type": "harbor",
        "url": world.url,
        "insecure": True,
        "status": "healthy",
        "credential": {"access_secret": "*****", "type": "secret"},
        "creation_time": _ZERO,
        "update_time": _ZERO,
    }


def policy(world: World, row: Policy) -> dict[str, Any]:
    """A replication policy with both sides filled; empty text and false flags are left out."""
    remote, local = registry(world.registries[row.registry_id]), local_registry(world)
    trigger: dict[str, Any] = {"type": row.trigger}
    if row.cron:
        trigger["trigger_settings"] = {"cron": row.cron}
    shown: dict[str, Any] = {
        "id": row.id,
        "name": row.name,
        "src_registry": remote if row.pull else local,
        "dest_registry": local if row.pull else remote,
        "dest_namespace_replace_count": row.replace_count,
        "trigger": trigger,
        "filters": [_filter(rule) for rule in row.filters],
        "enabled": row.enabled,
        "override": row.override,
        "speed": row.speed,
        "copy_by_chunk": row.copy_by_chunk,
        "creation_time": stamp(row.created),
        "update_time": stamp(row.updated),
    }
    if world.since(2, 14):
        shown["single_active_replication"] = row.single_active
    optional = {
        "description": row.description,
        "dest_namespace": row.namespace,
        "replicate_deletion": row.deletion,
        "deletion": row.deletion,
    }
    return shown | {name: value for name, value in optional.items() if value}


def _filter(rule: Any) -> dict[str, Any]:
    value = rule.value if isinstance(rule.value, str) else list(rule.value)
    shown = {"type": rule.type, "value": value}
    return shown | ({"decoration": rule.decoration} if rule.decoration else {})


def execution(row: Execution) -> dict[str, Any]:
    """A replication execution; the counters are live, the status may be late."""
    found = [task.status for task in row.tasks]
    return {
        "id": row.id,
        "policy_id": row.vendor_id,
        "status": _EXECUTION_WORDS[row.status],
        "trigger": row.trigger,
        "start_time": stamp(row.started),
        "end_time": stamp(row.ended),
        "status_text": row.status_text,
        "total": len(found),
        "failed": found.count(ERROR),
        "succeed": found.count(SUCCESS),
        "in_progress": found.count(RUNNING) + found.count(PENDING),
        "stopped": found.count(STOPPED),
    }


def execution_status(row: Execution) -> str:
    """The API's word for an execution's status."""
    return _EXECUTION_WORDS[row.status]


def task_status(row: Task) -> str:
    """The API's word for a task's status."""
    return _TASK_WORDS[row.status]


def task(row: Task) -> dict[str, Any]:
    """A replication task; its times are whole seconds."""
    return {
        "id": row.id,
        "execution_id": row.execution_id,
        "status": task_status(row),
        "job_id": row.job_id,
        "operation": row.operation,
        "resource_type": "artifact",
        "src_resource": row.source,
        "dst_resource": row.destination,
        "start_time": stamp(int(row.started)),
        "end_time": stamp(int(row.ended)),
    }


def webhook_policy(row: WebhookPolicy) -> dict[str, Any]:
    """A webhook policy, its `auth_header` in clear, as Harbor gives it."""
    shown = {
        "id": row.id,
        "project_id": row.project_id,
        "name": row.name,
        "targets": row.targets,
        "event_types": row.event_types,
        "enabled": row.enabled,
        "creation_time": stamp(row.created),
        "update_time": stamp(row.updated),
    }
    optional = {"description": row.description, "creator": row.creator}
    return shown | {name: value for name, value in optional.items() if value}


def webhook_execution(row: Execution) -> dict[str, Any]:
    """One event of a webhook policy's history; the words are the job service's own."""
    names = {ERROR: "error", SUCCESS: "success", RUNNING: "running", PENDING: "pending"}
    metrics = {"task_count": len(row.tasks)}
    for one in row.tasks:
        name = f"{names.get(one.status, 'stopped')}_task_count"
        metrics[name] = metrics.get(name, 0) + 1
    return {
        "id": row.id,
        "vendor_type": row.vendor,
        "vendor_id": row.vendor_id,
        "status": row.status,
        "trigger": row.trigger,
        "start_time": second_stamp(row.started),
        "end_time": second_stamp(row.ended),
        "extra_attrs": row.extra,
        "metrics": metrics,
    }


def webhook_task(row: Task) -> dict[str, Any]:
    """One delivery's job; `run_count` says how often it was tried."""
    return {
        "id": row.id,
        "execution_id": row.execution_id,
        "status": row.status,
        "run_count": row.run_count,
        "creation_time": second_stamp(row.created),
        "start_time": second_stamp(row.started),
        "update_time": second_stamp(row.updated),
        "end_time": second_stamp(row.ended),
    }


def project(world: World, row: Project, *, admin: bool) -> dict[str, Any]:
    """A project; role ids only for whoever has a role."""
    count = sum(one.project_id == row.id for one in world.repositories.values())
    shown: dict[str, Any] = {
        "project_id": row.id,
        "name": row.name,
        "owner_id": 1,
        "owner_name": "admin",
        "metadata": {"public": "true" if row.public else "false"},
        "repo_count": count,
        "current_user_role_ids": [1] if admin else None,
        "cve_allowlist": {
            "id": row.id,
            "project_id": row.id,
            "items": [],
            "creation_time": _ZERO,
            "update_time": _ZERO,
        },
        "creation_time": stamp(row.created),
        "update_time": stamp(row.updated),
    }
    shown |= {"current_user_role_id": 1} if admin else {}
    return shown | ({"registry_id": row.registry_id} if row.registry_id else {})


def repository(artifacts: Artifacts, row: Repository) -> dict[str, Any]:
    """A repository; `artifact_count` counts what its listing shows."""
    return {
        "id": row.id,
        "project_id": row.project_id,
        "name": row.name,
        "artifact_count": sum(map(artifacts.is_listed, artifacts.in_repository(row))),
        "pull_count": row.pull_count,
        "creation_time": stamp(row.created),
        "update_time": stamp(row.updated),
    }


def artifact(
    world: World,
    artifacts: Artifacts,
    row: Artifact,
    *,
    tags: bool,
    labels: bool,
    accessories: bool,
) -> dict[str, Any]:
    """An artifact; what was not asked for is null, as what there is none of."""
    named = [tag(one) for one in artifacts.tags_of(row)] if tags else []
    labelled = [label(world.labels[one]) for one in row.labels] if labels else []
    attached = [accessory(one) for one in artifacts.accessories_of(row)] if accessories else []
    shown: dict[str, Any] = {
        "id": row.id,
        "type": row.kind,
        "media_type": row.media_type,
        "manifest_media_type": row.manifest_media_type,
        "project_id": row.project_id,
        "repository_id": row.repository_id,
        "repository_name": row.repository,
        "digest": row.digest,
        "size": row.size,
        "icon": _ICONS.get(row.kind, ""),
        "push_time": stamp(row.push_time),
        "pull_time": stamp(row.pull_time),
        "tags": named or None,
        "labels": labelled or None,
        "accessories": attached or None,
        "references": row.children or None,
    }
    if row.artifact_type and world.since(2, 11):
        shown["artifact_type"] = row.artifact_type
    if row.extra_attrs is not None:
        shown["extra_attrs"] = row.extra_attrs
        shown["addition_links"] = _addition_links(row)
    return shown | ({"annotations": row.annotations} if row.annotations else {})


def _addition_links(row: Artifact) -> dict[str, Any]:
    name, _, rest = row.repository.partition("/")
    path = f"/api/v2.0/projects/{name}/repositories/{rest.replace('/', '%252F')}"
    kinds = ("values.yaml", "readme.md", "dependencies") if row.kind == "CHART" else None
    return {
        kind: {"absolute": False, "href": f"{path}/artifacts/{row.digest}/additions/{kind}"}
        for kind in kinds or ("build_history",)
    }


def tag(row: Tag) -> dict[str, Any]:
    """A tag; its own `push_time` says since when it names this artifact."""
    return {
        "id": row.id,
        "repository_id": row.repository_id,
        "artifact_id": row.artifact_id,
        "name": row.name,
        "push_time": stamp(row.push_time),
        "pull_time": stamp(row.pull_time),
        "immutable": False,
    }


def accessory(row: Accessory) -> dict[str, Any]:
    """What is attached to an artifact."""
    return {
        "id": row.id,
        "artifact_id": row.artifact_id,
        "subject_artifact_id": row.subject_id,
        "subject_artifact_digest": row.subject_digest,
        "subject_artifact_repo": row.repository,
        "digest": row.digest,
        "size": row.size,
        "type": row.type,
        "icon": _ICONS.get(row.type, ""),
        "creation_time": stamp(row.created),
    }


def label(row: Label) -> dict[str, Any]:
    """A label, global or of a project."""
    shown = {
        "id": row.id,
        "name": row.name,
        "scope": "p" if row.project_id else "g",
        "creation_time": stamp(row.created),
        "update_time": stamp(row.created),
    }
    return shown | ({"project_id": row.project_id} if row.project_id else {})


def robot(row: Robot) -> dict[str, Any]:
    """A robot, without its secret."""
    return {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "level": "system",
        "duration": row.duration,
        "disable": row.disabled,
        "editable": True,
        "expires_at": -1,
        "permissions": row.permissions,
        "creation_time": stamp(row.created),
        "update_time": stamp(row.created),
    }


def audit_entry(row: AuditEntry) -> dict[str, Any]:
    """A line of /auditlog-exts."""
    return {
        "id": row.id,
        "op_time": stamp(row.at),
        "operation": row.operation,
        "operation_description": row.description,
        "operation_result": True,
        "resource": row.resource,
        "resource_type": row.resource_type,
        "username": row.username,
    }
