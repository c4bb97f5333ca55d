"""Pure: a policy's answer beside what is known of the image already.

What was promised by older rules, or brought by a run by hand, is expected although today's rules
would not bring it. And what the rules bring may still not replace what is there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from syncwatch.explain.causes import Cause
from syncwatch.model import Operation, Origin, State

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Row

    from syncwatch.explain.causes import Answer, Image, Rule
    from syncwatch.explain.known import Told
    from syncwatch.explain.looking import Seen

YES, NO, NOT_YET, CANNOT_TELL = "yes", "no", "not_yet", "cannot_tell"

_BY_STATE = {
    State.VERIFIED: YES,
    State.PENDING: NOT_YET,
    State.FAILED: NO,
    State.UNKNOWN: CANNOT_TELL,
}
_HOLDS = frozenset({Cause.MALFORMED_ELSEWHERE, Cause.MALFORMED_PATTERN, Cause.IGNORED})
"""What keeps an image back whatever is written down of it, until it is seen there."""


@dataclass(frozen=True, slots=True)
class There:
    """What is known of the name at the destination: the digest served when it was last looked at,
    and the other sources that are expected under it."""

    served: str | None
    rivals: Sequence[str]


def without_labels(rule: Rule, answer: Answer) -> Answer:
    """The answer where Harbor could not be asked which labels the image has."""
    if answer.cause not in (Cause.LABEL_FILTER, Cause.LABEL_EXCLUDED):
        return answer
    why = f"Policy {rule.name} filters by labels, and which the image has is not known."
    return replace(answer, covers=None, why=why)


def only_there(rule: Rule, answer: Answer, allowed: Collection[int], name: str) -> Answer:
    """The answer where a destination was named: a policy may copy to another one by now."""
    if answer.covers is False or answer.destination_id in allowed:
        return answer
    why = f"Policy {rule.name} copies it to {name}, and no longer to what was asked for."
    return replace(answer, covers=False, cause=Cause.DESTINATION_CHANGED, why=why)


@dataclass(frozen=True, slots=True)
class Judged:
    """One policy's answer for one image, with the row that expects it there, if any.

    `certain` says whether Harbor told what the reference names now; `seen` is a look at the name
    where nothing is written down of it.
    """

    rule: Rule
    image: Image
    answer: Answer
    row: Row[Any] | None
    destination: str | None
    certain: bool = True
    seen: Seen | None = None

    @property
    def is_there(self) -> bool:
        """Whether a look proved the image there, which nothing is written down of."""
        look = self.seen.observation if self.seen is not None and self.seen.fresh else None
        return look is not None and self.image.digest is not None and look.proves(self.image.digest)

    @property
    def says(self) -> str:
        """yes, no, not_yet or cannot_tell."""
        if self.is_there and self.answer.cause is not Cause.NAME_COLLISION:
            return YES
        if not self.answer.covers:
            return CANNOT_TELL if self.answer.covers is None else NO
        if self.answer.cause is Cause.NAME_COLLISION:
            return NO
        if self.row is not None:
            return _BY_STATE.get(State(self.row.state), CANNOT_TELL)
        if not self.certain or (self.seen is not None and self.seen.problem is not None):
            return CANNOT_TELL
        if self.answer.cause is Cause.BEFORE_WATCHING:
            return NO if self.seen is not None else CANNOT_TELL
        return YES if self.image.digest is None else NOT_YET


def row_for(rule: Rule, image: Image, rows: Sequence[Told]) -> Row[Any] | None:
    """The row that expects this image by a policy: the newest copy of this digest, not ended.

    One that somebody closed by hand is still the answer for its digest.
    """
    for told in rows:
        row = told.row
        if row.policy_id != rule.policy.policy_id or row.operation != Operation.COPY:
            continue
        if image.reference not in (row.reference, row.digest):
            continue
        ended = row.state == State.CLOSED and row.reason != "by_hand"
        if not ended and image.digest in (None, row.digest):
            return row
    return None


def weighed(
    rule: Rule, image: Image, answer: Answer, row: Row[Any] | None, there: There, skew: int
) -> Answer:
    """The answer with what is known: a row expects it, the tag there stays, names collide."""
    if row is not None:
        answer = _expected(rule, answer, row, skew)
    if answer.covers is not True:
        return answer
    kept = there.served not in (None, image.digest)
    if kept and not rule.today.rules.override and (row is None or row.state != State.VERIFIED):
        why = f"Policy {rule.name} does not override, and the tag is there already, as "
        told = f"{why}{there.served}: Harbor keeps that."
        return replace(answer, covers=False, cause=Cause.NOT_OVERRIDDEN, why=told)
    if there.rivals:
        why = f"Policy {rule.name} brings it to {answer.repository}, and "
        told = f"{why}{' and '.join(there.rivals)} arrives there too: the last copy wins."
        return replace(answer, cause=Cause.NAME_COLLISION, why=told)
    return answer


def _expected(rule: Rule, answer: Answer, row: Row[Any], skew: int) -> Answer:
    since = {"expected_since": row.expected_at + skew, "repository": row.repository}
    since["destination_id"] = row.destination_id
    if answer.covers and answer.cause is None:
        return replace(answer, **since)
    if answer.cause in _HOLDS and row.state != State.VERIFIED:
        return answer
    if row.origin == Origin.RUN:
        why = f"A run of policy {rule.name} brought it."
    else:
        why = f"Policy {rule.name} had promised it by the rules in force at its push."
    if answer.cause is not Cause.BEFORE_WATCHING:
        why = f"{why} {answer.why}"
    return replace(answer, covers=True, cause=None, why=why, **since)
