"""Deletions at the source: what they end, and what is expected of them at destinations.

Comes in: references that Harbor says are not there, read with proven credentials. Goes out: copies
closed, and a generation for each policy that replicates the deletion. Harbor deletes an artifact by
the digest that the destination serves; a single tag only where its adapter can.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from syncwatch.model import Level, Millis, Operation, Origin, Reason
from syncwatch.plan.findings import CANNOT_DELETE, CANNOT_DELETE_A_TAG
from syncwatch.plan.opening import WHOLE_SECOND, Names, Opened, for_destination, is_ignored
from syncwatch.plan.promises import Event, NoPromise, Promise, by_policy, in_force, promise
from syncwatch.plan.sources import Named, Unasked
from syncwatch.store import executions, expectations, generations, policies, subjects
from syncwatch.store.schema import expectations as rows
from syncwatch.store.schema import subjects as subject_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from syncwatch.config import Settings
    from syncwatch.model import Change
    from syncwatch.plan.sources import Sources
    from syncwatch.store.policies import Destination, Revision
    from syncwatch.store.subjects import DueSubject


@dataclass(frozen=True, slots=True)
class Gone:
    """A reference that Harbor says is not there, and `digest`, which it named before.

    `at` (Harbor's clock) is when it went, None where nobody told; `read_at` (ours) is when Harbor
    was asked. `tag_only` says that its artifact stayed, with `labels`.
    """

    repository: str
    reference: str
    digest: str | None
    at: Millis | None
    read_at: Millis
    tag_only: bool = False
    labels: tuple[str, ...] = ()
    notified_at: Millis | None = None


def told_of(due: Iterable[DueSubject], read_at: Millis) -> Gone:
    """What is known of a reference by the subjects on it, of which there is one at least.

    Word of a deletion that is older than what was set since is of an earlier one.
    """
    known = sorted(due, key=lambda one: one.pushed_at or 0)
    newest = known[-1]
    told = [one.deleted_at for one in known if one.deleted_at is not None]
    copied = max(
        (one.pushed_at or 0 for one in known if one.operation == Operation.COPY), default=0
    )
    at = max(told, default=None)
    if at is not None and at + WHOLE_SECOND < copied:
        at = None
    return Gone(newest.source_repository, newest.reference, newest.digest, at, read_at)


async def find_artifact(gone: Gone, sources: Sources) -> Gone | None:
    """With what became of its artifact; None where Harbor could not be asked."""
    if gone.digest is None or gone.digest == gone.reference:
        return gone
    answer = await sources.read(gone.repository, gone.digest)
    if isinstance(answer, Unasked):
        return None
    if isinstance(answer, Named):
        return replace(gone, tag_only=True, labels=answer.labels)
    return gone


class Deletions:
    """Writes what deletions at one Harbor's source end and promise, within a transaction."""

    def __init__(self, harbor: str, settings: Settings) -> None:
        self._harbor = harbor
        self._settings = settings

    def wanted(self, connection: Connection) -> bool:
        """Whether any policy replicates deletions, or did while we watched."""
        known = policies.known_revisions(connection, self._harbor)
        return any(one.rules.deletion for one in known)

    def write(self, connection: Connection, gone: Sequence[Gone], now: Millis) -> Opened:
        """End the copies of these references, and open the deletions that are promised."""
        skew = policies.used_skew(policies.harbor_row(connection, self._harbor).skew)
        revisions = by_policy(policies.known_revisions(connection, self._harbor))
        names = Names(connection, self._harbor)
        opened = Opened([], set())
        for one in gone:
            for known in revisions.values() if one.digest is not None else ():
                self._open(connection, one, known, names, skew, now, opened)
            opened.changes.extend(self._end(connection, one, now))
            subjects.source_gone(connection, self._harbor, one.repository, one.reference)
        return opened

    def _open(
        self,
        connection: Connection,
        gone: Gone,
        known: Sequence[Revision],
        names: Names,
        skew: Millis,
        now: Millis,
        opened: Opened,
    ) -> None:
        at = gone.at if gone.at is not None else now + skew
        event = Event(
            gone.repository, gone.reference, gone.digest or "", at, Origin.DELETION, gone.labels
        )
        revision = in_force(known, _latest(at))
        if revision is None:
            return
        word = self._harbors_word(connection, revision, event)
        answer = promise(revision, event, selected=bool(word))
        if isinstance(answer, NoPromise):
            return
        destination = names.destination(answer.destination_id)
        if destination is None or is_ignored(self._settings, event, destination):
            return
        tag_only = word == executions.TAG_DELETION if word else gone.tag_only
        opened.changes.extend(
            generations.open_deletion(
                connection,
                self._opening(gone, event, answer, destination, skew, now),
                now,
                told=gone.at is not None,
                excuse=_excuse(destination, tag_only=tag_only),
            )
        )
        opened.destination_ids.add(destination.id)

    def _harbors_word(self, connection: Connection, revision: Revision, event: Event) -> str:
        """What Harbor's own run does about it, where one is known: it was selected, then."""
        since = event.pushed_at - generations.APART
        return executions.deletes(
            connection,
            self._harbor,
            revision.policy_id,
            event.repository,
            event.reference,
            since,
        )

    def _opening(
        self,
        gone: Gone,
        event: Event,
        promised: Promise,
        destination: Destination,
        skew: Millis,
        now: Millis,
    ) -> generations.Opening:
        settings = for_destination(self._settings, destination)
        expected_at = promised.expected_at - skew
        return generations.Opening(
            harbor=self._harbor,
            policy_id=promised.policy_id,
            source_repository=event.repository,
            reference=event.reference,
            destination_id=destination.id,
            repository=promised.repository,
            digest=event.digest,
            origin=Origin.DELETION,
            operation=Operation.DELETION,
            pushed_at=event.pushed_at,
            expected_at=expected_at,
            deadline_at=expected_at + round(settings.deadline.total_seconds() * 1000),
            required_level=Level.MATCHED,
            current=True,
            source_read_at=gone.read_at,
            notified_at=gone.notified_at,
            due_at=now,
        )

    def _end(self, connection: Connection, gone: Gone, now: Millis) -> list[Change]:
        """Copies that no deletion replaced."""
        here = (
            (subject_rows.c.harbor == self._harbor)
            & (subject_rows.c.source_repository == gone.repository)
            & (subject_rows.c.reference == gone.reference)
        )
        return expectations.close_where(
            connection,
            here & (rows.c.operation == Operation.COPY),
            Reason.DELETED_AT_SOURCE,
            generations.GONE,
            now,
        )


def _latest(at: Millis) -> Millis:
    """The last moment that a told one may mean: webhooks tell whole seconds."""
    return at + WHOLE_SECOND if at % 1000 == 0 else at


def _excuse(destination: Destination, *, tag_only: bool) -> str:
    kind = destination.type
    if tag_only and kind in CANNOT_DELETE_A_TAG:
        return f"Harbor cannot delete a single tag at {destination.name}, a {kind}."
    if kind in CANNOT_DELETE:
        return f"Harbor cannot delete anything at {destination.name}, a {kind}."
    return ""
