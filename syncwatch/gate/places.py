"""Pure: where an image has to be, by what is written down of it and by the rules of today."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from syncwatch.explain.causes import COVERS_NOW, Cause
from syncwatch.explain.telling import nearness
from syncwatch.model import MINUTE, Operation, Reason, State, Trigger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Row

    from syncwatch.explain.causes import Image
    from syncwatch.explain.reading import Question
    from syncwatch.explain.telling import Source
    from syncwatch.explain.weighing import Judged
    from syncwatch.model import Millis

PLANNED_WITHIN = 2 * MINUTE
"""So soon after its push, or its run, an image is written down; without a tag it waits a minute for
an index that claims it."""

_NEAREST = (State.VERIFIED, State.PENDING, State.UNKNOWN, State.FAILED)
"""Of two policies that bring an image to one place, the one that is further decides."""


@dataclass(frozen=True, slots=True)
class Place:
    """A name at a destination (by its id) that has to serve `digest`.

    `row` is what expects it there. `promised` is set where nothing is written down yet although a
    policy brings it; `leaving` where it is to be deleted there; `kept` where the policy leaves what
    the name served when it was last looked at. `why` is the policy's sentence.
    """

    destination_id: int
    repository: str
    reference: str
    digest: str
    row: Row[Any] | None = None
    promised: Reason | None = None
    leaving: bool = False
    kept: bool = False
    why: str = ""

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.repository}{'@' if ':' in self.reference else ':'}{self.reference}"


def places(asked: Question, source: Source, now: Millis) -> list[Place]:
    """Where the image of one source has to be: nowhere where its digest is not known."""
    digest = asked.image.digest or _named(source)
    if digest is None:
        return []
    reference = asked.image.digest or asked.image.tag
    found: dict[tuple[int, str], Place] = {}
    pushed_at = max((one.pushed_at or 0 for one in source.images), default=0)
    for one in _by_rules(asked, source, Place(0, "", reference, digest), now):
        known = found.get((one.destination_id, one.repository))
        if known is None or (known.promised is None and one.promised is not None):
            found[one.destination_id, one.repository] = one
    for told in source.rows:
        if _counts(told.row, pushed_at):
            _enter(found, told.row, reference, digest)
    return list(found.values())


def _named(source: Source) -> str | None:
    """What the reference names at Harbor, or, where it is deleted there, what it named last."""
    for image in source.images:
        if image.digest is not None:
            return image.digest
    rows = sorted(
        (told.row for told in source.rows), key=lambda one: one.operation != Operation.COPY
    )
    return next((row.digest for row in rows), None)


def _by_rules(asked: Question, source: Source, blank: Place, now: Millis) -> Iterator[Place]:
    named = bool(asked.destinations or asked.wanted.destinations)
    there = any(image.digest is not None for image in source.images)
    for one in sorted(source.judged, key=nearness):
        answer = one.answer
        if answer.destination_id not in asked.allowed or answer.repository is None:
            continue
        if answer.cause is Cause.DESTINATION_GONE:
            continue
        if named or answer.covers is not False or answer.cause in COVERS_NOW:
            yield replace(
                blank,
                destination_id=answer.destination_id,
                repository=answer.repository,
                promised=_promised(one, source.skew, now) if there else None,
                kept=answer.cause is Cause.NOT_OVERRIDDEN,
                why=answer.why,
            )


def _promised(one: Judged, skew: int, now: Millis) -> Reason | None:
    """Why it is not there yet, where a policy brings it and nothing is written down of it."""
    answer, image = one.answer, one.image
    if answer.covers is not True or one.row is not None:
        return None
    since = answer.expected_since
    soon = since is not None and since - skew > now - PLANNED_WITHIN
    if one.rule.today.rules.trigger == Trigger.EVENT_BASED:
        # What is part of something else, or lost its tag, is not written down any more.
        waits = soon or (one.certain and image.tag)
        return Reason.WAITING if waits and not _ended(one, image) else None
    return Reason.SCHEDULED if soon else None


def _ended(one: Judged, image: Image) -> bool:
    return one.answer.cause is Cause.BEFORE_WATCHING or image.pushed_at is None


def _counts(row: Row[Any], pushed_at: Millis) -> bool:
    """Whether a row is about this push (Harbor's clock), and not about one that ended before."""
    over = row.state == State.CLOSED or row.operation == Operation.DELETION
    ended_before = over and row.pushed_at < pushed_at
    return row.reason == Reason.BY_HAND or not ended_before


def _enter(found: dict[tuple[int, str], Place], row: Row[Any], reference: str, digest: str) -> None:
    """What is written down of it."""
    key = (row.destination_id, row.repository)
    deletion = row.operation == Operation.DELETION
    if not deletion and row.digest != digest:
        return
    blank = Place(*key, reference, digest)
    if row.state == State.CLOSED:
        # It is no longer expected, whatever the rules say.
        if key in found:
            found[key] = replace(found[key], promised=None)
        return
    place = found.get(key, blank)
    if deletion:
        found[key] = replace(place, leaving=row.reference == reference, promised=None)
        return
    if place.row is None or _NEAREST.index(row.state) < _NEAREST.index(place.row.state):
        found[key] = replace(place, row=row, promised=None)
