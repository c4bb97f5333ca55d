"""Pure: one repository as Harbor lists it, held against what is known of it.

In comes a page of artifacts after another, out go the tags that are news by the rules in force when
they were set, and in the end the references that were expected and are not there.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from syncwatch.harbor import wire
from syncwatch.model import KnownBy, Operation, Reason, State
from syncwatch.plan.beside import accessories_of
from syncwatch.plan.keeping import event_of
from syncwatch.plan.opening import Told
from syncwatch.plan.promises import NoPromise, in_force, is_guess, promise
from syncwatch.plan.sources import Named, named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from syncwatch.model import Millis
    from syncwatch.plan.promises import Event
    from syncwatch.store.policies import Revision
    from syncwatch.store.sweeps import KnownSubject


@dataclass
class News:
    """What a page tells that was not known: events, and what each of their names was read to be."""

    told: list[Told] = field(default_factory=list)
    answers: dict[tuple[str, str], Named] = field(default_factory=dict)


class Comparison:
    """One repository. `revisions` are those of the policies that reach it, by policy.

    They are known up to a moment of Harbor's clock, `until`: what is younger is judged next time.
    """

    def __init__(
        self,
        repository: str,
        revisions: Mapping[int, Sequence[Revision]],
        until: Millis,
    ) -> None:
        self.tags = 0
        self.references: set[str] = set()
        """All that is there: tags, digests, and digests judged inside another."""
        self._repository = repository
        self._revisions = revisions
        self._until = until
        self._known: dict[tuple[int, str], list[KnownSubject]] = {}

    def take(
        self,
        artifacts: Iterable[wire.SourceArtifact],
        known: Iterable[KnownSubject],
        read_at: Millis,
    ) -> News:
        """What a page of the list tells beyond what is known.

        `read_at` (ours) is before it was asked for, what is `known` was read after that.
        """
        self._known = defaultdict(list)
        for one in known:
            self._known[one.policy_id, one.reference].append(one)
        news = News()
        for artifact in artifacts:
            self.references |= {artifact.digest, *artifact.parts}
            for tag in artifact.tags or ():
                self.tags += 1
                self._note(tag.name, named(artifact, tag.name, read_at), news)
            for reference, answer in _signatures(artifact, read_at):
                self._note(reference, answer, news)
        return news

    def _note(self, reference: str, answer: Named, news: News) -> None:
        self.references.add(reference)
        name = (self._repository, reference)
        event = event_of(name, answer)
        if self._is_news(event, answer.read_at):
            told = Told(event, current=True, read_at=answer.read_at, known_by=KnownBy.SWEEP)
            news.told.append(told)
            news.answers[name] = answer

    def missing(self, known: Iterable[KnownSubject]) -> list[int]:
        """Subjects that want something that was not listed; a list alone proves nothing."""
        return [
            one.id
            for one in known
            if one.operation == Operation.COPY
            and one.state != State.CLOSED
            and one.reference not in self.references
        ]

    def _is_news(self, event: Event, read_at: Millis) -> bool:
        if event.pushed_at > self._until:
            return False
        for policy_id, known in self._revisions.items():
            revision = in_force(known, event.pushed_at)
            if revision is None or self._is_known(policy_id, event, read_at):
                continue
            answer = promise(revision, event)
            if isinstance(answer, NoPromise):
                if answer.broken == "flattening_too_deep":
                    return True
            elif not is_guess(answer, revision.rules, self._until):
                return True
        return False

    def _is_known(self, policy_id: int, event: Event, read_at: Millis) -> bool:
        subjects = self._known.get((policy_id, event.reference), ())
        return any(_covers(one, event, read_at) for one in subjects)


def _signatures(artifact: wire.SourceArtifact, read_at: Millis) -> Iterator[tuple[str, Named]]:
    """Tags of cosign's beside an artifact: Harbor lists what they name, never them themselves."""
    made = {one.digest: one.creation_time for one in artifact.accessories or ()}
    for one in accessories_of(artifact):
        at = wire.millis_or_none(made[one.digest])
        if one.reference and at is not None:
            yield one.reference, Named(one.digest, at, (), (), fresh=True, read_at=read_at)


_ENDED = (Reason.DELETED_AT_SOURCE, Reason.DESTINATION_GONE)


def _covers(one: KnownSubject, event: Event, read_at: Millis) -> bool:
    """Whether a subject's newest generation says all that a listed tag does."""
    if one.operation == Operation.DELETION:
        # Listed before it went, unless it was set again since.
        return event.pushed_at <= one.pushed_at
    if one.digest != event.digest:
        return False
    if one.state != State.CLOSED or one.reason not in _ENDED:
        return True
    return one.closed_at is not None and read_at <= one.closed_at
