"""What the image is that somebody asks about: Harbor is asked now, and the store stands in.

Comes in: a question. Goes out: images as their source names them at the moment. Harbor has as long
as a person waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from syncwatch.errors import OutboundError
from syncwatch.explain import known as store
from syncwatch.explain.causes import Image
from syncwatch.harbor import wire
from syncwatch.harbor.client import PAGE_SIZE
from syncwatch.model import Origin
from syncwatch.plan.sources import named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from syncwatch.explain.causes import Rule
    from syncwatch.explain.judging import Made
    from syncwatch.harbor.client import HarborClient
    from syncwatch.model import Millis
    from syncwatch.reference import Meant, Reference
    from syncwatch.runtime import Clock
    from syncwatch.store.database import Database

ASKED_FOR = 5.0
"""Seconds that Harbor has for an answer to a person; then the store stands in."""
WAITED_FOR = 20.0
"""The same for a pipeline: many ask at once, and each waits for its turn at Harbor."""
TAGS = 100
"""How many tags of a digest are judged."""
PAGES = 5
"""Pages of repositories that are searched for one name."""


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked: `allowed` are the ids of the destinations that may be told of, which are
    all where no `destinations` are named."""

    text: str
    image: Reference
    wanted: Meant
    destinations: tuple[str, ...]
    allowed: frozenset[int]

    @property
    def reference(self) -> str:
        """The tag, or the digest where there is none."""
        return self.image.tag or self.image.digest


@dataclass(frozen=True, slots=True)
class Read:
    """What Harbor said that a reference names: images (one for each tag of a digest).

    `certain` is False where nobody could tell what there is, or where it is judged inside another.
    """

    images: Sequence[Image]
    read_from: str | None
    problem: str = ""
    certain: bool = True


class Reading:
    """Asks Harbors about images, each for so many seconds; `source` gives whom to ask at one."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        source: Callable[[str], HarborClient | None],
        patience: float,
    ) -> None:
        self._database = database
        self._clock = clock
        self._source = source
        self._patience = patience

    async def read(self, harbor: str, repository: str, asked: Question) -> Read:
        """What the reference names at Harbor now, or named when we knew it last."""
        wanted = asked.reference
        client = self._source(harbor)
        problem = f"Harbor {harbor} is not watched."
        if client is not None:
            try:
                async with asyncio.timeout(self._patience):
                    artifact = await client.artifact(repository, wanted)
                read = _told(repository, asked, artifact, self._clock.now())
                return await self._as_part(harbor, read)
            except OutboundError as error:
                problem = f"Harbor {harbor} could not be asked: {_why(error)}."
            except TimeoutError:
                problem = f"Harbor {harbor} did not answer within {self._patience:.0f} s."
        digest, pushed_at = await self._database.read(
            lambda c: store.last_read(c, harbor, repository, wanted)
        )
        image = Image(repository, wanted, digest, pushed_at)
        return Read([image], "store" if digest else None, problem, certain=digest is not None)

    async def _as_part(self, harbor: str, read: Read) -> Read:
        """What was pushed by digest alone may belong to something else of its repository."""
        image = read.images[0]
        if image.tag or image.digest is None:
            return read
        digest = image.digest
        if not await self._database.read(
            lambda c: store.is_part(c, harbor, image.repository, digest)
        ):
            return read
        problem = f"{image.name} is part of an index or belongs to an image, and is judged there."
        return replace(read, problem=problem, certain=False)

    async def may_have(self, harbor: str, project: str) -> bool:
        """Whether a Harbor shows us that project, or cannot be asked for it."""
        client = self._source(harbor)
        if client is None:
            return False
        try:
            async with asyncio.timeout(self._patience):
                return await client.project(project) is not None
        except TimeoutError:
            return True
        except OutboundError as error:
            return error.kind not in ("forbidden", "unauthorized")

    async def repositories_ending(self, harbor: str, end: str) -> list[str]:
        """Repositories whose name ends so, as many as Harbor shows soon; none where it cannot be
        asked. That one is not among them proves nothing."""
        client, found = self._source(harbor), []
        if client is None:
            return []
        with contextlib.suppress(OutboundError, TimeoutError):
            async with asyncio.timeout(self._patience):
                for page in range(1, PAGES + 1):
                    listed = await client.repositories_with(end, page)
                    found += [one.name for one in listed if one.name.endswith(f"/{end}")]
                    if len(listed) < PAGE_SIZE:
                        break
        return found

    async def has_other_policies(self, harbor: str, read: Mapping[int, Millis | None]) -> bool:
        """Whether Harbor has policies by now that were made or edited since they were `read`: by
        id, when each was last edited. False where it cannot be asked."""
        client = self._source(harbor)
        if client is None:
            return False
        try:
            async with asyncio.timeout(self._patience):
                listed = await client.policies()
        except (OutboundError, TimeoutError):
            return False
        edited = {one.id: wire.millis_or_none(one.update_time) for one in listed}
        return any(read.get(one) != at for one, at in edited.items())

    async def made(
        self, harbor: str, rules: Sequence[Rule], images: Sequence[Image]
    ) -> Mapping[int, Made]:
        """When policies were made, asked at Harbor where an image is older than we know them."""
        pushed = min((one.pushed_at for one in images if one.pushed_at is not None), default=None)
        client = self._source(harbor)
        first = max((one.revisions[0].since for one in rules), default=0)
        if client is None or pushed is None or pushed >= first:
            return {}
        try:
            async with asyncio.timeout(self._patience):
                listed = await client.policies()
        except (OutboundError, TimeoutError):
            return {}
        return {
            one.id: (wire.millis_or_none(one.creation_time), wire.millis_or_none(one.update_time))
            for one in listed
        }


def _why(error: OutboundError) -> str:
    if error.kind == "forbidden":
        return "there is no such project, or the robot account may not read it"
    return error.message


def _told(repository: str, asked: Question, artifact: wire.SourceArtifact | None, now: int) -> Read:
    if artifact is None:
        return Read([Image(repository, asked.reference)], "harbor")
    tags = [asked.image.tag] if asked.image.tag else [one.name for one in artifact.tags or ()]
    images = []
    for one in tags[:TAGS] or [asked.reference]:
        told = named(artifact, one, now)
        origin = Origin.PUSH if told.fresh else Origin.TAG
        images.append(Image(repository, one, told.digest, told.pushed_at, origin, told.labels))
    problem = ""
    if asked.image.digest not in ("", artifact.digest):
        problem = f"{repository}:{asked.image.tag} names {artifact.digest} now, not the one asked."
    return Read(images, "harbor", problem)
