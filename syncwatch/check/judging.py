"""Pure: from a look at one place to the outcome, in the words that the daemon uses too.

`verdict.decide` is asked as about an image that was there before and with which Harbor is done: no
run is waited for, since nothing is known of runs here. What it calls lost is missing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from syncwatch.facts import Facts, Owed
from syncwatch.model import SECOND, Happening, Level, Observation, Operation, Reason, State, Trigger
from syncwatch.plan.promises import next_run
from syncwatch.verdict import SOURCE_WITHIN, decide

if TYPE_CHECKING:
    from syncwatch.check.scope import Wish
    from syncwatch.errors import OutboundError
    from syncwatch.model import Millis, Verdict

_DAY = 24 * 3600 * SECOND


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one image at one destination; a row of the table, an item of the JSON.

    `image`, `digest`, `repository`, `reference` and `destination` are None where it could not be
    found out what there is. `level` is how deep the destination was proven, None where only names
    were compared. `older_than_rule` says that Harbor never promised to copy it.
    """

    image: str | None
    digest: str | None
    harbor: str
    policy: str | None
    destination: str | None
    repository: str | None
    reference: str | None
    state: State
    reason: Reason | None
    message: str
    level: Level | None = None
    older_than_rule: bool = False

    def as_json(self) -> dict[str, Any]:
        """As it is printed; the names are the contract's."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Source:
    """What the source's tag was read to name after the destination's; `digest` None for nothing."""

    digest: str | None
    read_at: Millis


def verdict_on(
    wish: Wish,
    seen: Observation,
    level: Level,
    source: Source | None = None,
    rivals: frozenset[str] = frozenset(),
) -> Verdict:
    """The verdict on one look. `ask_source` is set where the source has to be read again first."""
    owed = Owed(
        state=State.FAILED,
        reason=None,
        operation=Operation.COPY,
        digest=wish.digest,
        required_level=level,
        expected_at=0,
        deadline_at=0,
        verified_at=0,
        proved_at=None,
        attempts=0,
        names=wish.image,
        destination=wish.destination.name,
    )
    facts = Facts(
        runs=(),
        asked_at=seen.at,
        answers=True,
        reaches_back=True,
        source_digest=source.digest if source else None,
        source_read_at=source.read_at if source else None,
        served_since=seen.began_at,
        override=any(one.rules.override for one in wish.rules),
        rivals=rivals,
        busy_until=0,
        next_run_at=None,
        grace=0,
        give_up_after=0,
        stale_after=_DAY,
        retry_first=SECOND,
        retry_longest=SECOND,
        troubled=True,
    )
    return decide(owed, seen, facts, seen.at)


def wants_source(wish: Wish, verdict: Verdict, seen: Observation) -> bool:
    """Whether the source may have changed meanwhile: then what is wrong there is right."""
    if verdict.ask_source:
        return True
    stale = seen.began_at - wish.listed_at >= SOURCE_WITHIN
    return stale and verdict.happening is Happening.BROKEN


def outcome_of(wish: Wish, seen: Observation, verdict: Verdict) -> Outcome:
    """A verdict that stands, as a row."""
    if verdict.happening is Happening.SEEN:
        return _row(wish, State.VERIFIED, None, verdict.message, seen.reached(wish.digest))
    if verdict.happening is not Happening.BROKEN:
        return _row(wish, State.UNKNOWN, verdict.reason, verdict.message)
    due_at = _due_at(wish, seen)
    if due_at is not None and verdict.reason in (Reason.LOST, Reason.TAG_MISSING):
        words = f"The next scheduled run is to bring {wish.image}, at {_moment(due_at)}."
        return _row(wish, State.PENDING, Reason.SCHEDULED, words)
    reason = Reason.MISSING if verdict.reason is Reason.LOST else verdict.reason
    older = wish.is_older
    words = verdict.message
    if older:
        words = f"{words.rstrip('.')}; it is older than the rule, which did not promise it."
    return _row(wish, State.FAILED, reason, words, older=older)


def matched_by_name(wish: Wish) -> Outcome:
    """The reference there names the digest, and nothing more was asked."""
    words = f"{wish.destination.name} names the same digest for {wish.image}; it was not read."
    return _row(wish, State.VERIFIED, None, words)


def moving(wish: Wish) -> Outcome:
    """The source's tag moved each time that we had looked."""
    words = f"{wish.image} moves at Harbor {wish.harbor} while it is compared."
    return _row(wish, State.PENDING, Reason.WAITING, words)


def source_unread(wish: Wish, error: OutboundError) -> Outcome:
    """The names differ, and whether the source has moved on could not be asked."""
    words = (
        f"{wish.image} names something else at {wish.destination.name}, and whether it still does "
        f"at the source could not be asked: {error}."
    )
    return _row(wish, State.UNKNOWN, Reason.HARBOR_UNREACHABLE, words)


def _row(
    wish: Wish,
    state: State,
    reason: Reason | None,
    words: str,
    level: Level | None = None,
    *,
    older: bool = False,
) -> Outcome:
    return Outcome(
        wish.image,
        wish.digest,
        wish.harbor,
        wish.policy,
        wish.destination.name,
        wish.there,
        wish.reference,
        state,
        reason,
        words,
        level,
        older,
    )


def _due_at(wish: Wish, seen: Observation) -> Millis | None:
    """When the schedule brings it, where no run was due since the push; else None."""
    if wish.pushed_at is None:
        return None
    for one in wish.rules:
        if one.rules.trigger != Trigger.SCHEDULED or not one.rules.enabled:
            return None
    runs = [next_run(one.rules.cron, wish.pushed_at) for one in wish.rules]
    first = min((run for run in runs if run is not None), default=None)
    return first if first is not None and first > seen.at else None


def _moment(at: Millis) -> str:
    return f"{datetime.fromtimestamp(at // SECOND, UTC):%Y-%m-%dT%H:%M:%SZ}"
