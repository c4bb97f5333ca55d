"""One destination as an OCI registry: in comes a reference, out goes an observation of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from syncwatch.errors import MalformedError, OutboundError
from syncwatch.model import SECOND, Held, Level, Observation, Reason
from syncwatch.verify.authentication import Authentication
from syncwatch.verify.links import read_tags
from syncwatch.verify.look import Depth, Look
from syncwatch.verify.passing import Passing
from syncwatch.verify.trail import origin_of
from syncwatch.verify.visit import Registry, Visit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from syncwatch.model import Millis
    from syncwatch.outbound import Outbound

LOOK_SECONDS = 300.0
"""How long one look may take with all that is below it; each request has its own timeout."""

FULL_LOOK_SECONDS = 24 * 3600.0
"""The same where every byte is read within a bandwidth budget."""


class RegistryClient:
    """Looks at one destination, over one `Outbound`, with one credential.

    `url` is the registry's base; `credentials` gives user name and password at each use, or None;
    `forget` has its files read again after a 401. `clock` gives milliseconds; `token_realms`
    are hosts outside the registry's domain that may be sent its credential for a token;
    `is_harbor` says that its projects may be proxy caches.
    """

    def __init__(
        self,
        *,
        url: str,
        outbound: Outbound,
        credentials: Callable[[], tuple[str, str] | None],
        clock: Callable[[], Millis],
        token_realms: Sequence[str] = (),
        forget: Callable[[], None] = lambda: None,
        is_harbor: bool = False,
    ) -> None:
        self.quiet_until: Millis = 0
        """Until when the registry asked to be left alone (its last Retry-After); 0 for never."""
        self.quiet_because = Reason.RATE_LIMITED
        """What it said as it asked for that."""
        url = url.rstrip("/")
        authentication = Authentication(
            url=url,
            credentials=credentials,
            clock=clock,
            token_realms=token_realms,
            forget=forget,
        )
        self._registry = Registry(
            url, origin_of(url), outbound, authentication, clock, self._be_quiet_for
        )
        self._passing = Passing(self._registry, is_harbor=is_harbor)

    async def look(
        self,
        repository: str,
        reference: str,
        digests: Collection[str],
        level: Level = Level.MATCHED,
        depth: Depth | None = None,
    ) -> Observation:
        """One look at a reference, for expectations that want `digests`; never raises an error.

        `reference` is a tag or a digest; `depth`, where given, says more than a mere `level`. What
        kept us from seeing is the observation's `problem`.
        """
        visit = Visit(self._registry, repository)
        look = Look(visit, depth or Depth(level))
        began_at = self._registry.clock()
        within = LOOK_SECONDS if not look.depth.full else FULL_LOOK_SECONDS
        trouble = await self._trouble(look.see(reference, digests), within)
        if trouble is not None and trouble.kind == "unauthorized" and await self._nowhere(visit):
            look.held, trouble = dict.fromkeys(digests, Held.ABSENT), None
        return Observation(
            began_at,
            self._registry.clock(),
            served=look.served,
            held=look.held,
            flaws=look.flaws,
            level=look.level,
            problem=Reason(trouble.kind) if trouble else None,
            detail=str(trouble) if trouble else "; ".join(look.words),
            requests=tuple(visit.trail.requests),
            proven=frozenset(look.proven),
            altered=frozenset(look.altered),
            accessories=look.accessories,
            content=look.content,
        )

    async def _nowhere(self, visit: Visit) -> bool:
        try:
            return await self._passing.is_nowhere(visit)
        except OutboundError:
            return False

    async def look_through(self, repository: str) -> Observation | None:
        """Why no look may be taken there; None if it may.

        A look at a cache would create what it looks for (`pull_through`), and one that cannot be
        asked whether it is one may be. To be asked before `look`; the answer is kept for a while.
        """
        visit = Visit(self._registry, repository)
        began_at = self._registry.clock()
        words: list[str] = []

        async def ask() -> None:
            words.append(await self._passing.words(visit))

        trouble = await self._trouble(ask())
        if trouble is None and not words[0]:
            return None
        return Observation(
            began_at,
            self._registry.clock(),
            problem=Reason(trouble.kind) if trouble else Reason.PULL_THROUGH,
            detail=str(trouble) if trouble else f"{self._registry.place}: {words[0]}",
            requests=tuple(visit.trail.requests),
        )

    async def ping(self) -> Observation:
        """Whether the registry can be asked and takes the credential; `problem` says why not.

        A registry that takes no anonymous user here may still let one pull, so that without a
        credential a demand for a token is no problem.
        """
        visit = Visit(self._registry, "")
        began_at = self._registry.clock()
        trouble = await self._trouble(visit.knock())
        return Observation(
            began_at,
            self._registry.clock(),
            problem=Reason(trouble.kind) if trouble else None,
            detail=str(trouble) if trouble else "",
            requests=tuple(visit.trail.requests),
        )

    async def tags(self, repository: str) -> list[str]:
        """The tags of a repository, none where it is not there. Raises OutboundError."""
        visit = Visit(self._registry, repository)
        pages: list[bytes] = []

        async def ask() -> None:
            pages.extend(await visit.tags())

        if (trouble := await self._trouble(ask())) is not None:
            raise trouble
        try:
            return [tag for page in pages for tag in read_tags(page)]
        except MalformedError as error:
            raise visit.unreadable(error.message) from None

    async def _trouble(
        self, seeing: Awaitable[None], within: float = LOOK_SECONDS
    ) -> OutboundError | None:
        try:
            async with asyncio.timeout(within):
                await seeing
        except OutboundError as error:
            if error.retry_after is not None:
                self._be_quiet_for(error.retry_after, Reason(error.kind))
            return error
        except TimeoutError:
            words = f"{self._registry.place}: a look was not done within {within:g} s"
            return OutboundError("unreachable", words)
        return None

    def _be_quiet_for(self, seconds: float, because: Reason = Reason.RATE_LIMITED) -> None:
        self.quiet_because = because
        self.quiet_until = self._registry.clock() + int(seconds * SECOND)
