"""Layers that were proven in this run: tags of one repository share most of theirs.

Looks at several tags go on at once, so one that wants a layer which another is just asking for
waits for that one's end, in place of asking too.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from syncwatch.verify.walk import Vouched

if TYPE_CHECKING:
    from collections.abc import Collection

MOST = 50_000
"""Layers remembered; beyond it the memory begins anew."""


@dataclass
class _Repository:
    proven: set[str] = field(default_factory=set)
    coming: dict[str, asyncio.Event] = field(default_factory=dict)


class Proofs:
    """What was proven at one destination."""

    def __init__(self) -> None:
        self._repositories: dict[str, _Repository] = {}
        self._kept = 0

    def claim(self, repository: str) -> Claim:
        """For one look; `release` has to follow."""
        return Claim(self._repositories.setdefault(repository, _Repository()), self)

    def count(self, proven: int) -> None:
        """So many more are remembered."""
        self._kept += proven
        if self._kept > MOST:
            # Looks under way keep the records that they hold.
            self._repositories, self._kept = {}, 0


class Claim:
    """One look's part: `known` is asked by it once, with all that it would ask for."""

    def __init__(self, repository: _Repository, proofs: Proofs) -> None:
        self._repository = repository
        self._proofs = proofs
        self._mine: set[str] = set()
        self._ended = asyncio.Event()

    async def known(self, digests: Collection[str]) -> Vouched:
        """What need not be asked for, once all is known that others are asking for now.

        Who waits, waits for looks that came here before it, so that none waits for itself.
        """
        coming = self._repository.coming
        others = {id(coming[one]): coming[one] for one in digests if one in coming}
        self._mine = {one for one in digests if one not in coming} - self._repository.proven
        coming.update(dict.fromkeys(self._mine, self._ended))
        for other in others.values():
            await other.wait()
        return Vouched(self._repository.proven.intersection(digests))

    def release(self, proven: Collection[str]) -> None:
        """The look has ended, and has proven these."""
        self._proofs.count(len(set(proven) - self._repository.proven))
        self._repository.proven.update(proven)
        for one in self._mine:
            self._repository.coming.pop(one, None)
        self._ended.set()
