"""The words of syncwatch, as values that its stages share. Read top to bottom, it is the glossary.

All times are integers: milliseconds since the Unix epoch, in our own clock unless a field says
Harbor's. All digests are `algorithm:hex`. Values are frozen; what changes is a row in the store.

The life of an expectation is one table, `LIFE`, further down: every state, every event, and where
it leads. `step` raises on a pair that the table does not have; docs/states.md is drawn from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from syncwatch.errors import IllegalTransitionError

if TYPE_CHECKING:
    from collections.abc import Mapping

Millis = int
"""A moment, in milliseconds since the Unix epoch."""

SECOND: Millis = 1000
MINUTE: Millis = 60 * SECOND
HOUR: Millis = 60 * MINUTE


ATTEMPTS = 3
"""Harbor tries a task so often (jobservice/job/impl/replication, MaxFails)."""


class State(StrEnum):
    """Where an expectation is in its life."""

    PENDING = "pending"
    VERIFIED = "verified"
    FAILED = "failed"
    UNKNOWN = "unknown"
    CLOSED = "closed"


OPEN_STATES = frozenset({State.PENDING, State.FAILED, State.UNKNOWN})
"""States in which the image is still owed."""


class Reason(StrEnum):
    """Why an expectation is in its state; the same words in metrics, API, logs and docs."""

    # pending
    WAITING = "waiting"
    QUEUED = "queued"
    COPYING = "copying"
    RETRYING = "retrying"
    NOT_VISIBLE_YET = "not_visible_yet"
    SCHEDULED = "scheduled"
    PROBING = "probing"
    # failed
    NOT_STARTED = "not_started"
    EXECUTION_FAILED = "execution_failed"
    EXECUTION_STOPPED = "execution_stopped"
    EMPTY_RUN = "empty_run"
    MISSING = "missing"
    LOST = "lost"
    TAG_MISSING = "tag_missing"
    DIGEST_MISMATCH = "digest_mismatch"
    NOT_OVERRIDDEN = "not_overridden"
    NAME_COLLISION = "name_collision"
    MANIFEST_CORRUPT = "manifest_corrupt"
    CHILD_MISSING = "child_missing"
    BLOB_MISSING = "blob_missing"
    BLOB_UNREADABLE = "blob_unreadable"
    POLICY_BLOCKED = "policy_blocked"
    NOT_DELETED = "not_deleted"
    PULL_FAILED = "pull_failed"
    # unknown
    UNOBSERVED = "unobserved"
    STALE = "stale"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    UNREACHABLE = "unreachable"
    TLS_ERROR = "tls_error"
    SERVER_ERROR = "server_error"
    UNREADABLE_ANSWER = "unreadable_answer"
    PULL_THROUGH = "pull_through"
    HARBOR_UNREACHABLE = "harbor_unreachable"
    PROBE_INCONCLUSIVE = "probe_inconclusive"
    # closed
    SUPERSEDED = "superseded"
    DELETED_AT_SOURCE = "deleted_at_source"
    POLICY_GONE = "policy_gone"
    DESTINATION_GONE = "destination_gone"
    DELETION_UNSUPPORTED = "deletion_unsupported"
    BY_HAND = "by_hand"


_R = Reason
REASONS: Mapping[State, frozenset[Reason]] = {
    State.PENDING: frozenset(
        {_R.WAITING, _R.QUEUED, _R.COPYING, _R.RETRYING, _R.NOT_VISIBLE_YET, _R.SCHEDULED}
        | {_R.PROBING}
    ),
    State.VERIFIED: frozenset(),
    State.FAILED: frozenset(
        {_R.NOT_STARTED, _R.EXECUTION_FAILED, _R.EXECUTION_STOPPED, _R.EMPTY_RUN, _R.MISSING}
        | {_R.LOST, _R.TAG_MISSING, _R.DIGEST_MISMATCH, _R.NOT_OVERRIDDEN, _R.NAME_COLLISION}
        | {_R.MANIFEST_CORRUPT, _R.CHILD_MISSING, _R.BLOB_MISSING, _R.BLOB_UNREADABLE}
        | {_R.POLICY_BLOCKED, _R.NOT_DELETED, _R.PULL_FAILED}
    ),
    State.UNKNOWN: frozenset(
        {_R.UNOBSERVED, _R.STALE, _R.UNAUTHORIZED, _R.FORBIDDEN, _R.RATE_LIMITED}
        | {_R.UNREACHABLE, _R.TLS_ERROR, _R.SERVER_ERROR, _R.UNREADABLE_ANSWER}
        | {_R.PULL_THROUGH, _R.HARBOR_UNREACHABLE, _R.PROBE_INCONCLUSIVE}
    ),
    State.CLOSED: frozenset(
        {_R.SUPERSEDED, _R.DELETED_AT_SOURCE, _R.POLICY_GONE, _R.DESTINATION_GONE}
        | {_R.DELETION_UNSUPPORTED, _R.BY_HAND}
    ),
}
"""Which reasons a state may have. `verified` has none (null in JSON, "" as a label)."""


class Happening(StrEnum):
    """What can happen to an expectation; the columns of the life table."""

    AWAITED = "awaited"  # not there, and something may still bring it
    SEEN = "seen"  # observed at the required level
    BROKEN = "broken"  # absent or wrong, and nothing under way could bring it
    UNANSWERED = "unanswered"  # we asked and learnt nothing
    AGED = "aged"  # the last good evidence is older than stale_after
    ENDED = "ended"  # no longer expected


_P, _V, _F, _U, _C = (
    State.PENDING,
    State.VERIFIED,
    State.FAILED,
    State.UNKNOWN,
    State.CLOSED,
)
LIFE: Mapping[State, Mapping[Happening, State]] = {
    _P: {
        Happening.AWAITED: _P,
        Happening.SEEN: _V,
        Happening.BROKEN: _F,
        Happening.UNANSWERED: _U,
        Happening.ENDED: _C,
    },
    # One failed attempt to look never takes `verified` away; age does, and evidence does.
    _V: {
        Happening.SEEN: _V,
        Happening.UNANSWERED: _V,
        Happening.BROKEN: _F,
        Happening.AGED: _U,
        Happening.ENDED: _C,
    },
    _F: {
        Happening.AWAITED: _P,
        Happening.SEEN: _V,
        Happening.BROKEN: _F,
        Happening.UNANSWERED: _U,
        Happening.ENDED: _C,
    },
    _U: {
        Happening.AWAITED: _P,
        Happening.SEEN: _V,
        Happening.BROKEN: _F,
        Happening.UNANSWERED: _U,
        Happening.AGED: _U,
        Happening.ENDED: _C,
    },
    _C: {},
}


def step(state: State, happening: Happening) -> State:
    """Where `happening` leads from `state`. Raises IllegalTransitionError for a pair unknown."""
    try:
        return LIFE[state][happening]
    except KeyError:
        raise IllegalTransitionError(f"nothing can be {happening} once it is {state}") from None


class Level(StrEnum):
    """How deep an observation proved, weakest first."""

    MATCHED = "matched"
    READABLE = "readable"
    PULLED = "pulled"

    @property
    def depth(self) -> int:
        """Its place among the levels: the deeper one proves all that the others do."""
        return tuple(Level).index(self)


class Operation(StrEnum):
    """What Harbor is to do at the destination."""

    COPY = "copy"
    DELETION = "deletion"


class Origin(StrEnum):
    """How an expectation came to be. `baseline` is never stored."""

    PUSH = "push"
    TAG = "tag"
    DELETION = "deletion"
    RUN = "run"
    BASELINE = "baseline"


class KnownBy(StrEnum):
    """What told of an event first."""

    WEBHOOK = "webhook"
    FEED = "feed"
    SWEEP = "sweep"


SETTLING_ORIGINS = frozenset({Origin.PUSH, Origin.TAG, Origin.DELETION})
LAG_ORIGINS = frozenset({Origin.PUSH, Origin.TAG})


class Result(StrEnum):
    """How an expectation settled, once."""

    MET = "met"
    MISSED = "missed"
    EXCUSED = "excused"


class ProbeMode(StrEnum):
    """What a cluster's nodes are made to do with an image."""

    OFF = "off"
    PULL = "pull"  # pull it, and never run it
    START = "start"  # pull it, and start it, as people do by hand


class Pulling(StrEnum):
    """What became of a probe: what a kubelet said of pulling an image."""

    PULLED = "pulled"
    MISSING = "missing"
    UNAUTHORIZED = "unauthorized"
    UNREACHABLE = "unreachable"
    CORRUPT = "corrupt"
    WRONG_PLATFORM = "wrong_platform"
    INCONCLUSIVE = "inconclusive"  # it proves nothing, either way


class Trigger(StrEnum):
    """What starts a replication policy (Harbor's words)."""

    MANUAL = "manual"
    SCHEDULED = "scheduled"
    EVENT_BASED = "event_based"


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Status(StrEnum):
    """Harbor's words for executions and tasks (API; the webhook has others, see harbor.wire)."""

    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    SUCCEED = "Succeed"
    FAILED = "Failed"
    STOPPED = "Stopped"


@dataclass(frozen=True, slots=True)
class Request:
    """One request of an observation: what was asked, what came back, in how many seconds."""

    method: str
    url: str
    status: int | None
    digest: str | None
    seconds: float


class Held(StrEnum):
    """What the destination has under one digest."""

    PRESENT = "present"  # bytes fetched, and they hash to the digest
    ABSENT = "absent"  # 404
    CORRUPT = "corrupt"  # bytes fetched, and they hash to something else


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong below a manifest that is there: a child, a layer, a configuration.

    `reason` is one of `child_missing`, `manifest_corrupt`, `blob_missing`, `blob_unreadable`;
    `detail` completes a sentence that begins with the image's name.
    """

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Accessory:
    """A signature or referrer that the source has for an image, and whether it is there too.

    `type` is Harbor's word for its kind, `reference` its tag ("" for one without). `at_destination`
    is None where that could not be found out; `found_by` says how a client there would find it:
    `tag` (cosign's scheme), `referrers` (the API), `fallback` (the tag that stands in for the API).
    """

    digest: str
    type: str
    reference: str
    at_destination: bool | None = None
    found_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """What a digest is, by its manifests: whether a node can pull it, and how much that is.

    `is_image` is False for a chart, a signature or any other artifact; `size` are the bytes of the
    largest image in it, layers and configuration, None where its manifests were not read.
    """

    is_image: bool
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look at (destination, repository, reference) saw.

    `served` is the digest that the reference names there, None where the reference is not there;
    `held` tells for digests that were asked for what is there, and `flaws` what is wrong below
    one of them. `level` is how deep the served digest was proven.
    `problem` is set where we could not ask or not understand: what was seen before it holds, and
    nothing may be concluded from what was not. `proven` are blobs whose last byte was read,
    `altered` those that were read whole and did not hash to their digest. `content` is what the
    served digest is, None where its manifest was not read.
    """

    began_at: Millis
    at: Millis
    served: str | None = None
    held: Mapping[str, Held] = field(default_factory=dict)
    flaws: Mapping[str, Flaw] = field(default_factory=dict)
    level: Level | None = None
    problem: Reason | None = None
    detail: str = ""
    requests: tuple[Request, ...] = ()
    proven: frozenset[str] = frozenset()
    altered: frozenset[str] = frozenset()
    accessories: tuple[Accessory, ...] = ()
    content: Content | None = None

    def proves(self, digest: str, level: Level = Level.MATCHED) -> bool:
        """Whether the reference names `digest`, proven as deep as `level`.

        What only a node of the cluster can prove (`pulled`) is not seen in a registry.
        """
        wanted = min(level.depth, Level.READABLE.depth)
        reached = self.reached(digest)
        return reached is not None and reached.depth >= wanted

    def reached(self, digest: str) -> Level | None:
        """How deep `digest` was proven under the reference; None for not at all."""
        there = self.served == digest and self.held.get(digest) is Held.PRESENT
        return self.level if there else None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with the set-up, said once and not once per image.

    `subject` names the thing (a policy, a destination); `message` is one sentence, `cure` another.
    """

    finding: str
    severity: Severity
    subject: str
    message: str
    cure: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evidence says of one expectation, and when to look again.

    `happening` leads through the life table; `reason` and `message` say why (an empty message: what
    was said before stands); `due_at` is when the next look is worth its request, None for never.
    `false_success` is true where Harbor said Succeed and the destination disagrees, `ask_source`
    where the source's tag must be read again, `flapping` where a good look is not believed yet,
    because the image comes and goes.
    """

    happening: Happening
    reason: Reason | None
    message: str
    due_at: Millis | None
    false_success: bool = False
    ask_source: bool = False
    flapping: bool = False


@dataclass(frozen=True, slots=True)
class ClusterFigures:
    """How the probes of a cluster stand.

    `up` is None before the first answer; `waiting` probes are due since `oldest_at` and have not
    begun, `under_way` have, and so many pods more may begin within the hour: `budget_left`.
    """

    up: bool | None
    waiting: int
    oldest_at: Millis | None
    under_way: int
    budget_left: int


class Rules(msgspec.Struct, frozen=True):
    """What matters in a policy: a revision of it. Two policies with equal rules promise the same.

    `filters` are (type, value, decoration) as Harbor stores them. `pushes` is False for a policy
    that pulls into this Harbor, which syncwatch does not follow. `known` is False for a time in
    which the policy was saved while nobody looked: it may have been disabled, or another one.
    """

    enabled: bool
    trigger: str
    cron: str
    filters: tuple[tuple[str, str | tuple[str, ...], str], ...]
    namespace: str
    replace_count: int
    override: bool
    deletion: bool
    pushes: bool
    path_type: str = ""
    known: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """One expectation's change, told after it is durable: logs and metrics come of it.

    `moved` says whether state or reason are other than `before` (None: it was just opened).
    `lag` is in seconds, set once, when first verified in a state that counts. `milestones` are
    (name, seconds), each told once.
    """

    id: int
    harbor: str
    policy_id: int
    destination_id: int
    source_repository: str
    reference: str
    digest: str
    operation: Operation
    origin: Origin
    before: State | None
    moved: bool
    state: State
    reason: Reason | None
    message: str
    settled: Result | None = None
    lag: float | None = None
    milestones: tuple[tuple[str, float], ...] = ()
    false_success: bool = False
    lost: bool = False
