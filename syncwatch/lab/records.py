"""What the lab Harbor remembers: one record for each row that Harbor would have in its database.

Times are Unix seconds by Harbor's own clock. Words are Harbor's internal ones where it has two
(a task is `Success` here and `Succeed` in the API).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from syncwatch.plan.matching import Filter

PENDING, RUNNING, SUCCESS, ERROR, STOPPED = "Pending", "Running", "Success", "Error", "Stopped"
FINAL = frozenset({SUCCESS, ERROR, STOPPED})

REPLICATION, WEBHOOK = "REPLICATION", "WEBHOOK"


@dataclass(slots=True)
class Project:
    """A project; `registry_id` above 0 makes it a proxy cache."""

    id: int
    name: str
    public: bool
    created: float
    updated: float
    registry_id: int = 0


@dataclass(slots=True)
class Repository:
    """A repository under its full name, project included."""

    id: int
    project_id: int
    name: str
    created: float
    updated: float
    pull_count: int = 0


@dataclass(slots=True)
class Tag:
    """A tag; `push_time` moves with every setting to another digest, and with no other."""

    id: int
    repository_id: int
    artifact_id: int
    name: str
    push_time: float
    pull_time: float = 0.0


@dataclass(slots=True)
class Artifact:
    """A manifest in a repository; `push_time` is when the digest first appeared there."""

    id: int
    project_id: int
    repository_id: int
    repository: str
    digest: str
    kind: str
    media_type: str
    manifest_media_type: str
    artifact_type: str
    size: int
    push_time: float
    pull_time: float = 0.0
    extra_attrs: dict[str, Any] | None = None
    annotations: dict[str, str] | None = None
    children: list[dict[str, Any]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Accessory:
    """What makes an artifact a signature or a referrer of another."""

    id: int
    artifact_id: int
    subject_id: int
    subject_digest: str
    repository: str
    digest: str
    size: int
    type: str
    created: float


@dataclass(slots=True)
class Label:
    """A label; `project_id` 0 is a global one."""

    id: int
    name: str
    project_id: int
    created: float


@dataclass(slots=True)
class Registry:
    """A registry endpoint. Copied into each task, so that later edits do not touch it."""

    id: int
    name: str
    type: str
    url: str
    insecure: bool
    access_key: str
    access_secret: str
    description: str
    created: float
    updated: float
    credential_type: str = "basic"
    ca_certificate: str = ""
    status: str = "healthy"


@dataclass(slots=True)
class Policy:
    """A replication policy. `registry_id` is the remote side; `pull` says it is the source."""

    id: int
    name: str
    registry_id: int
    pull: bool
    namespace: str
    replace_count: int
    trigger: str
    cron: str
    filters: list[Filter]
    deletion: bool
    override: bool
    enabled: bool
    created: float
    updated: float
    creator: str = "admin"
    description: str = ""
    speed: int = 0
    copy_by_chunk: bool = False
    single_active: bool = False


@dataclass(slots=True)
class WebhookPolicy:
    """A webhook policy of one project, with its targets as the API gives them."""

    id: int
    project_id: int
    name: str
    description: str
    event_types: list[str]
    targets: list[dict[str, Any]]
    enabled: bool
    creator: str
    created: float
    updated: float


@dataclass(slots=True)
class Task:
    """One job of an execution; `started` moves on when it is tried again."""

    id: int
    execution_id: int
    vendor: str
    job_id: str
    created: float
    started: float
    status: str = PENDING
    ended: float = 0.0
    updated: float = 0.0
    run_count: int = 0
    log: list[str] = field(default_factory=list)
    operation: str = ""
    source: str = ""
    destination: str = ""
    references: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Execution:
    """A run of a replication policy, or one webhook event to one target."""

    id: int
    vendor: str
    vendor_id: int
    trigger: str
    started: float
    status: str = RUNNING
    status_text: str = ""
    ended: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)


@dataclass(slots=True)
class Robot:
    """A system robot; `grants` are (namespace, resource, action), namespace `/` the system's."""

    id: int
    name: str
    secret: str
    description: str
    duration: int
    created: float
    permissions: list[dict[str, Any]]
    grants: frozenset[tuple[str, str, str]]
    disabled: bool = False


@dataclass(slots=True)
class AuditEntry:
    """A line of the audit log."""

    id: int
    at: float
    operation: str
    resource_type: str
    resource: str
    description: str
    username: str
    project_id: int


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to an artifact and concerns webhooks and event-based policies.

    `type` is PUSH_ARTIFACT, PULL_ARTIFACT, DELETE_ARTIFACT, CREATE_TAG or DELETE_TAG; `labels`
    are absent on push, which no label filter can match (api.md §5).
    """

    type: str
    repository: str
    digest: str
    tags: tuple[str, ...]
    operator: str
    at: float
    labels: tuple[str, ...] = ()
