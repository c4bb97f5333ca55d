"""Pure: what an answer is made of, and the bounded words for why a policy does not bring an image.

Each word has its heading in docs/explain.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from syncwatch.model import SECOND, Millis, Origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncwatch.store.policies import Policy, Revision


class Cause(StrEnum):
    """Why a policy does not bring an image, or what is wrong although it does."""

    NAME_FILTER = "name_filter"
    TAG_FILTER = "tag_filter"
    TAG_EXCLUDED = "tag_excluded"
    LABEL_FILTER = "label_filter"
    LABEL_EXCLUDED = "label_excluded"
    LABELS_NEVER_MATCH = "labels_never_match"
    MALFORMED_PATTERN = "malformed_pattern"
    MALFORMED_ELSEWHERE = "malformed_elsewhere"
    FLATTENING_TOO_DEEP = "flattening_too_deep"
    PULL_MODE = "pull_mode"
    REMOTE_SOURCE = "remote_source"
    DISABLED = "disabled"
    DISABLED_WHEN_PUSHED = "disabled_when_pushed"
    SAVED_UNSEEN = "saved_unseen"
    MANUAL = "manual"
    SCHEDULE_UNREADABLE = "schedule_unreadable"
    BEFORE_RULE = "before_rule"
    BEFORE_SCOPE = "before_scope"
    BEFORE_WATCHING = "before_watching"
    DESTINATION_GONE = "destination_gone"
    DESTINATION_UNKNOWN = "destination_unknown"
    DESTINATION_CHANGED = "destination_changed"
    IGNORED = "ignored"
    NOT_OVERRIDDEN = "not_overridden"
    NAME_COLLISION = "name_collision"
    NAME_ELSEWHERE = "name_elsewhere"
    NAME_AMBIGUOUS = "name_ambiguous"


FAR = frozenset({Cause.NAME_FILTER, Cause.NAME_ELSEWHERE, Cause.PULL_MODE, Cause.TAG_FILTER})
"""Causes of policies that are not about this image at all: told last."""


COVERS_NOW = frozenset(
    {
        Cause.BEFORE_RULE,
        Cause.BEFORE_SCOPE,
        Cause.BEFORE_WATCHING,
        Cause.DISABLED_WHEN_PUSHED,
        Cause.NOT_OVERRIDDEN,
        Cause.MALFORMED_ELSEWHERE,
        Cause.SAVED_UNSEEN,
    }
)
"""Why a policy did not bring what its rules of today would: it may be there all the same."""


@dataclass(frozen=True, slots=True)
class Image:
    """The image asked for, as its source knows it.

    `digest` is None where it is not there, `pushed_at` (Harbor's clock) where it is not there or
    not known: then it is judged as if it were pushed now. `labels` are those that it has now.
    """

    repository: str
    reference: str
    digest: str | None = None
    pushed_at: Millis | None = None
    origin: Origin = Origin.PUSH
    labels: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """Its tag; "" for what only has a digest."""
        return "" if ":" in self.reference else self.reference

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.repository}{':' if self.tag else '@'}{self.reference}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy with all its revisions, oldest first."""

    policy: Policy
    revisions: Sequence[Revision]

    @property
    def name(self) -> str:
        """Its name at Harbor."""
        return self.policy.name

    @property
    def today(self) -> Revision:
        """The rules in force now."""
        return self.revisions[-1]


@dataclass(frozen=True, slots=True)
class Times:
    """Moments in Harbor's clock: now, and since when this Harbor is watched. `skew` is Harbor's
    clock minus ours, by which moments are corrected before anybody is told."""

    now: Millis
    watching_since: Millis
    skew: Millis

    def told(self, at: Millis) -> str:
        """A moment as sentences have it: 2026-11-23T14:12:01Z, in our clock."""
        moment = datetime.fromtimestamp((at - self.skew) // SECOND, UTC)
        return moment.isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one policy does with an image: `covers` is None where that cannot be told.

    `why` is one sentence or two, `repository` the name at the destination, `expected_since` the
    push or the run of a schedule, in Harbor's clock.
    """

    covers: bool | None
    why: str
    cause: Cause | None = None
    destination_id: int | None = None
    repository: str | None = None
    expected_since: Millis | None = None


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why the rules of one revision do not bring an image."""

    cause: Cause
    why: str
