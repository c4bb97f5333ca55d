"""The full check: every byte of what is verified, hashed, within a bandwidth budget.

Comes in: verified images, longest not hashed first. Goes out: suspicion only. A blob that does not
hash to its digest is remembered as altered, and its image is due: the look that follows hashes
that blob again, and judges. What was read minutes ago is no verdict by itself.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from syncwatch.model import Level
from syncwatch.store import proofs
from syncwatch.store.schema import expectations as rows
from syncwatch.store.schema import subjects as subject_rows
from syncwatch.verify import due as dues
from syncwatch.verify.look import Depth
from syncwatch.verify.walk import Vouched

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from sqlalchemy import Connection

    from syncwatch.model import Millis, Observation
    from syncwatch.runtime import Clock
    from syncwatch.store.database import Database
    from syncwatch.verify.due import Due

    Look = Callable[[Due, Depth], Awaitable[Observation]]

REMEMBERED = 100_000
"""How many hashed blobs are remembered, so that layers which images share are read once."""


class Pace:
    """So many bytes a second, on average."""

    def __init__(self, bytes_per_second: int) -> None:
        self._seconds_a_byte = 1 / bytes_per_second
        self._next_at = 0.0

    async def __call__(self, received: int) -> None:
        """Returns when more bytes are welcome, after so many came."""
        now = time.monotonic()
        self._next_at = max(self._next_at, now) + received * self._seconds_a_byte
        if self._next_at > now:
            await asyncio.sleep(self._next_at - now)


class Audit:
    """The full check of one destination: one image at a time, each once in `every` milliseconds."""

    def __init__(
        self,
        *,
        destination_id: int,
        every: Millis,
        bytes_per_second: int,
        database: Database,
        clock: Clock,
        look: Look,
    ) -> None:
        self._destination_id = destination_id
        self._every = every
        self._pace = Pace(bytes_per_second)
        self._database = database
        self._clock = clock
        self._look = look
        self._hashed: dict[tuple[str, str], Millis] = {}

    async def next(self) -> bool:
        """Check the image that waits longest; False where none does."""
        now = self._clock.now()
        due = await self._database.read(
            lambda c: dues.unhashed(c, self._destination_id, now - self._every)
        )
        if due is None:
            return False
        depth = Depth(
            level=Level.READABLE,
            known=partial(self._vouched, due.repository),
            full=True,
            pace=self._pace,
        )
        seen = await self._look(due, depth)
        self._remember(due.repository, seen.proven)
        suspicious = seen.problem is None and seen.level is not Level.READABLE
        await self._database.write(
            lambda c: _keep(c, self._destination_id, due, seen, suspicious=suspicious)
        )
        return True

    async def _vouched(self, repository: str, digests: Collection[str]) -> Vouched:
        since = self._clock.now() - self._every
        lately = {one for one in digests if self._hashed.get((repository, one), -1) >= since}
        return Vouched(proven=lately)

    def _remember(self, repository: str, digests: Collection[str]) -> None:
        now = self._clock.now()
        self._hashed |= {(repository, digest): now for digest in digests}
        while len(self._hashed) > REMEMBERED:
            del self._hashed[next(iter(self._hashed))]


def _keep(
    connection: Connection,
    destination_id: int,
    due: Due,
    seen: Observation,
    *,
    suspicious: bool,
) -> None:
    place = (connection, destination_id, due.repository)
    proofs.add(*place, seen.proven, seen.began_at)
    proofs.add(*place, seen.altered, seen.began_at, altered=True)
    # What met a problem is tried again after the others, not at once.
    values = {"hashed_at": seen.at} | ({"due_at": seen.at} if suspicious else {})
    here = select(subject_rows.c.newest_id).where(
        subject_rows.c.destination_id == destination_id,
        subject_rows.c.repository == due.repository,
        subject_rows.c.reference == due.reference,
    )
    connection.execute(update(rows).where(rows.c.id.in_(here)).values(**values))
