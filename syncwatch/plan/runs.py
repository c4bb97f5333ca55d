"""What Harbor's executions bring: tags made by the API, pushes without a webhook, runs by hand.

Comes in: a task that `follow` saw first. Goes out: events for `opening`. A task of an event-based
policy belongs to one event just before it; where no webhook told of it, the repository is listed
and its tags' times tell. A run by hand promises all that its policy selects at that time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from syncwatch.model import SECOND, KnownBy, Millis, Origin, Trigger
from syncwatch.plan.keeping import event_of
from syncwatch.plan.opening import Told
from syncwatch.plan.promises import Event
from syncwatch.plan.sources import Absent, Named, Sources, Unasked, named
from syncwatch.store import subjects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from syncwatch.config import HarborSettings
    from syncwatch.harbor import wire
    from syncwatch.runtime import Clock
    from syncwatch.store.database import Database
    from syncwatch.store.executions import DueTask

BEFORE = 10 * SECOND
AFTER = SECOND
"""An event's execution begins so soon after it (BEFORE), or seems to begin as early (AFTER)."""

PATIENCE = 10 * SECOND
"""How long after an execution's start its webhooks may still tell what it is for."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a task brings, or when to ask again."""

    told: list[Told] = field(default_factory=list)
    answers: Mapping[tuple[str, str], Named | Absent | Unasked] = field(default_factory=dict)
    again_at: Millis | None = None


class Runs:
    """Finds out what tasks bring."""

    def __init__(
        self, harbor: HarborSettings, database: Database, sources: Sources, clock: Clock
    ) -> None:
        self._harbor = harbor
        self._database = database
        self._sources = sources
        self._clock = clock

    async def events_of(self, task: DueTask) -> Found:
        """The events behind one task; a task that deletes brings none."""
        if task.operation not in ("", "copy"):
            await self._ask_sources(task)
            return Found()
        if task.trigger == Trigger.EVENT_BASED:
            return await self._of_event(task)
        if task.trigger == Trigger.MANUAL:
            return await self._by_hand(task)
        return Found()

    async def _ask_sources(self, task: DueTask) -> None:
        """Something was deleted at the source: a single tag's deletion has no webhook."""
        now = self._clock.now()
        await self._database.write(
            lambda c: subjects.ask_deleted(
                c, self._harbor.name, task.source_repository, task.refs, task.start_at or now, now
            )
        )

    async def claimed(self, names: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """Of (repository, digest) pushed without a tag, those judged inside something else.

        An index claims its children, a subject its referrers; both name them when listed.
        """
        found = set()
        for repository in {repository for repository, _ in names}:
            digests = {digest for name, digest in names if name == repository}
            known = await self._known_claims(repository, digests)
            if known != digests:
                listed = await self._sources.list(repository)
                artifacts = () if isinstance(listed, Unasked) else listed.artifacts
                known |= digests & {part for one in artifacts for part in one.parts}
                await self._read_described(repository, artifacts, digests)
            found |= {(repository, digest) for digest in known}
        return found

    async def _read_described(
        self, repository: str, artifacts: Sequence[wire.SourceArtifact], pushed: set[str]
    ) -> None:
        """A referrer was pushed: its image is to be read again, for what lies beside it now."""
        images = [
            one.digest
            for one in artifacts
            if pushed & {beside.digest for beside in one.accessories or ()}
        ]
        if images:
            now = self._clock.now()
            await self._database.write(
                lambda c: subjects.ask_sources_of(c, self._harbor.name, repository, images, now)
            )

    async def _known_claims(self, repository: str, digests: set[str]) -> set[str]:
        return await self._database.read(
            lambda c: {
                one for one in digests if subjects.is_claimed(c, self._harbor.name, repository, one)
            }
        )

    async def _of_event(self, task: DueTask) -> Found:
        """One event just before the execution; a webhook of it may have told, or may come yet."""
        began = task.start_at or self._clock.now()
        known = await self._database.read(
            lambda c: subjects.pushed_between(
                c,
                self._harbor.name,
                task.policy_id,
                task.source_repository,
                began - BEFORE,
                began + AFTER,
            )
        )
        told_of = {reference for reference, _ in known}
        if task.refs is not None:
            missing = [reference for reference in task.refs if reference not in told_of]
            return await self._read(task, missing)
        if self._clock.now() < began + PATIENCE:
            return Found(again_at=began + PATIENCE)
        return await self._by_time(task, began)

    async def _read(self, task: DueTask, references: list[str]) -> Found:
        """References that only a REPLICATION webhook told of: a tag made by the API, or a push."""
        tags = [one for one in references if ":" not in one]
        digests = {(task.source_repository, one) for one in references if ":" in one}
        wait = round(self._harbor.claim_wait.total_seconds() * 1000)
        due = (task.start_at or self._clock.now()) + wait
        if digests and self._clock.now() < due and not tags:
            return Found(again_at=due)
        free = digests - await self._claimed_or_none(digests)
        names = [(task.source_repository, tag) for tag in tags] + sorted(free)
        answers = await self._sources.read_all(names)
        if any(isinstance(answer, Unasked) for answer in answers.values()):
            return Found(again_at=self._clock.now() + 5 * SECOND)
        return Found(
            [
                _told(name, answer, task)
                for name, answer in answers.items()
                if isinstance(answer, Named)
            ],
            answers,
        )

    async def _claimed_or_none(self, digests: set[tuple[str, str]]) -> set[tuple[str, str]]:
        return await self.claimed(digests) if digests else set()

    async def _by_time(self, task: DueTask, began: Millis) -> Found:
        """No webhook came: the tags of the repository that were set just before the execution."""
        listed = await self._sources.list(task.source_repository)
        if isinstance(listed, Unasked):
            return Found(again_at=self._clock.now() + 5 * SECOND)
        answers = {
            (task.source_repository, tag.name): named(artifact, tag.name, listed.read_at)
            for artifact in listed.artifacts
            for tag in artifact.tags or ()
        }
        near = {
            name: answer
            for name, answer in answers.items()
            if answer.pushed_at is not None and began - BEFORE <= answer.pushed_at <= began + AFTER
        }
        return Found([_told(name, answer, task) for name, answer in near.items()], near)

    async def _by_hand(self, task: DueTask) -> Found:
        """All that the policy selects in the task's repository, as Harbor lists it for a run."""
        listed = await self._sources.list(task.source_repository)
        if isinstance(listed, Unasked):
            return Found(again_at=self._clock.now() + 5 * SECOND)
        began = task.start_at or listed.read_at
        told, answers = [], {}
        for artifact in listed.artifacts:
            references = [tag.name for tag in artifact.tags or ()] or [artifact.digest]
            for reference in references:
                name = (task.source_repository, reference)
                answer = named(artifact, reference, listed.read_at)
                answers[name] = answer
                if answer.pushed_at is None or answer.pushed_at <= began:
                    told.append(_of_run(name, answer, task, began))
        return Found(told, answers)


def _told(name: tuple[str, str], answer: Named, task: DueTask) -> Told:
    return Told(
        event_of(name, answer),
        current=True,
        read_at=answer.read_at,
        known_by=KnownBy.FEED,
        ran_by=task.policy_id,
    )


def _of_run(name: tuple[str, str], answer: Named, task: DueTask, began: Millis) -> Told:
    pushed_at = answer.pushed_at if answer.pushed_at is not None else began
    event = Event(*name, answer.digest, pushed_at, Origin.RUN, answer.labels)
    return Told(
        event,
        current=True,
        read_at=answer.read_at,
        only=task.policy_id,
        run_at=began,
        known_by=KnownBy.FEED,
    )
