"""Pure: what Harbor lists beside policies and executions: projects, repositories, webhooks, queues.

Shapes are those of api/v2.0/swagger.yaml as a running Harbor gave them (docs/harbor.md); zero
values may be absent.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Project(msgspec.Struct, frozen=True):
    """A project; `registry_id` above 0 makes it a proxy cache."""

    project_id: Number
    name: str
    registry_id: Number = 0
    metadata: dict[str, str] | None = None

    @property
    def is_proxy_cache(self) -> bool:
        """Whether it fetches from elsewhere what it is asked for."""
        return self.registry_id > 0


class Repository(msgspec.Struct, frozen=True):
    """A repository; `name` is whole (`project/rest`).

    `update_time` follows pushes, tags and deletions since v2.15.2 (touchRepo), never before.
    """

    id: Number
    name: str
    artifact_count: Number = 0
    update_time: str | None = None


class WebhookTarget(msgspec.Struct, frozen=True):
    """Where a webhook policy delivers; `auth_header` is the Authorization sent, in clear."""

    type: str = ""
    address: str = ""
    auth_header: str = ""
    skip_cert_verify: bool = False
    payload_format: str = ""


class WebhookPolicy(msgspec.Struct, frozen=True):
    """A project's webhook policy (server/v2.0/handler/model/webhook_policy.go)."""

    id: Number
    name: str = ""
    description: str = ""
    targets: list[WebhookTarget] | None = None
    event_types: list[str] | None = None
    enabled: bool = False


class WebhookExecution(msgspec.Struct, frozen=True):
    """One delivery of a webhook policy, as its history has it; 50 are kept a policy."""

    id: Number
    status: str = ""
    start_time: str | None = None
    end_time: str | None = None
    vendor_type: str = ""


class Queue(msgspec.Struct, frozen=True):
    """A job queue (`/jobservice/queues`); `latency` in seconds."""

    job_type: str = ""
    count: Number = 0
    latency: Number = 0
    paused: bool = False


class Permission(msgspec.Struct, frozen=True):
    """Something that we may do (`/users/current/permissions?scope=/system`)."""

    resource: str = ""
    action: str = ""
