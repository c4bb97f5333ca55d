"""The loop that turns what happened at Harbor into what is expected at destinations.

Comes in: deliveries of `intake`, tasks of `follow`, subjects whose source tag is to be read again.
Goes out: generations of subjects, for `verify`. Before an event is planned, policies are as young
as the event, and the tag is asked at Harbor; where Harbor does not answer, what is known and the
event's own word stand in.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from syncwatch.errors import OutboundError
from syncwatch.harbor import wire
from syncwatch.model import SECOND, KnownBy, Millis, Origin
from syncwatch.plan import findings as policy_findings
from syncwatch.plan.deletions import Deletions, Gone, find_artifact, told_of
from syncwatch.plan.keeping import WRITTEN_AT_ONCE, event_of
from syncwatch.plan.opening import Told
from syncwatch.plan.promises import Event
from syncwatch.plan.runs import Runs
from syncwatch.plan.sources import Absent, Named, Unasked
from syncwatch.store import (
    deliveries,
    executions,
    expectations,
    findings,
    policies,
    recovered,
    subjects,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection

    from syncwatch.config import HarborSettings, Settings
    from syncwatch.harbor.client import HarborClient
    from syncwatch.model import Change
    from syncwatch.plan.keeping import Keeping
    from syncwatch.plan.looking import Looking
    from syncwatch.plan.sources import Sources
    from syncwatch.runtime import Clock, Signals
    from syncwatch.store.database import Database
    from syncwatch.store.deliveries import StoredDelivery
    from syncwatch.store.policies import HarborRow

BATCH = 100
"""How many deliveries, tasks or subjects one turn takes of each."""

LOOK_PAUSE: Millis = 500
"""Between two looks at Harbor's policies."""


class Planner:
    """Plans for one Harbor. `publish` is told what changed, once it is durable."""

    def __init__(
        self,
        *,
        harbor: HarborSettings,
        settings: Settings,
        client: HarborClient,
        looking: Looking,
        keeping: Keeping,
        sources: Sources,
        database: Database,
        clock: Clock,
        signals: Signals,
        publish: Callable[[Sequence[Change]], None],
        policy_changed: Callable[[str, int, str], None],
        recovered: Callable[[str, str, KnownBy], None],
    ) -> None:
        self._harbor = harbor
        self._client = client
        self._looking = looking
        self._database = database
        self._clock = clock
        self._signals = signals
        self._publish = publish
        self._policy_changed = policy_changed
        self._recovered = recovered
        self._sources = sources
        self._keeping = keeping
        self._deletions = Deletions(harbor.name, settings)
        self._runs = Runs(harbor, database, sources, clock)
        self._refused: frozenset[str] | None = None
        self._tried_look_at: Millis = 0
        self._heard_at: Millis = 0

    async def turn(self) -> float:
        """Look at Harbor if due, then plan what is due; seconds until the next turn."""
        now = self._clock.now()
        waiting = await self._database.read(
            lambda c: deliveries.due(c, self._harbor.name, now, BATCH)
        )
        await self._hear(waiting)
        row, wait = await self._look(now, waiting)
        if row.last_look_at is None:
            # Nothing can be promised before Harbor's policies were seen once.
            return 1.0
        if wait:
            return wait / SECOND
        self._sources.forget_lists()
        again = await self._plan_deliveries(waiting, now)
        again |= await self._plan_tasks(now)
        again |= await self._read_sources(now)
        await self._tell_refused(now)
        if len(waiting) < BATCH:
            await self._count_recovered(now)
        return 0.0 if again else min(1.0, self._harbor.policies_every.total_seconds())

    async def _count_recovered(self, now: Millis) -> None:
        """Pushes whose webhook was due and did not come; all that came was planned before."""
        name = self._harbor.name
        if await self._database.read(lambda c: recovered.is_due(c, name, now)):
            for event, known_by in await self._database.write(
                lambda c: recovered.take(c, name, now)
            ):
                self._recovered(name, event, known_by)

    async def _tell_refused(self, now: Millis) -> None:
        """Say once which projects we may not read: what they hold cannot be told."""
        refused = self._sources.refused
        if refused == self._refused:
            return
        self._refused = refused
        found = (
            [policy_findings.may_not_read(self._harbor.name, sorted(refused))] if refused else []
        )
        name = self._harbor.name
        await self._database.write(lambda c: findings.replace(c, name, "sources", found, now))

    async def _look(
        self, now: Millis, waiting: Sequence[StoredDelivery]
    ) -> tuple[HarborRow, Millis]:
        """Policies as young as the youngest event, and how long to wait until they may be so.

        Bursts of pushes share a look: Harbor is asked once in `LOOK_PAUSE`.
        """
        row = await self._row()
        every = round(self._harbor.policies_every.total_seconds() * 1000)
        events = (wire.PUSH, wire.DELETE)
        newest = max((one.received_at for one in waiting if one.event in events), default=0)
        seen_at = row.last_look_at or 0
        due = now - seen_at >= every or newest >= seen_at or not row.up
        if not due:
            return row, 0
        wait = self._tried_look_at + min(LOOK_PAUSE, every) - now
        if wait > 0:
            # While Harbor does not answer, what is known stands in; else a young push waits.
            return row, wait if row.up else 0
        self._tried_look_at = now
        try:
            looked = await self._looking.look()
        except OutboundError:
            return await self._row(), 0
        for policy_id, kind in looked.policy_changes:
            self._policy_changed(self._harbor.name, policy_id, kind)
        self._publish(looked.changes)
        self._signals.wake("destinations")
        return await self._row(), 0

    async def _hear(self, waiting: Sequence[StoredDelivery]) -> None:
        """When Harbor was last heard of; known also while nothing can be planned.

        What is of no type of Harbor's may be the doctor's own test of the way here.
        """
        heard = max((one.received_at for one in waiting if one.event != wire.OTHER), default=0)
        if heard > self._heard_at:
            await self._database.write(lambda c: policies.heard(c, self._harbor.name, heard))
            self._heard_at = heard

    async def _row(self) -> HarborRow:
        return await self._database.read(lambda c: policies.harbor_row(c, self._harbor.name))

    async def _plan_deliveries(self, waiting: Sequence[StoredDelivery], now: Millis) -> bool:
        """True when there may be more."""
        read = [(one, wire.read_delivery(one.body).event) for one in waiting]
        await self._take_hints(
            [(one, event) for one, event in read if isinstance(event, wire.Replication)], now
        )
        await self._take_deletions(
            [(one, event) for one, event in read if isinstance(event, wire.Deletion)], now
        )
        await self._take_pushes(
            [(one, event) for one, event in read if isinstance(event, wire.Push)], now
        )
        rest = [one.id for one, event in read if event is None]
        if rest:
            await self._database.write(lambda c: deliveries.done(c, rest))
        return len(waiting) >= BATCH

    async def _take_hints(
        self, hints: Sequence[tuple[StoredDelivery, wire.Replication]], now: Millis
    ) -> None:
        """REPLICATION webhooks: what they tell of a task, and whom they wake. Never a status."""
        if not hints:
            return
        name = self._harbor.name

        def keep(connection: Connection) -> set[int]:
            woken: set[int] = set()
            for _, hint in hints:
                if hint.execution_id is not None and hint.task_id is not None:
                    executions.hint(
                        connection,
                        name,
                        hint.task_id,
                        hint.execution_id,
                        hint.references,
                        now,
                        failed=hint.job_status == "Error",
                    )
                    if hint.job_status != "Running":
                        executions.wake_execution(connection, name, hint.execution_id, now)
                for repository in hint.repositories:
                    woken |= expectations.wake(
                        connection,
                        name,
                        now,
                        source_repository=f"{hint.source_namespace}/{repository}",
                        references=hint.references,
                    )
            deliveries.done(connection, [delivery.id for delivery, _ in hints])
            return woken

        self._wake(await self._database.write(keep))
        self._signals.wake(f"follow {name}")

    async def _take_deletions(
        self, deletions: Sequence[tuple[StoredDelivery, wire.Deletion]], now: Millis
    ) -> None:
        """DELETE_ARTIFACT names the first of its tags only: ask for all that named its digest.

        What no subject is of, being older than them all, may be promised to go nevertheless.
        """
        if not deletions:
            return
        name = self._harbor.name

        def ask(connection: Connection) -> list[tuple[StoredDelivery, wire.Artifact, Millis]]:
            return [
                (delivery, one, told.occurred_at)
                for delivery, told in deletions
                for one in told.artifacts
                if not subjects.artifact_deleted(
                    connection,
                    name,
                    one.repository,
                    one.digest,
                    one.reference,
                    told.occurred_at,
                    now,
                )
            ]

        unknown = await self._database.write(ask)
        answers = await self._sources.read_all(
            (one.repository, one.reference) for _, one, _ in unknown
        )
        gone, later = [], set()
        for delivery, one, at in unknown:
            answer = answers[one.repository, one.reference]
            if isinstance(answer, Unasked):
                later.add(delivery.id)
            elif isinstance(answer, Absent):
                gone.append(
                    Gone(
                        one.repository,
                        one.reference,
                        one.digest,
                        at,
                        answer.read_at,
                        notified_at=delivery.received_at,
                    )
                )
        if not await self._end(gone, now):
            later |= {delivery.id for delivery, _ in deletions}
        done = [delivery.id for delivery, _ in deletions if delivery.id not in later]

        def keep(connection: Connection) -> None:
            deliveries.done(connection, done)
            deliveries.later(connection, sorted(later), now + 5 * SECOND)

        await self._database.write(keep)

    async def _take_pushes(
        self, pushes: Sequence[tuple[StoredDelivery, wire.Push]], now: Millis
    ) -> None:
        """PUSH_ARTIFACT: what was pushed by digest alone waits for what may claim it."""
        tagged, waiting = [], []
        wait = round(self._harbor.claim_wait.total_seconds() * 1000)
        for delivery, push in pushes:
            untagged = any(one.reference == one.digest for one in push.artifacts)
            if untagged and now < delivery.received_at + wait:
                waiting.append((delivery, push))
            else:
                tagged.append((delivery, push))
        for delivery, _ in waiting:
            await self._later(delivery, delivery.received_at + wait)
        for begin in range(0, len(tagged), WRITTEN_AT_ONCE):
            await self._plan_pushes(tagged[begin : begin + WRITTEN_AT_ONCE], now)

    async def _later(self, delivery: StoredDelivery, due_at: Millis) -> None:
        await self._database.write(lambda c: deliveries.later(c, [delivery.id], due_at))

    async def _plan_pushes(
        self, pushes: Sequence[tuple[StoredDelivery, wire.Push]], now: Millis
    ) -> None:
        claimed = await self._runs.claimed(
            {
                (one.repository, one.digest)
                for _, push in pushes
                for one in push.artifacts
                if one.reference == one.digest
            }
        )
        wanted = [
            (delivery, push.occurred_at, one)
            for delivery, push in pushes
            for one in push.artifacts
            if (one.repository, one.digest) not in claimed or one.reference != one.digest
        ]
        answers = await self._sources.read_all(
            (one.repository, one.reference) for _, _, one in wanted
        )
        told: list[Told] = []
        for delivery, occurred_at, one in wanted:
            answer = answers[one.repository, one.reference]
            told += _of_push(one, occurred_at, delivery.received_at, answer)
        await self._keeping.write(told, answers, [delivery.id for delivery, _ in pushes], now)

    async def _plan_tasks(self, now: Millis) -> bool:
        """What Harbor's executions bring that no webhook told of."""
        due = await self._database.read(
            lambda c: executions.to_plan(c, self._harbor.name, now, BATCH)
        )
        self._sources.forget_lists()
        again: dict[int, Millis | None] = {}
        told: dict[tuple[str, str, str, int | None], Told] = {}
        answers: dict[tuple[str, str], Named | Absent | Unasked] = {}
        for task in due:
            found = await self._runs.events_of(task)
            again[task.task_id] = found.again_at
            # Tasks near each other find the same tags.
            told = {one.key: one for one in found.told} | told
            answers |= found.answers
        events = list(told.values())
        for begin in range(0, len(events), WRITTEN_AT_ONCE):
            part = events[begin : begin + WRITTEN_AT_ONCE]
            names = {(one.event.repository, one.event.reference) for one in part}
            await self._keeping.write(part, {name: answers[name] for name in names}, [], now)
        if again:
            await self._database.write(lambda c: executions.planned(c, self._harbor.name, again))
        return len(due) >= BATCH

    async def _read_sources(self, now: Millis) -> bool:
        """Source tags to be read again: a mismatch, a deletion, or Harbor was away."""
        due = await self._database.read(
            lambda c: subjects.source_due(c, self._harbor.name, now, BATCH)
        )
        answers = await self._sources.read_all(
            (one.source_repository, one.reference) for one in due
        )
        told: dict[tuple[str, str], Told] = {}
        for name, answer in answers.items():
            if isinstance(answer, Named):
                told[name] = Told(
                    event_of(name, answer),
                    current=True,
                    read_at=answer.read_at,
                    known_by=KnownBy.SWEEP,
                )
        await self._keeping.write(list(told.values()), answers, [], now)
        absent = {
            name: answer.read_at for name, answer in answers.items() if isinstance(answer, Absent)
        }
        unasked = {name for name, answer in answers.items() if isinstance(answer, Unasked)}
        unasked |= await self._take_absent(absent, due, now)
        later = [one.id for one in due if one.name in unasked]
        if later:
            at = now + 5 * SECOND
            await self._database.write(lambda c: subjects.ask_source(c, later, at))
        return len(due) >= BATCH

    async def _take_absent(
        self,
        absent: Mapping[tuple[str, str], Millis],
        due: Sequence[subjects.DueSubject],
        now: Millis,
    ) -> set[tuple[str, str]]:
        """Source references that are not there; those for which Harbor has to be asked again."""
        told = [
            told_of([one for one in due if one.name == name], read_at)
            for name, read_at in absent.items()
        ]
        wanted = bool(told) and await self._database.read(self._deletions.wanted)
        if wanted:
            asked = await asyncio.gather(*(find_artifact(one, self._sources) for one in told))
            told = [one for one in asked if one is not None]
        if not await self._end(told, now):
            return set(absent)
        return set(absent) - {(one.repository, one.reference) for one in told}

    async def _end(self, gone: Sequence[Gone], now: Millis) -> bool:
        """What Harbor says is not there has ended, with credentials proven in this pass.

        False where they could not be proven.
        """
        if not gone:
            return True
        try:
            await self._client.system_info()
        except OutboundError as error:
            await self._looking.note_down(error)
            return False
        opened = await self._database.write(lambda c: self._deletions.write(c, gone, now))
        self._publish(opened.changes)
        self._wake(opened.destination_ids)
        return True

    def _wake(self, destination_ids: set[int]) -> None:
        for one in destination_ids:
            self._signals.wake(f"verify {one}")


def _of_push(
    pushed: wire.Artifact,
    occurred_at: Millis,
    received_at: Millis,
    answer: Named | Absent | Unasked,
) -> list[Told]:
    """What a push tells, with what the source names now: it may name something newer already."""
    name = (pushed.repository, pushed.reference)
    event = Event(*name, pushed.digest, occurred_at, Origin.PUSH)
    if isinstance(answer, Unasked):
        return [Told(event, current=True, read_at=None, notified_at=received_at)]
    if isinstance(answer, Absent):
        return []
    if answer.digest == pushed.digest:
        return [
            Told(
                event_of(name, answer, Origin.PUSH),
                current=True,
                read_at=answer.read_at,
                notified_at=received_at,
            )
        ]
    return [
        Told(event, current=False, read_at=answer.read_at, notified_at=received_at),
        Told(event_of(name, answer), current=True, read_at=answer.read_at, known_by=KnownBy.SWEEP),
    ]
