"""Pure: what the gate says of one place, and of all of them together.

Only a look that proves the digest says 200. What is written down of an image says why it is not
there, and whether it may still come; where nothing is, the look alone decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.model import SECOND, Held, Level, Reason, State
from syncwatch.report.words import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncwatch.explain.looking import Seen
    from syncwatch.gate.places import Place
    from syncwatch.model import Millis, Observation

USABLE, ABSENT, NOT_YET, FAILED, CANNOT_ASK = 200, 404, 409, 422, 503

WORST_FIRST = (FAILED, CANNOT_ASK, NOT_YET, ABSENT, USABLE)
BEST_FIRST = (USABLE, NOT_YET, CANNOT_ASK, FAILED, ABSENT)

AGAIN = 5
"""Seconds after which to ask again, where nothing says better."""
AGAIN_MOST = 30

_BY_STATE = {
    State.PENDING: NOT_YET,
    State.FAILED: FAILED,
    State.UNKNOWN: CANNOT_ASK,
    # A second look has to say so before it is called lost.
    State.VERIFIED: NOT_YET,
}


@dataclass(frozen=True, slots=True)
class Decided:
    """What is said of one place; `again` in seconds is when to ask again."""

    status: int
    state: State | None
    reason: Reason | None
    message: str
    again: int = AGAIN


def decide(place: Place, where: str, level: Level, seen: Seen, now: Millis) -> Decided:
    """Whether a place serves what it has to; `where` is the destination's name."""
    row = place.row
    state = State(row.state) if row is not None else None
    look = seen.observation
    if seen.fresh and look is not None and look.proves(place.digest, level):
        return Decided(USABLE, state, None, _serves(place, where, look))
    if seen.problem is not None:
        return _unseen(place, where, seen, state, now)
    if row is None or look is None:
        return _unexpected(place, where, look)
    if state is State.VERIFIED:
        return _doubted(place, where, look, now)
    reason = Reason(row.reason) if row.reason else None
    return Decided(_BY_STATE[State(row.state)], state, reason, row.message, _again(place, now))


def beyond(place: Place, where: str, level: Level) -> Decided:
    """The level cannot be reached there."""
    words = f"{where} has no probe, so nothing there is ever proven {level}; ask for readable."
    return Decided(FAILED, State(place.row.state) if place.row else None, None, words)


def _serves(place: Place, where: str, look: Observation) -> str:
    level = look.reached(place.digest)
    at = rfc3339(look.at)
    leaving = " It is to be deleted there." if place.leaving else ""
    return f"{where} serves {place.name} as {place.digest} ({level}, seen at {at}).{leaving}"


def _unseen(place: Place, where: str, seen: Seen, state: State | None, now: Millis) -> Decided:
    """It could not be looked at; a policy there that forbids the pull is an answer too."""
    problem, detail = seen.problem, f": {seen.detail}" if seen.detail else ""
    if problem is Reason.POLICY_BLOCKED:
        pending = state is State.PENDING
        words = f"{where} forbids that {place.name} be pulled (412){detail}."
        return Decided(NOT_YET if pending else FAILED, state, problem, words)
    last = f" It was last seen at {rfc3339(seen.observation.at)}." if seen.observation else ""
    words = f"{where} could not be asked for {place.name}{detail}.{last}"
    return Decided(CANNOT_ASK, state, problem, words, _again(place, now))


def _doubted(place: Place, where: str, look: Observation, now: Millis) -> Decided:
    """Verified, and the newest look disagrees, or was not that deep: a second one decides."""
    reason, told = _wrong(place, look)
    if reason in (Reason.CHILD_MISSING, Reason.BLOB_MISSING, Reason.BLOB_UNREADABLE):
        return Decided(FAILED, State.VERIFIED, reason, f"{place.name} at {where} {told}.")
    words = f"{place.name} at {where} was verified, and now it {told}; one more look is due."
    return Decided(NOT_YET, State.VERIFIED, reason, words, _again(place, now))


def _unexpected(place: Place, where: str, look: Observation | None) -> Decided:
    """Nothing is written down of it: the look, and what the rules promise."""
    reason, told = _wrong(place, look)
    name = f"{place.name} at {where}"
    damaged = look is not None and look.served == place.digest
    if damaged and reason is not Reason.MISSING:
        return Decided(FAILED, None, reason, f"{name} {told}.")
    if place.kept and look is not None and look.served is None:
        return Decided(NOT_YET, None, Reason.WAITING, f"{name} is not there yet.")
    if place.promised is not None:
        return Decided(
            NOT_YET, None, place.promised, f"{name} {told}; it may still come. {place.why}"
        )
    if place.leaving:
        words = f"{name} {told}; it was deleted at its source, and its deletion is expected."
        return Decided(ABSENT, None, reason, words)
    return Decided(
        ABSENT, None, reason, f"{name} {told}, and nothing expects it there. {place.why}".strip()
    )


def _wrong(place: Place, look: Observation | None) -> tuple[Reason, str]:
    """What is wrong there, as a reason and to complete a sentence."""
    if look is None:
        return Reason.MISSING, "is not there"
    flaw = look.flaws.get(place.digest)
    if flaw is not None:
        return flaw.reason, flaw.detail
    if look.held.get(place.digest) is Held.CORRUPT:
        return Reason.MANIFEST_CORRUPT, "answers with bytes that do not hash to the digest"
    if look.served == place.digest:
        return Reason.MISSING, "names the digest, and the digest itself is not there"
    if look.served is not None:
        return Reason.DIGEST_MISMATCH, f"names {look.served}"
    if look.held.get(place.digest) is Held.PRESENT:
        return Reason.TAG_MISSING, "is not there, though its digest is"
    return Reason.MISSING, "is not there"


def _again(place: Place, now: Millis) -> int:
    due_at = place.row.due_at if place.row is not None else None
    if due_at is None:
        return AGAIN
    seconds: int = -(-(due_at - now) // SECOND)
    return max(1, min(seconds, AGAIN_MOST))


def together(statuses: Sequence[int], *, any_of_them: bool) -> int:
    """Which of several decides, as an index. There is at least one."""
    order = BEST_FIRST if any_of_them else WORST_FIRST
    return min(range(len(statuses)), key=lambda i: order.index(statuses[i]))
