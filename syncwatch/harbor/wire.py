"""Pure: bytes from Harbor become values. Webhook bodies and API answers are parsed here, once.

Times come in three forms: RFC 3339 with milliseconds (API), whole seconds since the epoch
(`occur_at` of the Default payload) and RFC 3339 in seconds (CloudEvents `time`). All become
milliseconds in Harbor's clock; Harbor's zero time (year 1) becomes None.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import msgspec

from syncwatch.errors import MalformedError
from syncwatch.model import Millis, Trigger

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PUSH = "PUSH_ARTIFACT"
DELETE = "DELETE_ARTIFACT"
REPLICATION = "REPLICATION"

CLOUD_EVENT_TYPES = {
    "harbor.artifact.pushed": PUSH,
    "harbor.artifact.pulled": "PULL_ARTIFACT",
    "harbor.artifact.deleted": DELETE,
    "harbor.quota.exceeded": "QUOTA_EXCEED",
    "harbor.quota.warned": "QUOTA_WARNING",
    "harbor.scan.failed": "SCANNING_FAILED",
    "harbor.scan.completed": "SCANNING_COMPLETED",
    "harbor.scan.stopped": "SCANNING_STOPPED",
    "harbor.replication.status.changed": REPLICATION,
    "harbor.tag_retention.finished": "TAG_RETENTION",
}
"""CloudEvents type → Harbor's own event type (pkg/notifier/formats/cloudevents.go)."""

EVENT_TYPES = frozenset(CLOUD_EVENT_TYPES.values())
OTHER = "other"

LARGEST = 2**63 - 1
"""The largest number that a column of the store takes."""

Number = Annotated[int, msgspec.Meta(ge=-LARGEST - 1, le=LARGEST)]


@dataclass(frozen=True, slots=True)
class Artifact:
    """One artifact that a webhook names. `reference` is the tag, or the digest where there is none.

    Harbor names only the first tag of an artifact (controller/event/handler/webhook/artifact).
    """

    repository: str
    reference: str
    digest: str


@dataclass(frozen=True, slots=True)
class Push:
    """PUSH_ARTIFACT: a manifest was put. Fires also for the same bytes again (recording 17)."""

    artifacts: tuple[Artifact, ...]
    occurred_at: Millis


@dataclass(frozen=True, slots=True)
class Deletion:
    """DELETE_ARTIFACT: an artifact went, with all its tags."""

    artifacts: tuple[Artifact, ...]
    occurred_at: Millis


@dataclass(frozen=True, slots=True)
class Replication:
    """REPLICATION: a task changed its status. A hint, never a fact.

    `execution_id` and `task_id` are None before Harbor 2.13, `references` empty before 2.10.
    `source_namespace` is read from `dest_resource`: Harbor swaps the two in push mode
    (controller/event/handler/webhook/artifact/replication.go), and the local side has no name.
    """

    execution_id: int | None
    task_id: int | None
    job_status: str
    trigger: str
    source_namespace: str
    repositories: tuple[str, ...]
    references: tuple[str, ...]
    occurred_at: Millis


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook body, read. `event` is None for types we do not act on, or cannot interpret."""

    type: str
    id: str | None
    event: Push | Deletion | Replication | None
    understood: bool = True


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises MalformedError when it is not JSON, or not an object."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedError("the body is JSON, but not an object")
    return value


def event_type(payload: dict[str, Any]) -> str:
    """Harbor's own type of the event in a payload of either format; `other` where unknown."""
    given = payload.get("type")
    if not isinstance(given, str):
        return OTHER
    name = CLOUD_EVENT_TYPES.get(given, given)
    return name if name in EVENT_TYPES else OTHER


def cloud_event_id(payload: dict[str, Any]) -> str | None:
    """The id that stays the same when Harbor retries a CloudEvents delivery (recording 14)."""
    given = payload.get("id")
    return given if payload.get("specversion") and isinstance(given, str) else None


def read_delivery(body: bytes) -> Delivery:
    """The delivery in a webhook body of either format; MalformedError when it is no object."""
    return read_payload(read_object(body))


def read_payload(payload: dict[str, Any]) -> Delivery:
    """The delivery in a webhook's object.

    One that cannot be interpreted is a Delivery with `understood` False: kept, not refused.
    """
    kind, identity = event_type(payload), cloud_event_id(payload)
    readers: dict[str, Callable[[dict[str, Any], Millis], Push | Deletion | Replication]] = {
        PUSH: _push,
        DELETE: _deletion,
        REPLICATION: _replication,
    }
    if kind not in readers:
        return Delivery(kind, identity, None)
    try:
        data, at = _data_and_time(payload)
        return Delivery(kind, identity, readers[kind](data, at))
    except (KeyError, TypeError, ValueError, AttributeError, msgspec.ValidationError):
        return Delivery(kind, identity, None, understood=False)


def _data_and_time(payload: dict[str, Any]) -> tuple[dict[str, Any], Millis]:
    if payload.get("specversion"):
        at = millis(payload["time"])
        if at is None:
            raise ValueError("time")
        return payload["data"], at
    at = int(payload["occur_at"]) * 1000
    if abs(at) > LARGEST:
        raise ValueError("occur_at")
    return payload["event_data"], at


def _artifacts(data: dict[str, Any]) -> tuple[Artifact, ...]:
    repository = _text(data["repository"]["repo_full_name"])
    return tuple(
        Artifact(repository, _text(one.get("tag") or one["digest"]), _text(one["digest"]))
        for one in data["resources"]
    )


def _push(data: dict[str, Any], at: Millis) -> Push:
    return Push(_artifacts(data), at)


def _deletion(data: dict[str, Any], at: Millis) -> Deletion:
    return Deletion(_artifacts(data), at)


def _replication(data: dict[str, Any], at: Millis) -> Replication:
    told = data["replication"]
    artifacts = told.get("successful_artifact") or told.get("failed_artifact") or []
    references = {_text(r): None for a in artifacts for r in a.get("references") or () if r}
    return Replication(
        execution_id=_id(told.get("execution_id")),
        task_id=_id(told.get("task_id")),
        job_status=_text(told["job_status"]),
        trigger=_text(told.get("trigger_type") or ""),
        source_namespace=_text((told.get("dest_resource") or {}).get("namespace") or ""),
        repositories=tuple(plain_name(_text(a.get("name_tag") or "")) for a in artifacts),
        references=tuple(references),
        occurred_at=at,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _id(value: object) -> int | None:
    is_id = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST
    return cast("int", value) if is_id else None


def plain_name(display: str) -> str:
    """`library/busybox [3 item(s) in total]` → `library/busybox`.

    Harbor shows resources so (controller/replication/flow/stage.go, getResourceName).
    """
    return display.split(" [", 1)[0]


def item_count(display: str) -> int | None:
    """How many artifacts a resource's display name says it holds; None where it does not say."""
    _, _, rest = display.partition(" [")
    count = rest.split(" ", 1)[0]
    return int(count) if count.isascii() and count.isdigit() and len(count) < 19 else None


def millis(text: str | None) -> Millis | None:
    """RFC 3339 → milliseconds since the epoch; None for nothing and for Harbor's zero time.

    Raises ValueError for text that is no time.
    """
    if not text or text.startswith(("0001-", "1970-01-01T00:00:00")):
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def millis_or_none(text: str | None) -> Millis | None:
    """As `millis`, and None also for text that is no time: one bad field spoils no answer."""
    try:
        return millis(text)
    except ValueError:
        return None


class RegistryEndpoint(msgspec.Struct, frozen=True):
    """A registry endpoint (`convertRegistry`, server/v2.0/handler/replication.go).

    Harbor's own side of a policy is a made-up one with id 0 and an internal url. `url` comes
    without the user and password that it may hold in Harbor: they are Harbor's, and shown nowhere.
    """

    id: Number = 0
    name: str = ""
    type: str = ""
    url: str = ""
    status: str = ""
    update_time: str | None = None

    def __post_init__(self) -> None:
        scheme, mark, rest = self.url.rpartition("://")
        place, slash, path = rest.partition("/")
        bare = f"{scheme}{mark}{place.rpartition('@')[2]}{slash}{path}"
        msgspec.structs.force_setattr(self, "url", bare)


class PolicyTrigger(msgspec.Struct, frozen=True):
    """What starts a policy; `trigger_settings.cron` has six fields, seconds first, in UTC."""

    type: str = "manual"
    trigger_settings: dict[str, Any] | None = None

    @property
    def cron(self) -> str:
        """The cron expression, empty for other triggers."""
        given = (self.trigger_settings or {}).get("cron")
        return given if isinstance(given, str) else ""


class PolicyFilter(msgspec.Struct, frozen=True):
    """One filter of a policy; several of one type are all applied."""

    type: str
    value: str | list[str] | None = None
    decoration: str | None = ""


class Policy(msgspec.Struct, frozen=True):
    """A replication policy as the API gives it; zero values may be absent."""

    id: Number
    name: str = ""
    src_registry: RegistryEndpoint | None = None
    dest_registry: RegistryEndpoint | None = None
    dest_namespace: str = ""
    dest_namespace_replace_count: Number = -1
    trigger: PolicyTrigger | None = None
    filters: list[PolicyFilter] | None = None
    deletion: bool = False
    replicate_deletion: bool = False
    override: bool = False
    enabled: bool = False
    description: str = ""
    speed: Number = 0
    copy_by_chunk: bool = False
    single_active_replication: bool = False
    creation_time: str | None = None
    update_time: str | None = None

    @property
    def pushes(self) -> bool:
        """Whether it copies from this Harbor to a registry endpoint (else it pulls)."""
        return self.dest_registry is not None and self.dest_registry.id > 0

    @property
    def trigger_type(self) -> str:
        """manual, scheduled or event_based; a policy without a trigger is manual."""
        return self.trigger.type if self.trigger and self.trigger.type else Trigger.MANUAL


class Execution(msgspec.Struct, frozen=True):
    """One run of a policy. Its counters are tasks (repositories), not artifacts; `status` lags."""

    id: Number
    policy_id: Number = 0
    status: str = ""
    status_text: str = ""
    trigger: str = ""
    start_time: str | None = None
    end_time: str | None = None
    total: Number = 0
    failed: Number = 0
    succeed: Number = 0
    in_progress: Number = 0
    stopped: Number = 0


class Task(msgspec.Struct, frozen=True):
    """One repository's part of an execution. `Failed` is not final: Harbor tries three times."""

    id: Number
    execution_id: Number = 0
    status: str = ""
    operation: str = ""
    src_resource: str = ""
    dst_resource: str = ""
    start_time: str | None = None
    end_time: str | None = None


class Tag(msgspec.Struct, frozen=True):
    """A tag at the source; `push_time` moves whenever the tag is set to another digest."""

    name: str
    push_time: str | None = None


class Reference(msgspec.Struct, frozen=True):
    """A child of an index."""

    child_digest: str = ""


class Accessory(msgspec.Struct, frozen=True):
    """A signature or other referrer of an artifact."""

    digest: str = ""
    type: str = ""
    creation_time: str | None = None


class Label(msgspec.Struct, frozen=True):
    """A label by its name."""

    name: str = ""


class SourceArtifact(msgspec.Struct, frozen=True):
    """An artifact at the source, as the API gives it; lists may be null."""

    digest: str
    push_time: str | None = None
    tags: list[Tag] | None = None
    references: list[Reference] | None = None
    accessories: list[Accessory] | None = None
    labels: list[Label] | None = None

    def tag(self, name: str) -> Tag | None:
        """Its tag of that name, if it has it."""
        return next((tag for tag in self.tags or () if tag.name == name), None)

    @property
    def parts(self) -> tuple[str, ...]:
        """Digests judged inside it and not by themselves: index children and accessories."""
        children = [one.child_digest for one in self.references or ()]
        return tuple(d for d in children + [a.digest for a in self.accessories or ()] if d)


class SystemInfo(msgspec.Struct, frozen=True):
    """/systeminfo; `harbor_version` is there only for accepted credentials (recording 16)."""

    harbor_version: str = ""
    current_time: str | None = None
    notification_enable: bool | None = None
    external_url: str = ""
    registry_url: str = ""


def read_as(kind: type[T], body: bytes) -> T:
    """`body` as one of the structures above. Raises MalformedError when it is something else."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"Harbor's answer is not what was asked for: {error}") from None


def read_list(kind: type[T], body: bytes) -> list[T]:
    """`body` as a list of such structures; `null` is an empty list (handlers pass nil slices)."""
    try:
        return msgspec.json.decode(body, type=list[kind] | None) or []  # type: ignore[valid-type]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"Harbor's answer is not the list asked for: {error}") from None


def says_not_found(body: bytes) -> bool:
    """Whether an error body is Harbor's own NOT_FOUND, and not some proxy's 404 page."""
    try:
        errors = read_object(body).get("errors")
        return bool(errors) and errors[0].get("code") == "NOT_FOUND"  # type: ignore[index]
    except (MalformedError, AttributeError, IndexError, TypeError, KeyError):
        return False
