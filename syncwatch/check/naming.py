"""What tags mean at one registry, by one HEAD each: the quick way.

It only says yes. Whatever else the answer is (another digest, none, trouble) is left to a look,
which finds the right words for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncwatch.errors import OutboundError
from syncwatch.model import SECOND
from syncwatch.verify.authentication import Authentication
from syncwatch.verify.passing import NOBODY
from syncwatch.verify.trail import origin_of
from syncwatch.verify.visit import Registry, Visit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from syncwatch.model import Millis
    from syncwatch.outbound import Outbound

PLAIN_EVERY = 50
"""One HEAD of so many may not be answered by 304."""


class Names:
    """Compares what names mean at one registry, over its `Outbound`.

    HEAD is sent with If-None-Match of the digest that is hoped for: docker-registry answers it 304
    from the tag's own file, before it reads the manifest (distribution, registry/handlers/
    manifests.go), which costs it less. So that nobody answers 304 to everything, this begins once
    a digest which cannot be met was answered with the right one, and that is tried now and then.
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
    ) -> None:
        self.quiet_until: Millis = 0
        """Until when the registry asked to be left alone; 0 for never."""
        url = url.rstrip("/")
        authentication = Authentication(
            url=url,
            credentials=credentials,
            clock=clock,
            token_realms=token_realms,
            forget=forget,
        )
        self._clock = clock
        self._registry = Registry(
            url, origin_of(url), outbound, authentication, clock, self._be_quiet_for
        )
        self._asked = 0
        self._honest = False

    async def agree(self, repository: str, tag: str, digest: str) -> bool:
        """Whether the tag is known to name that digest there."""
        self._asked += 1
        plain = not self._honest or self._asked % PLAIN_EVERY == 0
        visit = Visit(self._registry, repository)
        try:
            found = await visit.head(tag, but=NOBODY if plain else digest)
        except OutboundError as error:
            if error.retry_after is not None:
                self._be_quiet_for(error.retry_after)
            return False
        good = found is not None and found.named == digest
        if plain:
            self._honest = good
        return good

    def _be_quiet_for(self, seconds: float) -> None:
        self.quiet_until = self._clock() + int(seconds * SECOND)
