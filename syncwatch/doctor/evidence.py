"""Pure: what was found out for the doctor, before anybody judges it.

What could not be asked is an `Unasked`, never an empty answer. No secret comes in here: whether a
webhook sends the right Authorization is compared where it is asked (`asking`), and told as a bool.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import msgspec

from syncwatch.harbor import wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncwatch.harbor.listed import Queue, WebhookExecution
    from syncwatch.model import Millis, Observation, Rules

Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class WholePolicy(wire.Policy, frozen=True):
    """A replication policy with its speed, in kilobits a second for each task (api.md §2)."""

    speed: Number = 0


class Sized(msgspec.Struct, frozen=True):
    """An artifact at the source with its size in bytes, all its layers together."""

    digest: str
    size: Number = 0
    tags: list[wire.Tag] | None = None
    references: list[wire.Reference] | None = None
    accessories: list[wire.Accessory] | None = None
    labels: list[wire.Label] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its tags' names."""
        return tuple(tag.name for tag in self.tags or ())


@dataclass(frozen=True, slots=True)
class Unasked:
    """Why something could not be asked: the bounded word of `OutboundError`, and a sentence."""

    kind: str
    words: str

    @property
    def is_refused(self) -> bool:
        """Whether we are known there, and may not."""
        return self.kind == "forbidden"


@dataclass(frozen=True, slots=True)
class HarborSeen:
    """A Harbor as such; `skew` is its clock minus ours.

    `is_user` is None where Harbor does not say whose credentials ours are. `tried` holds what
    became of a question that needs each permission (None: answered), `granted` what Harbor says
    that we may, as `repository:push`.
    """

    name: str
    info: wire.SystemInfo | Unasked
    skew: Millis = 0
    is_user: bool | None = None
    tried: Mapping[str, Unasked | None] = field(default_factory=dict)
    granted: tuple[str, ...] | Unasked = ()
    queues: tuple[Queue, ...] | Unasked = ()


@dataclass(frozen=True, slots=True)
class WebhookSeen:
    """One target of a webhook policy. `authorized` is None where we have nothing to compare with;
    `deliveries` are the newest first, and asked for only where the target is ours."""

    name: str
    enabled: bool
    events: frozenset[str]
    address: str
    is_http: bool
    authorized: bool | None
    deliveries: tuple[WebhookExecution, ...] | Unasked = ()


@dataclass(frozen=True, slots=True)
class ProjectSeen:
    """A project in scope: its webhooks, the names of its repositories, artifacts of a few of them.

    `whole` is False where it has more repositories than are listed, `retained` tells whether it has
    a tag retention rule. `cut` are sampled repositories that have more artifacts than are kept.
    """

    name: str
    webhooks: tuple[WebhookSeen, ...] | Unasked
    repositories: tuple[str, ...] | Unasked
    whole: bool = True
    retained: bool = False
    samples: Mapping[str, tuple[Sized, ...] | Unasked] = field(default_factory=dict)
    cut: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RuleSeen:
    """An enabled policy that copies to a destination; `deadline` is that destination's."""

    id: int
    name: str
    rules: Rules
    speed: int
    destination: str
    destination_type: str
    endpoint_status: str
    deadline: Millis


@dataclass(frozen=True, slots=True)
class ScopeSeen:
    """What the rules reach: projects seen so far, and whether these are all of them."""

    projects: Mapping[str, ProjectSeen]
    complete: bool


@dataclass(frozen=True, slots=True)
class DestinationSeen:
    """A destination looked at once.

    `knock` is the answer of its /v2/, `through` why no look may be taken there, `look` the look at
    one image that should be there (None: none could be chosen); `trapped` whether an index is
    denied to who does not ask for one, None where that was not tried.
    """

    name: str
    type: str
    url: str
    configured_url: str
    knock: Observation
    image: str = ""
    through: Observation | None = None
    look: Observation | None = None
    trapped: bool | None = None


@dataclass(frozen=True, slots=True)
class RoundTripSeen:
    """What came of sending ourselves a delivery; `status` is None where no answer came."""

    harbor: str
    address: str
    configured: bool
    status: int | None
    trouble: Unasked | None = None


@dataclass(frozen=True, slots=True)
class OwnSeen:
    """Our own place: the store, the disk below it in bytes, the clock, files of secrets."""

    store: str
    store_trouble: str
    free: int | None
    now: Millis
    secret_problems: Mapping[str, str] = field(default_factory=dict)
