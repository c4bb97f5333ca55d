"""One destination's side: look at what is wished for, over one pool of connections.

A destination that cannot be asked at all is not asked for each image: after a few looks in a row
that met trouble its root decides, and the rest is unknown for that reason.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from syncwatch.check.judging import (
    matched_by_name,
    moving,
    outcome_of,
    source_unread,
    verdict_on,
    wants_source,
)
from syncwatch.check.naming import Names
from syncwatch.check.proofs import Proofs
from syncwatch.errors import OutboundError
from syncwatch.model import MINUTE, SECOND, Level, Observation, Reason
from syncwatch.outbound import Outbound
from syncwatch.verify.look import Depth
from syncwatch.verify.registry import RegistryClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from syncwatch.check.judging import Outcome
    from syncwatch.check.listing import Harbor
    from syncwatch.check.scope import Destination, Wish
    from syncwatch.config import DestinationSettings
    from syncwatch.model import Millis, Verdict

MOVES = 3
"""A tag that moved so often while we looked is left alone."""

PATIENCE = MINUTE
"""How long a registry's Retry-After is waited for (milliseconds)."""

TRIES = 3
"""After so many looks in a row that met trouble the destination's root is asked."""

AWAY = frozenset({Reason.UNREACHABLE, Reason.TLS_ERROR})
"""Problems of the root that may pass within seconds."""

PASSING = AWAY | {Reason.SERVER_ERROR, Reason.RATE_LIMITED}
"""Problems of a name for which it is asked once more."""

TROUBLE = PASSING | {Reason.UNREADABLE_ANSWER, Reason.UNAUTHORIZED, Reason.FORBIDDEN}
"""Problems of a name that may be the destination's."""

KNOCKS = (0.0, 0.5, 1.5)
"""Seconds before each question to the root of a destination in trouble."""


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
        access: dict[str, Any] = {
            "url": settings.url or destination.url,
            "outbound": self._outbound,
            "credentials": lambda: credential.login() if credential else None,
            "clock": clock,
            "token_realms": settings.token_realms,
            "forget": credential.forget if credential else lambda: None,
        }
        self._client = RegistryClient(**access, is_harbor=destination.type == "harbor")
        self._names = Names(**access) if manner.quick else None
        self._ordinary: set[str] = set()
        self._proofs = Proofs()
        self._failures = 0
        self._knocking = asyncio.Lock()
        self._away: Observation | None = None

    async def close(self) -> None:
        """Give the connections back."""
        await self._outbound.close()

    async def outcome(self, wish: Wish) -> Outcome | None:
        """What is true of an image there; None for what the source no longer has."""
        for _ in range(MOVES):
            if self._names is not None and await self._agree(self._names, wish):
                return matched_by_name(wish)
            seen = await self._seen(wish)
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

    async def _agree(self, names: Names, wish: Wish) -> bool:
        """Whether the name means the digest there; False also where that is not known."""
        await self._be_patient()
        place = wish.there.partition("/")[0]
        if place not in self._ordinary:
            if self._away is not None or await self._client.look_through(wish.there) is not None:
                return False
            self._ordinary.add(place)
        return self._away is None and await names.agree(wish.there, wish.reference, wish.digest)

    async def _seen(self, wish: Wish) -> Observation:
        """A look, taken twice where it met trouble that may pass."""
        for last in (False, True):
            await self._be_patient()
            if self._away is not None:
                return self._unasked(self._away)
            seen = await self._look(wish)
            if seen.problem not in TROUBLE:
                self._failures = 0
                return seen
            self._failures += 1
            if self._failures >= TRIES:
                await self._knock()
            if last or seen.problem not in PASSING:
                break
        return seen

    async def _look(self, wish: Wish) -> Observation:
        through = await self._client.look_through(wish.there)
        if through is not None:
            return through
        claim, proven = self._proofs.claim(wish.there), frozenset[str]()
        depth = Depth(self._level, known=claim.known, platforms=self._platforms)
        try:
            seen = await self._client.look(wish.there, wish.reference, {wish.digest}, depth=depth)
            proven = seen.proven
        finally:
            claim.release(proven)
        return seen

    async def _be_patient(self) -> None:
        """Wait while it wants to be left alone; one that wants that for long is not asked again."""
        now, client, names = self._clock(), self._client, self._names
        wait = max(client.quiet_until, names.quiet_until if names is not None else 0) - now
        if wait > PATIENCE and self._away is None:
            words = f"it asked to be left alone for {wait / SECOND:.0f} s"
            self._away = Observation(now, now, problem=client.quiet_because, detail=words)
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
