"""Tags of a destination that the source does not have: copies of what was deleted, mostly.

Comes in: repositories that the sweep asked for. Goes out: one finding for the destination. A list
costs it one request for a thousand tags, out of the budget of re-checks; nothing is judged by it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from syncwatch.errors import OutboundError
from syncwatch.model import MINUTE, Finding, Severity
from syncwatch.store import findings, orphans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from syncwatch.runtime import Clock
    from syncwatch.store.database import Database
    from syncwatch.store.orphans import Orphaned
    from syncwatch.store.policies import Destination

AGAIN = 10 * MINUTE
"""When a repository whose list could not be read is tried again."""


class Lists(Protocol):
    """What is needed of a registry client."""

    async def tags(self, repository: str) -> list[str]:
        """All tags of a repository; raises OutboundError."""
        ...


class Orphans:
    """Finds them at one destination, a repository at a time."""

    def __init__(
        self, *, destination: Destination, client: Lists, database: Database, clock: Clock
    ) -> None:
        self._destination = destination
        self._client = client
        self._database = database
        self._clock = clock

    async def next(self) -> bool:
        """Compare the repository that waits longest; False where none does."""
        place, now = self._destination.id, self._clock.now()
        due = await self._database.read(lambda c: orphans.due(c, place, now))
        if due is None:
            return False
        try:
            listed = await self._client.tags(due.repository)
        except OutboundError:
            at = now + AGAIN
            await self._database.write(lambda c: orphans.later(c, place, due.repository, at))
            return True
        beyond = {one for one in listed if not _is_of(one, due.source_references)}

        def keep(connection: Connection) -> None:
            # What was pushed since the sweep is expected, and no orphan.
            extra = sorted(beyond - orphans.expected(connection, place, due.repository))
            orphans.keep(connection, place, due.repository, extra)
            told = _told(self._destination, orphans.found(connection, place))
            findings.replace(
                connection, self._destination.harbor, f"destination {place} orphans", told, now
            )

        await self._database.write(keep)
        return True


_SIGNED = re.compile(r"(sha256)-([0-9a-f]{64})(\.[a-z]+)?")
"""Tags that stand for a digest: cosign's, and those in place of the referrers API (OCI 1.1)."""


def _is_of(tag: str, source_references: frozenset[str]) -> bool:
    """Whether the source has a tag, or what it signs or describes: Harbor lists no such tags."""
    signed = _SIGNED.fullmatch(tag)
    name = f"{signed[1]}:{signed[2]}" if signed else tag
    return name in source_references or tag in source_references


def _told(destination: Destination, found: Sequence[Orphaned]) -> list[Finding]:
    if not found:
        return []
    first = found[0]
    names = ", ".join(first.names[:3])
    return [
        Finding(
            "orphaned_images",
            Severity.INFO,
            f"destination {destination.name}",
            f"{destination.name} has {sum(one.count for one in found)} tags in {len(found)} "
            f"repositories that Harbor does not have, {names} of {first.repository} first.",
            "Delete them there, if nothing runs them; deletions are replicated only where the "
            "policy says so.",
        )
    ]
