"""Asking the source: what a tag names at Harbor now, and since when.

Digest and order of generations come from here, never from the order of webhooks. Where Harbor
cannot be asked, that is said, and the event's own word stands in until it can.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.errors import OutboundError
from syncwatch.harbor import wire
from syncwatch.model import SECOND, Millis, Origin
from syncwatch.plan.beside import accessories_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from syncwatch.harbor.client import HarborClient
    from syncwatch.model import Accessory
    from syncwatch.runtime import Clock

AT_ONCE = 4
"""How many of these questions Harbor gets at the same time."""

FRESH = 5 * SECOND
"""An artifact and its tag pushed so close together came in one push; else the tag came later."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a reference names at the source; `pushed_at` is the tag's, in Harbor's clock.

    `read_at` (ours) is before the question was asked. `parts` are digests judged inside it,
    `accessories` those of them that sign or describe it.
    """

    digest: str
    pushed_at: Millis | None
    labels: tuple[str, ...]
    parts: tuple[str, ...]
    fresh: bool
    read_at: Millis
    accessories: tuple[Accessory, ...] = ()

    @property
    def origin(self) -> Origin:
        """What set the tag, as far as the artifact tells: a push of it, or the API later."""
        return Origin.PUSH if self.fresh else Origin.TAG


@dataclass(frozen=True, slots=True)
class Absent:
    """Harbor says that there is no such reference."""

    read_at: Millis


@dataclass(frozen=True, slots=True)
class Unasked:
    """Harbor could not be asked; `kind` is the word of OutboundError."""

    kind: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The artifacts of a repository; `read_at` (ours) is before the question was asked."""

    artifacts: Sequence[wire.SourceArtifact]
    read_at: Millis


class Sources:
    """Reads references of one Harbor."""

    def __init__(self, client: HarborClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._lists: dict[str, Listing] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._refused: set[tuple[str, str]] = set()

    async def read_all(
        self, names: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], Named | Absent | Unasked]:
        """What each (repository, reference) names, every one asked once."""
        wanted = list(dict.fromkeys(names))
        answers = await asyncio.gather(*(self.read(*name) for name in wanted))
        return dict(zip(wanted, answers, strict=True))

    async def read(self, repository: str, reference: str) -> Named | Absent | Unasked:
        """What one reference names."""
        async with self._turns:
            read_at = self._clock.now()
            try:
                artifact = await self._client.artifact(repository, reference)
            except OutboundError as error:
                return self._unasked("read", repository, error)
        self.allow("read", repository.partition("/")[0])
        if artifact is None:
            return Absent(read_at)
        return named(artifact, reference, read_at)

    async def list(self, repository: str) -> Listing | Unasked:
        """The artifacts of a repository, as a run by hand would list them.

        Asked once until `forget_lists`: many tasks may be for one repository.
        """
        if repository not in self._lists:
            async with self._turns:
                read_at = self._clock.now()
                try:
                    listed = await self._client.artifacts(repository)
                except OutboundError as error:
                    return self._unasked("list", repository, error)
            self.allow("list", repository.partition("/")[0])
            self._lists[repository] = Listing(listed, read_at)
        return self._lists[repository]

    @property
    def refused(self) -> frozenset[str]:
        """Projects whose artifacts Harbor did not let us read or list when we last asked."""
        return frozenset(project for _, project in self._refused)

    def refuse(self, way: str, project: str) -> None:
        """Harbor did not let us do that in a project."""
        self._refused.add((way, project))

    def allow(self, way: str, project: str) -> None:
        """It does by now."""
        self._refused.discard((way, project))

    def _unasked(self, way: str, repository: str, error: OutboundError) -> Unasked:
        if error.kind == "forbidden":
            self.refuse(way, repository.partition("/")[0])
        return Unasked(error.kind)

    def forget_lists(self) -> None:
        """What was listed may be old by now."""
        self._lists.clear()


def named(artifact: wire.SourceArtifact, reference: str, read_at: Millis) -> Named:
    """An artifact as what one of its references names."""
    made_at = wire.millis_or_none(artifact.push_time)
    tag = artifact.tag(reference)
    tagged_at = wire.millis_or_none(tag.push_time) if tag else made_at
    fresh = made_at is None or tagged_at is None or tagged_at - made_at <= FRESH
    return Named(
        digest=artifact.digest,
        pushed_at=tagged_at,
        labels=tuple(label.name for label in artifact.labels or ()),
        parts=artifact.parts,
        fresh=fresh,
        read_at=read_at,
        accessories=accessories_of(artifact),
    )
