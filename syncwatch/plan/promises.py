"""Pure: what a policy promises of one event, by the rules in force when it happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cronsim import CronSim, CronSimError

from syncwatch.errors import FlatteningError, PatternError
from syncwatch.model import Millis, Origin, Trigger
from syncwatch.plan.matching import Artifact, Filter, destination_repository, select

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from syncwatch.model import Rules
    from syncwatch.store.policies import Revision


@dataclass(frozen=True, slots=True)
class Event:
    """Something to be copied: `reference` of `repository` was set to `digest`.

    Or to be deleted, where `origin` says so: it named that digest before. `pushed_at` is Harbor's
    clock. `labels` are empty for a push: Harbor's push events carry none.
    """

    repository: str
    reference: str
    digest: str
    pushed_at: Millis
    origin: Origin
    labels: tuple[str, ...] = ()

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tag; nothing for what has only a digest."""
        return () if self.reference == self.digest else (self.reference,)


@dataclass(frozen=True, slots=True)
class Promise:
    """The policy is to bring it, as `repository` of the destination, from `expected_at` on.

    `expected_at` is Harbor's clock: the event's time, or the next run of a schedule after it.
    """

    policy_id: int
    destination_id: int
    repository: str
    expected_at: Millis
    scheduled: bool


@dataclass(frozen=True, slots=True)
class NoPromise:
    """The policy is not to bring it; `why` ends the sentence "… is not copied because …".

    `broken` is set where the policy would, were it not broken: malformed_pattern,
    flattening_too_deep.
    """

    policy_id: int
    why: str
    broken: str = ""


def in_force(revisions: Sequence[Revision], at: Millis) -> Revision | None:
    """Of one policy's revisions, oldest first, the one in force at a moment of Harbor's clock.

    None before the first: what is older than our first sight was never promised (baseline).
    """
    found = None
    for revision in revisions:
        if revision.since <= at:
            found = revision
    return found


def promise(revision: Revision, event: Event, *, selected: bool = False) -> Promise | NoPromise:
    """What one revision promises of an event; `selected` where Harbor's run of it is known."""
    rules, policy_id = revision.rules, revision.policy_id
    refusal = _refusal(rules, event) if rules.known else "it was saved while nobody looked"
    if refusal or revision.destination_id is None:
        return NoPromise(policy_id, refusal or "its destination is not known")
    artifact = Artifact(event.digest, event.tags, event.labels)
    try:
        if not selected and not select(filters_of(rules), event.repository, [artifact]):
            return NoPromise(policy_id, "its filters do not select it")
        repository = destination_repository(
            event.repository, rules.namespace, rules.replace_count, rules.path_type
        )
    except PatternError as error:
        return NoPromise(policy_id, f"a filter is malformed: {error.message}", "malformed_pattern")
    except FlatteningError as error:
        return NoPromise(policy_id, error.message, "flattening_too_deep")
    expected_at = event.pushed_at
    scheduled = rules.trigger == Trigger.SCHEDULED and event.origin is not Origin.RUN
    if scheduled:
        run = next_run(rules.cron, event.pushed_at)
        if run is None:
            return NoPromise(policy_id, "its schedule cannot be read")
        expected_at = run
    return Promise(policy_id, revision.destination_id, repository, expected_at, scheduled)


def is_guess(promised: Promise, rules: Rules, until: Millis) -> bool:
    """Whether a run that is over by `until` (Harbor's clock) may have met other labels than now's.

    A schedule lists images with the labels that they have then; who learns of one later cannot
    tell whether they were there (reg/adapter/harbor/base, FetchArtifacts).
    """
    labelled = any(kind == "label" and value for kind, value, _ in rules.filters)
    return promised.scheduled and labelled and promised.expected_at < until


def _refusal(rules: Rules, event: Event) -> str:
    if not rules.pushes:
        return "it pulls into Harbor, which syncwatch does not follow"
    if event.origin is Origin.RUN:
        return ""
    if not rules.enabled:
        return "it was disabled"
    if event.origin is Origin.DELETION:
        return _deletes_nothing(rules)
    if rules.trigger == Trigger.MANUAL:
        return "it copies only when it is run by hand"
    return ""


def _deletes_nothing(rules: Rules) -> str:
    """Harbor deletes for events alone, and only where asked to (getRelatedPolicies)."""
    if rules.trigger != Trigger.EVENT_BASED:
        return "it follows deletions only when it is event based"
    return "" if rules.deletion else "it does not replicate deletions"


def filters_of(rules: Rules) -> list[Filter]:
    """The filters of a revision, as `matching` takes them."""
    return [Filter(kind, value, decoration) for kind, value, decoration in rules.filters]


def next_run(cron: str, after: Millis) -> Millis | None:
    """The first run of a schedule after a moment, in UTC (jobservice/period/enqueuer.go).

    Harbor's cron has six fields, seconds first. None for one that cannot be read or never fires.
    """
    try:
        fires = CronSim(cron, datetime.fromtimestamp(after / 1000, UTC))
        return round(next(fires).timestamp() * 1000)
    except (CronSimError, StopIteration, ValueError, OverflowError):
        return None


def by_policy(revisions: Iterable[Revision]) -> dict[int, list[Revision]]:
    """Revisions, oldest first, by their policy."""
    found: dict[int, list[Revision]] = {}
    for revision in revisions:
        found.setdefault(revision.policy_id, []).append(revision)
    return found
