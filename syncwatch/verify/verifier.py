"""The loop of one destination: look at what is due, write down what was seen, and the verdicts.

Comes in: rows that are due. Goes out: observations and changed rows. Each destination has a loop
and connections of its own, so one that is dead delays no other. While a destination cannot be
reached at all, one look in a while stands for all that is due there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Protocol

from syncwatch.budget import Budget
from syncwatch.model import HOUR, MINUTE, SECOND, Level, Millis, Observation, Reason
from syncwatch.runtime import log
from syncwatch.store import looks, policies, proofs
from syncwatch.verify import due as dues
from syncwatch.verify.auditing import Audit
from syncwatch.verify.judging import Judged, Terms, judge_name
from syncwatch.verify.look import Depth
from syncwatch.verify.orphans import Orphans
from syncwatch.verify.telling import Telling
from syncwatch.verify.walk import Vouched

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import Connection

    from syncwatch.model import Change
    from syncwatch.runtime import Clock, Signals
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination
    from syncwatch.verify.due import Due

JUDGED_AT_ONCE = 20
"""Names judged in one transaction where no look was needed."""

TRIES = 3
"""After so many looks in a row that met trouble the destination's root is asked."""

AWAY = frozenset({Reason.UNREACHABLE, Reason.TLS_ERROR})
"""Problems of the root with which no look is worth its request."""

TROUBLE = AWAY | {
    Reason.SERVER_ERROR,
    Reason.UNREADABLE_ANSWER,
    Reason.UNAUTHORIZED,
    Reason.FORBIDDEN,
}
"""Problems of a name that may be the destination's."""

SETTLE_SECONDS = 2.0
"""How long a stop waits for verdicts that are being written; a lease lasts longer."""

PING_EVERY = MINUTE
STALE_EVERY = SECOND
LONGEST = 5.0
"""Seconds between turns at most; a wake-up makes one at once."""


class Looks(Protocol):
    """What the verifier needs of a registry client."""

    quiet_until: Millis
    """Until when it asked to be left alone (Retry-After)."""
    quiet_because: Reason
    """What it said as it asked for that."""

    async def look(
        self,
        repository: str,
        reference: str,
        digests: Collection[str],
        level: Level = Level.MATCHED,
        depth: Depth | None = None,
    ) -> Observation:
        """What one name there holds."""
        ...

    async def look_through(self, repository: str) -> Observation | None:
        """Why a look would create what it looks for; None if it would not."""
        ...

    async def ping(self) -> Observation:
        """Whether it can be asked at all; only `problem` is of interest."""
        ...

    async def tags(self, repository: str) -> list[str]:
        """All tags of a repository; raises OutboundError."""
        ...


@dataclass(frozen=True, slots=True)
class Manner:
    """How a destination wants to be looked at.

    `recheck_per_minute` looks at what is verified, none of them within `recheck_after`
    (milliseconds) of the one before; `platforms` have to be there of an index (none named: all).
    `conditional` says that it answers 304 from the tag itself, so that it proves what that names.
    A blob that was proven is not asked for again within `proofs_kept` (milliseconds). `cluster` is
    the one that pulls from it.
    Every byte is hashed once in `full_check_every` (milliseconds; 0 for never).
    """

    concurrency: int = 8
    recheck_per_minute: int = 60
    recheck_after: Millis = 10 * SECOND
    platforms: tuple[str, ...] = ()
    conditional: bool = False
    proofs_kept: Millis = 24 * HOUR
    full_check_every: Millis = 0
    full_check_bytes_per_second: int = 1
    cluster: str = ""


class Verifier:
    """Verifies at one destination.

    `terms` is asked at each turn; `wrong_address` says why a look would prove nothing, if so.
    `publish` is told what changed, `up(destination id, bool)` whether it can be asked.
    """

    def __init__(
        self,
        *,
        destination: Destination,
        client: Looks,
        database: Database,
        clock: Clock,
        signals: Signals,
        terms: Callable[[], Terms],
        manner: Manner,
        publish: Callable[[Sequence[Change]], None],
        up: Callable[[int, bool], None],
        wrong_address: str = "",
    ) -> None:
        self._destination = destination
        self._client = client
        self._database = database
        self._clock = clock
        self._signals = signals
        self._terms = terms
        self._manner = manner
        self._budget = Budget(manner.recheck_per_minute, clock.now())
        self._publish = publish
        self._wrong_address = wrong_address
        self._looking: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._settling: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._trials = 0
        self._conditional_next = False
        self._away: Observation | None = None
        self._again_at: Millis = 0
        self._asked_at: Millis = 0
        self._telling = Telling(destination=destination, database=database, clock=clock, up=up)
        self._audit = Audit(
            destination_id=destination.id,
            every=manner.full_check_every,
            bytes_per_second=manner.full_check_bytes_per_second,
            database=database,
            clock=clock,
            look=self._fully,
        )
        self._orphans = Orphans(
            destination=destination, client=client, database=database, clock=clock
        )
        self._auditing: asyncio.Task[bool] | None = None
        self._audit_at: Millis = 0
        self._stale_at: Millis = 0

    @property
    def loop_name(self) -> str:
        """The name by which `Signals` and `Pulse` know this loop."""
        return f"verify {self._destination.id}"

    async def turn(self) -> float:
        """Start looks for what is due; seconds until something may be due again."""
        now = self._clock.now()
        await self._judge_stale(now)
        await self._telling.came_and_went(again=False)
        due, upcoming = await self._database.read(partial(self._due, now))
        due = [one for one in due if one.name not in self._looking]
        if not due:
            return min(_seconds_until(upcoming, now), await self._rest(now))
        if self._wrong_address:
            await self._judge_unseen(due, self._unlooked(now))
        elif now < self._client.quiet_until:
            await self._judge_unseen(due, self._asked_to_wait(now))
        elif self._away is not None and now < self._again_at:
            await self._judge_unseen(due, replace(self._away, began_at=now, at=now))
        elif self._away is not None:
            # One question to the root is the trial: a name may be bad by itself.
            await self._learn(await self._client.ping())
        else:
            self._start(due)
            # A look that ends wakes this loop for what had no turn.
            return min(_seconds_until(upcoming, now), await self._recheck(now))
        return 0.0

    def _due(self, now: Millis, connection: Connection) -> tuple[list[Due], Millis | None]:
        """By turns what somebody waits for and what is due: neither keeps the other waiting."""
        due, upcoming = dues.due(connection, self._destination.id, now)
        asked = dues.waited_for(connection, self._destination.id, now)
        by_turns = [one for pair in zip_longest(asked, due) for one in pair if one is not None]
        names: dict[tuple[str, str], Due] = {}
        for one in [*by_turns, *asked]:
            names[one.name] = one if one.waited_for else names.get(one.name, one)
        return list(names.values()), upcoming

    async def _rest(self, now: Millis) -> float:
        """Nothing is due: look again at what is verified, within the budget, or just knock."""
        if self._wrong_address or now < self._client.quiet_until:
            return LONGEST
        wait = await self._recheck(now) if self._away is None else LONGEST
        self._keep_auditing(now)
        if self._away is None and not self._looking and self._budget.left(now) >= 1:
            self._budget.spend(1)
            wait = min(wait, self._budget.pause) if await self._orphans.next() else wait
        if not self._looking and now - self._asked_at >= PING_EVERY:
            await self._learn(await self._client.ping())
        return wait

    async def _recheck(self, now: Millis) -> float:
        """Start what the budget allows, the oldest first; seconds until it may allow more.

        Half of the turns at most: what was just pushed finds one free.
        """
        most = max(1, self._manner.concurrency // 2) - len(self._looking)
        allowed = min(most, self._budget.left(now))
        if allowed <= 0:
            return self._budget.pause
        before = now - self._manner.recheck_after
        found, oldest = await self._database.read(
            lambda c: dues.resting(c, self._destination.id, before, allowed)
        )
        found = [one for one in found if one.name not in self._looking]
        self._budget.spend(len(found))
        self._start(found)
        if found or oldest is None:
            return self._budget.pause if found else LONGEST
        return _seconds_until(oldest + self._manner.recheck_after, now)

    def _keep_auditing(self, now: Millis) -> None:
        """One full check at a time, beside everything else; what failed is tried in a while."""
        every, task = self._manner.full_check_every, self._auditing
        if not every or self._away is not None or now < self._audit_at:
            return
        if task is not None and not task.done():
            return
        if task is not None and (error := task.exception()) is not None:
            log.warning("full_check_failed", loop=self.loop_name, error=type(error).__name__)
        if task is not None and (error or not task.result()):
            self._auditing, self._audit_at = None, now + min(every, MINUTE)
            return
        self._auditing = asyncio.create_task(self._audit.next(), name="full check")
        self._auditing.add_done_callback(lambda _: self._signals.wake(self.loop_name))

    async def _fully(self, due: Due, depth: Depth) -> Observation:
        through = await self._client.look_through(due.repository)
        depth = replace(depth, platforms=self._manner.platforms)
        return through or await self._client.look(
            due.repository, due.reference, due.digests, depth=depth
        )

    async def _judge_stale(self, now: Millis) -> None:
        """Evidence too old is said to be, whether or not a look is possible."""
        if now < self._stale_at:
            return
        before = now - self._terms().stale_after
        old = await self._database.read(lambda c: dues.stale(c, self._destination.id, before))
        if old:
            words = "it was not looked at again in time"
            seen = Observation(now, now, problem=Reason.UNOBSERVED, detail=words)
            await self._judge_unseen(old, seen)
        self._stale_at = now if len(old) >= dues.TAKEN else now + STALE_EVERY

    async def stop(self) -> None:
        """End the looks under way; what they would have seen is due again after a restart."""
        tasks = [*self._looking.values(), *([self._auditing] if self._auditing else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._settling:
            await asyncio.wait(self._settling, timeout=SETTLE_SECONDS)

    def _start(self, due: Sequence[Due]) -> None:
        for one in due[: max(0, self._manner.concurrency - len(self._looking))]:
            task = asyncio.create_task(self._look(one), name=f"look {one.reference}")
            self._looking[one.name] = task
            task.add_done_callback(partial(self._looked, one.name))

    def _looked(self, name: tuple[str, str], task: asyncio.Task[None]) -> None:
        self._looking.pop(name, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("look_failed", loop=self.loop_name, error=type(error).__name__)
        self._signals.wake(self.loop_name)

    async def _look(self, due: Due) -> None:
        depth = Depth(
            level=due.level,
            known=partial(self._vouched, due),
            conditional=self._may_be_conditional(due),
            platforms=self._manner.platforms,
            accessories=due.accessories,
        )
        through = await self._client.look_through(due.repository)
        await self._telling.passed_through(due.repository.partition("/")[0], through)
        seen = through or await self._client.look(
            due.repository, due.reference, due.digests, depth=depth
        )
        await self._learn(seen, due.reference)
        await self._judge([due], seen, keep=True)

    def _may_be_conditional(self, due: Due) -> bool:
        """Every other re-check: a cache in front that answers 304 by itself is found out soon."""
        self._conditional_next = not self._conditional_next
        return self._manner.conditional and due.at_rest and self._conditional_next

    async def _vouched(self, due: Due, digests: Collection[str]) -> Vouched:
        """Blobs that were proven lately, and since Harbor last touched what was proven."""
        good = self._clock.now() - self._manner.proofs_kept

        def read(connection: Connection) -> proofs.Kept:
            since, one = max(good, due.proofs_since), self._destination
            if due.proved:
                skew = policies.used_skew(policies.harbor_row(connection, one.harbor).skew)
                touched = proofs.good_since(connection, one.harbor, due.repository, skew)
                since = max(since, touched)
            return proofs.known(connection, one.id, due.repository, digests, since)

        kept = await self._database.read(read)
        return Vouched(kept.proven, kept.altered)

    async def _learn(self, seen: Observation, name: str = "") -> None:
        """What a look at a name (or at the root) tells of the destination as a whole.

        Names may be bad by themselves: after some looks in a row that met trouble the root is
        asked whether it is the destination's.
        """
        now = self._asked_at = self._clock.now()
        self._failures = self._failures + 1 if seen.problem in TROUBLE else 0
        if name and self._failures and self._failures % TRIES == 0:
            seen, name = await self._client.ping(), ""
        if not name and seen.problem in AWAY and (self._away or self._failures >= TRIES):
            self._trials += 1
            self._away = seen
            self._again_at = now + min(SECOND << min(self._trials - 1, 6), MINUTE)
        elif not name or seen.problem not in AWAY:
            self._trials, self._away = 0, None
        await self._telling.asked(seen, of_one=bool(name))

    async def _judge_unseen(self, due: Sequence[Due], seen: Observation) -> None:
        for begin in range(0, len(due), JUDGED_AT_ONCE):
            await self._judge(due[begin : begin + JUDGED_AT_ONCE], seen, keep=False)

    async def _judge(self, due: Sequence[Due], seen: Observation, *, keep: bool) -> None:
        """Write the verdicts and tell of them: both, also where the look is ended between."""
        settling = asyncio.create_task(self._settle(due, seen, keep=keep), name="verdicts")
        self._settling.add(settling)
        settling.add_done_callback(self._settled)
        await asyncio.shield(settling)

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._settling.discard(task)
        # Whoever waited for it may have been ended.
        if not task.cancelled():
            task.exception()

    async def _settle(self, due: Sequence[Due], seen: Observation, *, keep: bool) -> None:
        terms, now = self._terms(), self._clock.now()

        def write(connection: Connection) -> list[Judged]:
            self._answer([one for one in due if one.waited_for], seen, connection)
            return [
                judge_name(
                    connection,
                    self._destination,
                    one.name,
                    seen,
                    terms,
                    now,
                    keep=keep,
                    asked=one.proofs_since,
                )
                for one in due
            ]

        judged = await self._database.write(write)
        self._publish([change for one in judged for change in one.changes])
        if any(one.flapping for one in judged):
            await self._telling.came_and_went(again=True)
        if any(one.ask_source for one in judged):
            self._signals.wake(f"plan {self._destination.harbor}")
        if any(one.probe for one in judged):
            self._signals.wake(f"probe {self._manner.cluster}")

    def _answer(self, asked: Sequence[Due], seen: Observation, connection: Connection) -> None:
        for one in asked:
            answered = looks.Answered(one.waited_for, seen.problem, seen.detail)
            looks.answer(connection, (self._destination.id, *one.name), answered)

    def _asked_to_wait(self, now: Millis) -> Observation:
        seconds = (self._client.quiet_until - now) / SECOND
        detail = f"it asked to be left alone for {seconds:.0f} s more"
        return Observation(now, now, problem=self._client.quiet_because, detail=detail)

    def _unlooked(self, now: Millis) -> Observation:
        return Observation(now, now, problem=Reason.UNOBSERVED, detail=self._wrong_address)


def _seconds_until(upcoming: Millis | None, now: Millis) -> float:
    return LONGEST if upcoming is None else min((upcoming - now) / SECOND, LONGEST)
