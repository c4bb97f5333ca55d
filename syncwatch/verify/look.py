"""One look at a reference: what it names, whether that is there, and all that is below it.

A look is HEAD by the reference (what does it name?) and GET by the digest (are its bytes what the
digest says?): both must hold, since a tag may answer from a cache whose digest is gone. A digest
that the reference does not name is only asked for by HEAD. At level `readable` the walk below the
manifest follows. The rules of what counts are in the design, section 6, "Reasons at the edges".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from syncwatch.errors import MalformedError
from syncwatch.model import Content, Flaw, Held, Level
from syncwatch.verify import manifest as manifests
from syncwatch.verify.accessories import looked_for
from syncwatch.verify.manifest import digest_of, is_digest
from syncwatch.verify.walk import Walk, nothing_known, unhurried

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from syncwatch.model import Accessory
    from syncwatch.verify.visit import Found, Visit
    from syncwatch.verify.walk import Known, Pace


@dataclass(frozen=True, slots=True)
class Depth:
    """How deep to look, and what need not be asked again.

    `known` vouches for blobs that were proven lately. `conditional` allows a 304 for what the
    reference names, where the registry is known to answer it from the tag itself. `accessories`
    are what the source has for each digest that is expected. With `full` every blob is hashed, as
    fast as `pace` allows.
    """

    level: Level = Level.MATCHED
    known: Known = nothing_known
    conditional: bool = False
    platforms: tuple[str, ...] = ()
    accessories: Mapping[str, tuple[Accessory, ...]] = field(default_factory=dict)
    full: bool = False
    pace: Pace = unhurried


class Look:
    """What a look has found out; it holds where a later step meets a problem."""

    def __init__(self, visit: Visit, depth: Depth) -> None:
        self.served: str | None = None
        self.held: dict[str, Held] = {}
        self.flaws: dict[str, Flaw] = {}
        self.level: Level | None = None
        self.words: list[str] = []
        self.proven: set[str] = set()
        self.altered: set[str] = set()
        self.accessories: tuple[Accessory, ...] = ()
        self.content: Content | None = None
        self._visit = visit
        self.depth = depth

    async def see(self, reference: str, digests: Collection[str]) -> None:
        """Look. Raises OutboundError where we cannot know."""
        by_digest = ":" in reference
        asked = dict.fromkeys([reference, *digests] if by_digest else digests)
        if not all(map(is_digest, asked)):
            raise self._visit.unreadable("was not asked: the digest's algorithm is not known here")
        if not by_digest:
            self.served = await self._named(reference, asked)
        for digest in asked:
            if digest in (self.served, reference):
                await self._read(digest)
                # By digest, the reference is there only if its bytes are.
                if by_digest and self.held[digest] is not Held.ABSENT:
                    self.served = digest
            else:
                self.held[digest] = await self._is_there(digest)
        beside = self.depth.accessories.get(self.served or "")
        if beside and self.served and self.level is not None:
            self.accessories = await looked_for(self._visit, self.served, beside)

    async def _named(self, reference: str, digests: Collection[str]) -> str | None:
        """The digest that a tag names; by hashing, where the registry does not say it in kind."""
        only = next(iter(digests)) if self.depth.conditional and len(digests) == 1 else ""
        found = await self._visit.head(reference, but=only)
        if found is None:
            return None
        like = next(iter(digests), "sha256:")
        if found.named is not None and _algorithm(found.named) == _algorithm(like):
            return found.named
        got = found if found.body is not None else await self._visit.get(reference)
        if got is None or got.body is None:
            return None
        self._visit.demand_manifest(got)
        same = got.named is not None and _algorithm(got.named) == _algorithm(like)
        return got.named if same else digest_of(got.body, like=like)

    async def _is_there(self, digest: str) -> Held:
        """What is under a digest that nothing here names; the registry's word is enough."""
        found = await self._visit.head(digest)
        if found is not None and found.body is None and found.named != digest:
            found = await self._visit.get(digest)
        if found is None or found.body is None:
            return Held.ABSENT if found is None else Held.PRESENT
        return self._weighed(digest, found)

    async def _read(self, digest: str) -> None:
        """Fetch and hash what a digest names, and walk below it."""
        found = await self._visit.get(digest)
        if found is None or found.body is None:
            self.held[digest] = Held.ABSENT
            return
        self.held[digest] = self._weighed(digest, found)
        if self.held[digest] is not Held.PRESENT:
            return
        self.level = Level.MATCHED
        if self.depth.level.depth < Level.READABLE.depth:
            self.content = _content(found)
            return
        walk = Walk(
            self._visit,
            known=self.depth.known,
            platforms=self.depth.platforms,
            full=self.depth.full,
            pace=self.depth.pace,
        )
        try:
            flaw = await walk.flaw(found.body, found.content_type)
        finally:
            self.proven |= walk.proven
            self.altered |= walk.altered
        if flaw is None:
            self.level = Level.READABLE
            self.content = Content(bool(walk.images), max(walk.images, default=0))
        else:
            self.flaws[digest] = flaw

    def _weighed(self, digest: str, found: Found) -> Held:
        actual = digest_of(found.body or b"", like=digest)
        if actual == digest:
            return Held.PRESENT
        self._visit.demand_manifest(found)
        self.words.append(f"the bytes under {digest} hash to {actual}")
        return Held.CORRUPT


def _content(found: Found) -> Content | None:
    """What a manifest alone tells: of an index, that there may be an image in it."""
    try:
        read = manifests.read(found.body or b"", found.content_type)
    except MalformedError:
        return None
    return Content(True) if read.is_index else Content(read.is_image, read.size)


def _algorithm(digest: str) -> str:
    return digest.partition(":")[0]
