"""The bodies of Harbor's webhooks, in both formats, byte for byte as a Go program writes them.

Shapes from the recordings and src/controller/event/handler/webhook; what older versions leave out
from api.md §10.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from syncwatch.lab.records import ERROR, SUCCESS
from syncwatch.lab.world import second_stamp

if TYPE_CHECKING:
    from syncwatch.lab.records import (
        Event,
        Execution,
        Policy,
        Project,
        Registry,
        Task,
        WebhookPolicy,
    )
    from syncwatch.lab.world import World

CLOUD_TYPES = {
    "PUSH_ARTIFACT": "harbor.artifact.pushed",
    "PULL_ARTIFACT": "harbor.artifact.pulled",
    "DELETE_ARTIFACT": "harbor.artifact.deleted",
    "QUOTA_EXCEED": "harbor.quota.exceeded",
    "QUOTA_WARNING": "harbor.quota.warned",
    "SCANNING_FAILED": "harbor.scan.failed",
    "SCANNING_STOPPED": "harbor.scan.stopped",
    "SCANNING_COMPLETED": "harbor.scan.completed",
    "REPLICATION": "harbor.replication.status.changed",
    "TAG_RETENTION": "harbor.tag_retention.finished",
}
"""Event types, in the order in which Harbor lists them, with their CloudEvents names."""

TRIGGERS = {"event_based": "EVENT", "manual": "MANUAL", "scheduled": "SCHEDULE"}


def artifact_data(world: World, event: Event, project: Project) -> dict[str, Any]:
    """`event_data` of PUSH_ARTIFACT, PULL_ARTIFACT and DELETE_ARTIFACT: one resource, one tag."""
    host = urlsplit(world.url).netloc
    joined = f":{event.tags[0]}" if event.tags else f"@{event.digest}"
    row = world.repository(event.repository)
    repository: dict[str, Any] = {"date_created": int(row.created)} if row else {}
    repository |= {
        "name": event.repository.partition("/")[2],
        "namespace": project.name,
        "repo_full_name": event.repository,
        "repo_type": "public" if project.public else "private",
    }
    resource = {
        "digest": event.digest,
        "tag": event.tags[0] if event.tags else event.digest,
        "resource_url": f"{host}/{event.repository}{joined}",
    }
    return {"resources": [resource], "repository": repository}


def replication_data(
    world: World, task: Task, execution: Execution, policy: Policy, there: Registry
) -> dict[str, Any]:
    """`event_data` of REPLICATION. In push mode the two namespaces are swapped, as in Harbor."""
    source, _, name_tag = task.source.partition("/")
    destination = task.destination.partition("/")[0]
    told: dict[str, Any] = {
        "harbor_hostname": urlsplit(world.url).hostname or "",
        "job_status": task.status,
        "description": policy.description,
        "artifact_type": "artifact",
        "authentication_type": there.credential_type if there.access_key else "",
        "override_mode": policy.override,
        "trigger_type": TRIGGERS[execution.trigger],
        "policy_creator": policy.creator,
        "execution_timestamp": int(execution.started),
        "src_resource": {
            "registry_type": "harbor",
            "endpoint": world.url,
            "namespace": destination,
        },
        "dest_resource": {
            "registry_name": there.name,
            "registry_type": there.type,
            "endpoint": there.url,
            "namespace": source,
        },
    }
    field = {SUCCESS: "successful_artifact", ERROR: "failed_artifact"}.get(task.status)
    if field:
        shown = {"type": "artifact", "status": task.status, "name_tag": name_tag}
        told[field] = [shown | ({"references": task.references} if world.since(2, 10) else {})]
    if world.since(2, 13):
        told |= {"execution_id": execution.id, "task_id": task.id}
    # Go's omitempty: what is false or empty is not sent (recordings 05 and 19).
    return {"replication": {name: value for name, value in told.items() if value}}


def body_of(
    event_type: str,
    data: dict[str, Any],
    *,
    at: float,
    operator: str,
    policy: WebhookPolicy,
    cloud_events: bool,
) -> str:
    """One delivery's body. A CloudEvents id is made here, once, and stays with the retries."""
    if not cloud_events:
        return _go_json(
            {"type": event_type, "occur_at": int(at), "operator": operator, "event_data": data}
        )
    return _go_json(
        {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "source": f"/projects/{policy.project_id}/webhook/policies/{policy.id}",
            "type": CLOUD_TYPES[event_type],
            "datacontenttype": "application/json",
            "time": second_stamp(at),
            "data": data,
            "operator": operator,
            "requestid": str(uuid.uuid4()),
        }
    )


def _go_json(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)
