"""One destination's side: look at what is wished for, over one pool of connections.

A destination that cannot be asked at all is not asked for each image: after a few looks in a row
that met trouble its root decides, and the rest is unknown for that reason.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from syncwatch.check.judging import (
    matched_by_name,
    moving,
    outcome_of,
    source_unread,
    verdict_on,
    wants_source,
)
from syncwatch.errors import OutboundError
from syncwatch.model import MINUTE, SECOND, Level, Observation, Reason
from syncwatch.outbound import Outbound
from syncwatch.verify.look import Depth
from syncwatch.verify.registry import RegistryClient
from syncwatch.verify.verifier import AWAY, TRIES, TROUBLE
from syncwatch.verify.walk import Vouched

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from syncwatch.check.judging import Outcome
    from syncwatch.check.listing import Harbor
    from syncwatch.check.scope import Wish
    from syncwatch.config import DestinationSettings
    from syncwatch.model import Millis, Verdict
    from syncwatch.store.policies import Destination

MOVES = 3
"""A tag that moved so often while we looked is left alone."""

PATIENCE = MINUTE
"""How long a registry's Retry-After is waited for (milliseconds)."""

KNOCKS = (0.0, 1.0, 3.0)
"""Seconds before each question to the root of a destination in trouble."""

PROVEN = 50_000
"""Layers remembered as proven; beyond it the memory begins anew."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How to look, where it is not as the settings say.

    `level` and `concurrency` None are those of each destination. With `quick` only what the name
    means there is asked (one HEAD), and the rest where that is not what it should be.
    """

    level: Level | None = None
    quick: bool = False
    concurrency: int | None = None


class Place:
    """One destination that is being compared; `harbor` reads the source again where need be."""

    def __init__(
        self,
        *,
        destination: Destination,
        settings: DestinationSettings,
        manner: Manner,
        harbor: Harbor,
        clock: Callable[[], Millis],
    ) -> None:
        self.concurrency = manner.concurrency or settings.concurrency
        self.queue: asyncio.Queue[Wish | None] = asyncio.Queue(4 * self.concurrency)
        self._level = Level.MATCHED if manner.quick else manner.level or settings.level
        self._quick = manner.quick
        self._platforms = settings.platforms
        self._harbor = harbor
        self._clock = clock
        self._outbound = Outbound(
            timeout=settings.timeout.total_seconds(),
            concurrency=self.concurrency,
            ca_file=settings.ca_file,
            insecure_skip_verify=settings.insecure_skip_verify,
        )
        credential = settings.credential
        self._client = RegistryClient(
            url=settings.url or destination.url,
            outbound=self._outbound,
            credentials=lambda: credential.login() if credential else None,
            clock=clock,
            token_realms=settings.token_realms,
            forget=credential.forget if credential else lambda: None,
            is_harbor=destination.type == "harbor",
        )
        self._proven: dict[str, set[str]] = {}
        self._kept = 0
        self._failures = 0
        self._knocking = asyncio.Lock()
        self._away: Observation | None = None

    async def close(self) -> None:
        """Give the connections back."""
        await self._outbound.close()

    async def outcome(self, wish: Wish) -> Outcome | None:
        """What is true of an image there; None for what the source no longer has."""
        for _ in range(MOVES):
            seen = await self._seen(wish)
            if self._quick and seen.problem is None and seen.served == wish.digest:
                return matched_by_name(wish)
            if self._quick and seen.problem is None:
                seen = await self._seen(wish, whole=True)
            verdict = verdict_on(wish, seen, self._level)
            if not wants_source(wish, verdict, seen):
                return outcome_of(wish, seen, verdict)
            try:
                source, pushed_at = await self._harbor.read_again(wish)
            except OutboundError as error:
                if verdict.ask_source:
                    return source_unread(wish, error)
                return outcome_of(wish, seen, verdict)
            if source.digest is None:
                return None
            if source.digest == wish.digest:
                rivals = await self._rivals(wish, verdict)
                final = verdict_on(wish, seen, self._level, source, rivals)
                return outcome_of(wish, seen, final)
            wish = wish.renewed(source.digest, pushed_at, source.read_at)
        return moving(wish)

    async def _rivals(self, wish: Wish, verdict: Verdict) -> frozenset[str]:
        """What other repositories bring to the same name there."""
        found = set()
        if verdict.ask_source:
            for repository in self._harbor.rivals_of(wish):
                try:
                    source, _ = await self._harbor.read_again(replace(wish, repository=repository))
                except OutboundError:
                    continue
                found.add(source.digest)
        return frozenset(one for one in found if one is not None)

    async def _seen(self, wish: Wish, *, whole: bool = False) -> Observation:
        """A look, taken twice where it met trouble that may pass."""
        for last in (False, True):
            await self._be_patient()
            if self._away is not None:
                return self._unasked(self._away)
            seen = await self._look(wish, whole=whole or not self._quick)
            if seen.problem not in TROUBLE and seen.problem is not Reason.RATE_LIMITED:
                self._failures = 0
                return seen
            self._failures += 1
            if self._failures >= TRIES:
                await self._knock()
            if last or seen.problem not in AWAY | {Reason.SERVER_ERROR, Reason.RATE_LIMITED}:
                break
        return seen

    async def _look(self, wish: Wish, *, whole: bool) -> Observation:
        through = await self._client.look_through(wish.there)
        if through is not None:
            return through
        if not whole:
            return await self._client.look(wish.there, wish.reference, ())
        proven = self._proven.setdefault(wish.there, set())

        async def known(digests: Collection[str]) -> Vouched:
            return Vouched(proven.intersection(digests))

        depth = Depth(self._level, known=known, platforms=self._platforms)
        seen = await self._client.look(wish.there, wish.reference, {wish.digest}, depth=depth)
        proven |= seen.proven
        self._kept += len(seen.proven)
        if self._kept > PROVEN:
            self._proven, self._kept = {}, 0
        return seen

    async def _be_patient(self) -> None:
        """Wait while it wants to be left alone; one that wants that for long is not asked again."""
        now = self._clock()
        wait = self._client.quiet_until - now
        if wait > PATIENCE and self._away is None:
            words = f"it asked to be left alone for {wait / SECOND:.0f} s"
            self._away = Observation(now, now, problem=self._client.quiet_because, detail=words)
        elif wait > 0 and self._away is None:
            await asyncio.sleep(wait / SECOND)

    async def _knock(self) -> None:
        """Find out whether it is the destination that cannot be asked, or only some names."""
        async with self._knocking:
            if self._away is not None or self._failures < TRIES:
                return
            for pause in KNOCKS:
                await asyncio.sleep(pause)
                seen = await self._client.ping()
                if seen.problem is None:
                    self._failures = 0
                    return
                if seen.problem not in AWAY:
                    break
            self._away = seen

    def _unasked(self, away: Observation) -> Observation:
        now = self._clock()
        return replace(away, began_at=now, at=now, requests=())
