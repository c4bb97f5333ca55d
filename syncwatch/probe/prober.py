"""The loop of one cluster: pods for what is due, what their kubelet said, and nothing left behind.

Comes in: probes that are due. Goes out: what they came to, written once, with a wake-up of whoever
waits for it. A pod is written down before it is made, so that a crash leaves none unknown: after a
restart it is found by its name, judged and deleted as any other. The budget is counted from those
rows, so that it holds across restarts and replicas.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from syncwatch.errors import ClusterError
from syncwatch.model import HOUR, SECOND, ClusterFigures
from syncwatch.probe import pod as pods_of
from syncwatch.probe.admitting import Admission
from syncwatch.probe.limits import Room
from syncwatch.probe.outcomes import Told, again_at, attempts_with, together
from syncwatch.probe.trouble import is_away
from syncwatch.store import pods, probes
from syncwatch.store.probes import SoFar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sqlalchemy import Connection

    from syncwatch.model import Millis
    from syncwatch.probe.admitting import Admitted, Site
    from syncwatch.probe.limits import Limits
    from syncwatch.probe.nodes import Nodes
    from syncwatch.probe.telling import Telling
    from syncwatch.probe.under_way import Cluster, UnderWay
    from syncwatch.runtime import Clock, Signals
    from syncwatch.store.database import Database
    from syncwatch.store.pods import Pod
    from syncwatch.store.probes import Due

    Sites = Callable[[], Awaitable[Mapping[int, Site]]]

UNDER_WAY_EVERY = 0.5
"""Seconds between turns while pods are under way; a change of one makes a turn at once."""
LOOK_EVERY = 0.5
"""Seconds between turns while a look is waited for."""
LONGEST = 5.0
"""Seconds between turns at most: the configuration of a destination may have changed."""

HUNG_KNOWN = 10
"""Pulls in a row that hung, which are told apart."""

TAKEN = 50
"""Probes that are looked at in one turn."""


class Prober:
    """Probes in one cluster. `telling` is told what came of it; `sites` are its destinations."""

    def __init__(
        self,
        *,
        name: str,
        cluster: Cluster,
        under_way: UnderWay,
        namespace: str,
        limits: Limits,
        nodes: Nodes,
        sites: Sites,
        telling: Telling,
        database: Database,
        clock: Clock,
        signals: Signals,
    ) -> None:
        self._name = name
        self._cluster = cluster
        self._under_way = under_way
        self._namespace = namespace
        self._limits = limits
        self._nodes = nodes
        self._sites = sites
        self._telling = telling
        self._database = database
        self._clock = clock
        self._signals = signals
        self._admission = Admission(limits.size_limit)

    @property
    def loop_name(self) -> str:
        """The name by which `Signals` and `Pulse` know this loop."""
        return f"probe {self._name}"

    async def turn(self) -> float:
        """Judge and delete what is under way, begin what may; seconds until the next turn."""
        sites = await self._sites()
        await self._under_way.follow(await self._left(), sites)
        await self._finish()
        pause = await self._begin_due(sites)
        trouble = self._under_way.trouble
        await self._tell(sites, trouble)
        if trouble:
            return min(LONGEST, max(1.0, *(error.retry_after or 0.0 for error in trouble)))
        return min(pause, UNDER_WAY_EVERY) if await self._left() else pause

    async def stop(self) -> None:
        """End what is said of the cluster; its pods are judged by whoever has it next."""
        self._telling.stopped()
        await self._under_way.stop()

    async def _left(self) -> list[Pod]:
        return await self._database.read(lambda c: pods.left(c, self._name))

    async def _finish(self) -> None:
        """End probes whose pods have all been judged."""
        now = self._clock.now()

        def write(connection: Connection) -> set[int]:
            woken: set[int] = set()
            for so_far in probes.judged(connection, self._name):
                ended = [
                    Told(one.result, one.cause, one.message)
                    for one in pods.of_last(connection, so_far.id)
                    if one.result is not None
                ]
                woken |= self._write_end(connection, so_far, ended, now)
            return woken

        self._wake(await self._database.write(write))

    def _write_end(
        self, connection: Connection, so_far: SoFar, ended: Sequence[Told], now: Millis
    ) -> set[int]:
        told = together(ended)
        attempts = attempts_with(told, so_far.attempts)
        due_at = again_at(
            told, so_far, attempts=attempts, again_after=self._limits.again_after, now=now
        )
        outcome = probes.Outcome(told.result, told.cause, told.message, attempts, due_at)
        return probes.end(connection, so_far.id, outcome, now)

    def _wake(self, destinations: set[int]) -> None:
        for destination_id in destinations:
            self._signals.wake(f"verify {destination_id}")

    async def _begin_due(self, sites: Mapping[int, Site]) -> float:
        """Begin what the budget allows; seconds until there may be more to begin."""
        now = self._clock.now()
        if not sites or not self._under_way.may_begin(now):
            return LONGEST
        room = await self._room(now)
        if now < room.left_alone_until:
            return LONGEST
        due = await self._database.read(lambda c: probes.due(c, list(sites), now, TAKEN))
        pulling = {one.digest for one in await self._left() if one.ended_at is None}
        waits = False
        for one in due:
            if room.is_over:
                break
            if one.digest in pulling:
                # From another place: who pulls second on a node may find there what the first did.
                continue
            decided = await self._database.write(
                partial(self._admission.decide, due=one, site=sites[one.destination_id], now=now)
            )
            waits = waits or decided.look
            if decided.look:
                self._signals.wake(f"verify {one.destination_id}")
                # Its turn is kept for it.
                room = room.less(1)
            elif decided.begin:
                begun = await self._begin(one, sites[one.destination_id], room, now)
                if begun is None:
                    # Or smaller ones would have its turn, again and again.
                    return LONGEST
                room = room.less(begun)
                pulling.add(one.digest)
            else:
                await self._leave(one, decided, now)
        if waits:
            return LOOK_EVERY
        if room.is_over and due:
            return min(LONGEST, max(UNDER_WAY_EVERY, ((room.opens_at or now) - now) / SECOND))
        upcoming = await self._database.read(lambda c: probes.next_due(c, list(sites), now))
        return LONGEST if upcoming is None else min(LONGEST, (upcoming - now) / SECOND)

    async def _room(self, now: Millis) -> Room:
        """What the limits leave."""

        def read(connection: Connection) -> Room:
            spent, first_at = pods.spent(connection, self._name, now - HOUR, now)
            under_way = [one for one in pods.left(connection, self._name) if one.ended_at is None]
            hung = pods.hung(connection, self._name, HUNG_KNOWN)
            return Room(self._limits, spent, first_at, len(under_way), *hung)

        return await self._database.read(read)

    async def _leave(self, due: Due, decided: Admitted, now: Millis) -> None:
        """It does not begin: it is put off, nobody wants it, or there is nothing to ask a node."""
        told = decided.told

        def write(connection: Connection) -> set[int]:
            if told is None:
                probes.put_off(connection, due.id, decided.until)
                return set()
            if not probes.begin(connection, due.id, now):
                return set()
            so_far = SoFar(due.id, due.attempts, due.required, due.proved)
            return self._write_end(connection, so_far, [told], now)

        self._wake(await self._database.write(write))

    async def _begin(self, due: Due, site: Site, room: Room, now: Millis) -> int | None:
        """Make the pods of a probe; how many, None where not all of them can be made yet."""
        try:
            wanted = await self._nodes.wanted(self._cluster, due.digest, site.architectures)
        except ClusterError as error:
            self._under_way.mind(error)
            return None
        if not room.takes(len(wanted.architectures)):
            return None
        deadline_at = now + self._limits.timeout

        def write(connection: Connection) -> bool:
            if not probes.begin(connection, due.id, now):
                return False
            holders = wanted.holders | pods.holders(connection, self._name, due.digest)
            for architecture in wanted.architectures:
                made = pods.Made(
                    name=pods_of.new_name(os.urandom(8)),
                    namespace=self._namespace,
                    image=site.image(due),
                    architecture=architecture,
                    deadline_at=deadline_at,
                    holders=holders,
                )
                pods.make(connection, due.id, self._name, due.destination_id, made, now)
            if due.asked or not due.tried:
                words = f"A pod in {self._name} is to pull {site.image(due)}."
                probes.tell(connection, due.id, "probe", words, now)
            return True

        if not await self._database.write(write):
            return 0
        begun = await self._database.read(lambda c: pods.of_last(c, due.id))
        await self._under_way.make(begun)
        return len(begun)

    async def _tell(self, sites: Mapping[int, Site], trouble: Sequence[ClusterError]) -> None:
        now = self._clock.now()

        queue = await self._database.read(lambda c: probes.queue(c, list(sites), now))
        room = await self._room(now)
        figures = ClusterFigures(
            up=not any(map(is_away, trouble)),
            waiting=queue.waiting,
            oldest_at=queue.oldest_at,
            under_way=room.under_way,
            budget_left=room.budget_left,
        )
        names = {one.destination.name for one in sites.values()}
        await self._telling.stands(figures, names, trouble)
