"""From events to generations: each policy's promise, written down in one transaction.

Comes in: what happened, with what the source was read to name. Goes out: generations opened,
those they supersede closed, and findings where a policy would promise it, were it not broken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.errors import PatternError
from syncwatch.model import Finding, KnownBy, Level, Millis, Origin, Severity
from syncwatch.plan.matching import matches
from syncwatch.plan.promises import (
    Event,
    NoPromise,
    Promise,
    by_policy,
    in_force,
    is_guess,
    promise,
)
from syncwatch.store import findings, generations, policies, subjects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from syncwatch.config import DestinationSettings, Settings
    from syncwatch.model import Change
    from syncwatch.store.policies import Destination, Policy, Revision

WHOLE_SECOND = 999
"""Webhooks tell the second of an event; it may have been this many milliseconds later."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event, with how it became known.

    `read_at` (ours) is when the source was asked, None where it could not be; `current` whether it
    named this digest then. `notified_at` is when the webhook came. `only` limits a run to its own
    policy, and `run_at` (Harbor's clock) is when that run began.
    `ran_by` is a policy whose execution shows that it was brought by it.
    """

    event: Event
    current: bool
    read_at: Millis | None
    notified_at: Millis | None = None
    only: int | None = None
    run_at: Millis | None = None
    known_by: KnownBy = KnownBy.WEBHOOK
    ran_by: int | None = None

    @property
    def key(self) -> tuple[str, str, str, int | None]:
        """What tells one event from another, however often it is told."""
        return (self.event.repository, self.event.reference, self.event.digest, self.only)


@dataclass(frozen=True, slots=True)
class Opened:
    """What came of it: changes to tell, and destinations whose verifier has something to do."""

    changes: list[Change]
    destination_ids: set[int]


class Opening:
    """Writes what is expected of one Harbor's events. `write` is done within a transaction."""

    def __init__(self, harbor: str, settings: Settings) -> None:
        self._harbor = harbor
        self._settings = settings
        self._recovered_after: Millis = next(
            round(one.recovered_after.total_seconds() * 1000)
            for one in settings.harbors
            if one.name == harbor
        )

    def write(self, connection: Connection, told: Sequence[Told], now: Millis) -> Opened:
        """Open what these events promise."""
        skew = policies.used_skew(policies.harbor_row(connection, self._harbor).skew)
        revisions = by_policy(policies.known_revisions(connection, self._harbor))
        names = Names(connection, self._harbor)
        opened = Opened([], set())
        for one in told:
            for policy_id, known in revisions.items():
                if one.only not in (None, policy_id):
                    continue
                revision = in_force(known, _moment(one))
                if revision is not None and not revision.rules.known:
                    revision = _shown(known, revision, policy_id, one)
                if revision is None:
                    continue
                answer = promise(revision, one.event)
                if isinstance(answer, NoPromise):
                    self._find(connection, answer, one.event, names, now)
                elif one.known_by is KnownBy.SWEEP and is_guess(answer, revision.rules, now + skew):
                    continue
                elif names.destination(answer.destination_id) is not None:
                    self._open(connection, one, answer, names, skew, now, opened)
        return opened

    def _open(
        self,
        connection: Connection,
        told: Told,
        promised: Promise,
        names: Names,
        skew: Millis,
        now: Millis,
        opened: Opened,
    ) -> None:
        destination = names.present[promised.destination_id]
        settings = for_destination(self._settings, destination)
        if is_ignored(self._settings, told.event, destination):
            return
        begins = told.run_at if told.run_at is not None else promised.expected_at
        expected_at = begins - skew
        opened.changes.extend(
            generations.open_generation(
                connection,
                generations.Opening(
                    harbor=self._harbor,
                    policy_id=promised.policy_id,
                    source_repository=told.event.repository,
                    reference=told.event.reference,
                    destination_id=promised.destination_id,
                    repository=promised.repository,
                    digest=told.event.digest,
                    origin=told.event.origin,
                    pushed_at=told.event.pushed_at,
                    expected_at=expected_at,
                    deadline_at=expected_at + round(settings.deadline.total_seconds() * 1000),
                    required_level=Level(settings.level),
                    current=told.current,
                    source_read_at=told.read_at,
                    notified_at=told.notified_at,
                    known_by=told.known_by,
                    recovered_due_at=self._missed_at(told, skew),
                    due_at=expected_at if promised.scheduled else now,
                ),
                now,
            )
        )
        opened.destination_ids.add(promised.destination_id)
        self._find_collision(connection, told.event, promised, names, now)

    def _missed_at(self, told: Told, skew: Millis) -> Millis | None:
        """When its webhook will be missed: a push has one, a tag made by the API has none."""
        if told.event.origin is not Origin.PUSH or told.notified_at is not None:
            return None
        return told.event.pushed_at - skew + self._recovered_after

    def _find(
        self, connection: Connection, answer: NoPromise, event: Event, names: Names, now: Millis
    ) -> None:
        """A policy that would bring it, were its flattening not too deep for this repository."""
        if answer.broken != "flattening_too_deep":
            return
        policy = names.policies[answer.policy_id]
        found = findings.too_deep(policy.name, event.repository, answer.why)
        findings.add(connection, self._harbor, f"policy {answer.policy_id}", found, now)

    def _find_collision(
        self, connection: Connection, event: Event, promised: Promise, names: Names, now: Millis
    ) -> None:
        others = subjects.rivals(
            connection,
            promised.destination_id,
            promised.repository,
            event.reference,
            event.repository,
        )
        if not others:
            return
        destination = names.present[promised.destination_id]
        policy = names.policies[promised.policy_id]
        sources = sorted({event.repository, *(source for _, source, _ in others)})
        found = Finding(
            "name_collision",
            Severity.ERROR,
            f"policy {policy.name}: {promised.repository}",
            f"Policy {policy.name} brings {' and '.join(sources)} to one name at "
            f"{destination.name}: {promised.repository}. The last copy wins.",
            "Lower the flattening level, or give each source a namespace of its own.",
        )
        findings.add(connection, self._harbor, f"policy {promised.policy_id}", found, now)


def _shown(
    known: Sequence[Revision], unknown: Revision, policy_id: int, told: Told
) -> Revision | None:
    """The rules that followed an unknown time, where an execution shows that they held in it."""
    if told.ran_by != policy_id:
        return None
    return next((one for one in known if one.revision > unknown.revision), None)


def _moment(told: Told) -> Millis:
    """When, in Harbor's clock, the rules had to be in force for it."""
    if told.run_at is not None:
        return told.run_at
    return told.event.pushed_at + (0 if told.current and told.read_at else WHOLE_SECOND)


def is_ignored(settings: Settings, event: Event, destination: Destination) -> bool:
    """Whether the configuration says that nothing of this is of interest there."""
    for rule in settings.ignore:
        try:
            if (
                (not rule.repository or matches(rule.repository, event.repository))
                and (not rule.reference or matches(rule.reference, event.reference))
                and (not rule.destination or rule.destination == destination.name)
            ):
                return True
        except PatternError:
            continue
    return False


def for_destination(settings: Settings, destination: Destination) -> DestinationSettings:
    """The settings of a destination: by its present name, else by the one it had before.

    A registry endpoint that was only renamed keeps what the configuration said of it.
    """
    named = {
        entry.name for entry in settings.destinations if entry.harbor in (None, destination.harbor)
    }
    renamed = destination.name not in named and destination.first_name in named
    name = destination.first_name if renamed else destination.name
    return settings.destination(destination.harbor, name)


class Names:
    """Policies and destinations of a harbor, read once a transaction."""

    def __init__(self, connection: Connection, harbor: str) -> None:
        self.policies: dict[int, Policy] = {
            one.policy_id: one for one in policies.known_policies(connection, harbor)
        }
        self.present: dict[int, Destination] = {
            one.id: one
            for one in policies.known_destinations(connection, harbor)
            if one.gone_at is None
        }

    def destination(self, destination_id: int) -> Destination | None:
        """The destination of that id, unless it is gone."""
        return self.present.get(destination_id)
