"""Everything below a manifest: its children are fetched and hashed, its blobs' last bytes read.

In comes a manifest that was proven itself, out come the flaws below it, or none. What a registry
says of a blob is no proof: Harbor answers HEAD from its database, docker-registry from a cache. So
one byte of each is really read, the last. Blobs that `known` vouches for are not asked for again.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from syncwatch.errors import MalformedError, OutboundError
from syncwatch.model import Flaw, Reason
from syncwatch.verify import manifest as manifests
from syncwatch.verify.manifest import digest_of
from syncwatch.verify.ranges import doubt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable
    from collections.abc import Set as AbstractSet

    from syncwatch.verify.manifest import Descriptor, Manifest
    from syncwatch.verify.visit import Found, Visit

    Known = Callable[[Collection[str]], Awaitable["Vouched"]]
    Pace = Callable[[int], Awaitable[None]]

DEPTH = 3
"""How deep indexes may be nested (design, section 6, Bounds)."""
CHILDREN = 1000
"""How many manifests one image may consist of (design, section 6, Bounds)."""
BLOBS = 10_000
"""How many different blobs one image may consist of."""
BYTES = 64 * 1024 * 1024
"""How many bytes of manifests one image may consist of."""

AT_ONCE = 4
"""Requests of one look under way together: it shares the destination with others."""

_GRAVEST = (
    Reason.CHILD_MISSING,
    Reason.MANIFEST_CORRUPT,
    Reason.BLOB_MISSING,
    Reason.BLOB_UNREADABLE,
)
_TOLD = 3


@dataclass(frozen=True, slots=True)
class Vouched:
    """What is known of blobs: `proven` need not be asked for, `altered` have to be hashed."""

    proven: AbstractSet[str] = frozenset()
    altered: AbstractSet[str] = frozenset()


async def nothing_known(digests: Collection[str]) -> Vouched:
    """Vouches for no blob."""
    del digests
    return Vouched()


async def unhurried(received: int) -> None:
    """Takes bytes as fast as they come."""
    del received


@dataclass(frozen=True, slots=True)
class _Part:
    """A descriptor, and the platform that the image is `of` which it belongs to.

    `listed` says that it stands in an index.
    """

    descriptor: Descriptor
    of: str
    listed: bool = False

    @property
    def digest(self) -> str:
        return self.descriptor.digest

    @property
    def name(self) -> str:
        """How a sentence calls it."""
        kind = self.descriptor.media_type
        if self.descriptor.is_manifest:
            word = "the manifest"
        elif "config" in kind or kind.endswith("container.image.v1+json"):
            word = "the configuration"
        else:
            word = "the layer" if "layer" in kind or "rootfs" in kind else "the blob"
        return f"{word} {self.digest}" + (f" of {self.of}" if self.of else "")


class Walk:
    """One walk below one manifest. `platforms` limits which children have to be there.

    `images` are the bytes of each image that was met.
    With `full` every blob is read to its end and hashed; `pace` is told how many bytes came, and
    returns when more are welcome.
    """

    def __init__(
        self,
        visit: Visit,
        *,
        known: Known = nothing_known,
        platforms: Collection[str] = (),
        full: bool = False,
        pace: Pace = unhurried,
    ) -> None:
        self.proven: set[str] = set()
        self.altered: set[str] = set()
        self.images: list[int] = []
        self._visit = visit
        self._known = known
        self._platforms = frozenset(platforms)
        self._full = full
        self._pace = pace
        self._flaws: list[tuple[Reason, str]] = []
        self._blobs: dict[str, _Part] = {}
        self._children: dict[str, _Part] = {}
        self._bytes = 0

    async def flaw(self, body: bytes, content_type: str) -> Flaw | None:
        """What is wrong below these bytes of a manifest; None where all is there.

        Raises OutboundError where something could not be asked, and nothing else was wrong.
        """
        top = self._read(body, content_type)
        try:
            await self._go_below(top)
        except OutboundError:
            # A part that is known to be missing is missing, whatever else could not be asked.
            if not self._flaws:
                raise
        return self._gravest()

    async def _go_below(self, top: Manifest) -> None:
        self._collect_blobs(top, "")
        below = [_Part(one, one.platform, listed=True) for one in top.children]
        for depth in range(1, DEPTH + 2):
            fresh = self._fresh(below)
            if fresh and depth > DEPTH:
                raise self._visit.unreadable(f"holds indexes nested deeper than {DEPTH}")
            below = []
            await _each(fresh, partial(self._fetch, below))
        if self._flaws or not self._blobs:
            return
        vouched = await self._known(self._blobs.keys())
        unproven = [part for digest, part in self._blobs.items() if digest not in vouched.proven]
        hashed = [part for part in unproven if self._full or part.digest in vouched.altered]
        await _each([part for part in unproven if part not in hashed], self._prove)
        for part in hashed:
            await self._hash(part)

    def _gravest(self) -> Flaw | None:
        if not self._flaws:
            return None
        reason = min((one for one, _ in self._flaws), key=_GRAVEST.index)
        words = sorted(told for one, told in self._flaws if one is reason)
        more = len(self._flaws) - len(words[:_TOLD])
        rest = f", and {more} more of its parts are not right" if more else ""
        return Flaw(reason, "; it ".join(words[:_TOLD]) + rest)

    def _read(self, body: bytes, content_type: str) -> Manifest:
        try:
            return manifests.read(body, content_type)
        except MalformedError as error:
            raise self._visit.unreadable(error.message) from None

    def _fresh(self, listed: Iterable[_Part]) -> list[_Part]:
        """The children that have to be there and were not met before; plain blobs are put aside."""
        fresh = []
        for part in self._wanted(list(listed)):
            if not part.descriptor.is_manifest:
                self._collect(part)
            elif part.digest not in self._children:
                self._children[part.digest] = part
                fresh.append(part)
        if len(self._children) > CHILDREN:
            raise self._visit.unreadable(f"holds an image of more than {CHILDREN} manifests")
        return fresh

    def _wanted(self, listed: list[_Part]) -> list[_Part]:
        """Children of other platforms than those named need not be there (`platforms`).

        That excuses them where a named one is listed: an image for none of them is taken whole.
        """
        named = [part for part in listed if self._is_of_named(part.descriptor.platform)]
        nowhere = [part for part in listed if not part.descriptor.platform]
        return named + nowhere if named else listed

    def _is_of_named(self, platform: str) -> bool:
        return any(platform == one or platform.startswith(f"{one}/") for one in self._platforms)

    async def _fetch(self, below: list[_Part], part: _Part) -> None:
        found = await self._visit.get(part.digest)
        if found is None or found.body is None:
            self._note(Reason.CHILD_MISSING, f"lacks {part.name}")
            return
        if digest_of(found.body, like=part.digest) != part.digest:
            self._visit.demand_manifest(found)
            self._note(
                Reason.MANIFEST_CORRUPT,
                f"has bytes that do not hash to the digest under {part.name}",
            )
            return
        self._count(found)
        read = self._read(found.body, found.content_type)
        self._collect_blobs(read, part.of)
        below.extend(_Part(one, one.platform or part.of, listed=True) for one in read.children)

    def _count(self, found: Found) -> None:
        self._bytes += len(found.body or b"")
        if self._bytes > BYTES:
            raise self._visit.unreadable(f"holds an image of more than {BYTES} bytes of manifests")

    def _collect_blobs(self, read: Manifest, of: str) -> None:
        if read.is_image:
            self.images.append(read.size)
        for one in read.blobs:
            self._collect(_Part(one, of))

    def _collect(self, part: _Part) -> None:
        if part.descriptor.is_foreign:
            return
        before = self._blobs.get(part.digest)
        if before is None or before.descriptor.size < part.descriptor.size:
            self._blobs[part.digest] = part
        if len(self._blobs) > BLOBS:
            raise self._visit.unreadable(f"holds an image of more than {BLOBS} blobs")

    async def _prove(self, part: _Part) -> None:
        size = part.descriptor.size
        answer = await self._visit.end_of_blob(part.digest, size)
        if answer is None and part.listed and await self._is_a_manifest(part):
            return
        if answer is None:
            self._note(Reason.BLOB_MISSING, f"lacks {part.name}")
            return
        doubted = doubt(answer, size)
        if doubted is None:
            self.proven.add(part.digest)
        elif doubted.reason is Reason.UNREADABLE_ANSWER:
            raise self._visit.unreadable(f"{part.name} {doubted.words}")
        else:
            self._note(doubted.reason, f"is not whole: {part.name} {doubted.words}")

    async def _is_a_manifest(self, part: _Part) -> bool:
        """Whether what an index lists by an unknown type is there as a manifest.

        Docker's lists may name schema 1, and some registries know types of their own.
        """
        found = await self._visit.get(part.digest)
        return found is not None and digest_of(found.body or b"", like=part.digest) == part.digest

    async def _hash(self, part: _Part) -> None:
        """Read a blob to its end: the last byte may be there and others be wrong."""
        size, received = part.descriptor.size, 0
        actual = hashlib.new(part.digest.partition(":")[0])

        async def take(piece: bytes) -> None:
            nonlocal received
            received += len(piece)
            if received > size:
                raise _TooLongError
            actual.update(piece)
            await self._pace(len(piece))

        try:
            answer = await self._visit.whole_blob(part.digest, take)
        except _TooLongError:
            answer = None
            received = size + 1
        if answer is None and not received:
            self._note(Reason.BLOB_MISSING, f"lacks {part.name}")
        elif received != size:
            length = "more" if received > size else f"{received}"
            words = f"is not whole: {part.name} has {length} bytes instead of {size}"
            self._note(Reason.BLOB_UNREADABLE, words)
        elif actual.hexdigest() == part.digest.partition(":")[2]:
            self.proven.add(part.digest)
        else:
            self.altered.add(part.digest)
            words = f"has other bytes than it should: {part.name} does not hash to its digest"
            self._note(Reason.BLOB_UNREADABLE, words)

    def _note(self, reason: Reason, words: str) -> None:
        self._flaws.append((reason, words))


class _TooLongError(Exception):
    """A blob goes on beyond its size."""


async def _each(parts: Collection[_Part], work: Callable[[_Part], Awaitable[None]]) -> None:
    """Do `work` for every part, some at once. Raises the first OutboundError that comes of it.

    What is under way then is ended first: it may find that a part is missing, which is more.
    """
    waiting = iter(parts)
    trouble: list[OutboundError] = []

    async def take() -> None:
        for part in waiting:
            if trouble:
                return
            try:
                await work(part)
            except OutboundError as error:
                trouble.append(error)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, len(parts))):
            group.create_task(take())
    if trouble:
        raise trouble[0]
