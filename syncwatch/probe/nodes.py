"""Which nodes are to pull: an architecture each, and rather one that does not hold the image yet.

A node that holds the content asks the registry for the manifest alone, so that its pull proves the
reference and nothing of the bytes. Asked of the cluster only where the configuration says so: it
needs the permission to list nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from syncwatch.model import MINUTE
from syncwatch.probe.pod import ANY_OF

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from syncwatch.model import Millis
    from syncwatch.probe.cluster import Node

KEPT = MINUTE
"""How long the list of nodes is kept: kubelets report their images about as often."""


class Asked(Protocol):
    """Who knows the nodes of a cluster."""

    async def nodes(self) -> list[Node]:
        """All of them; raises ClusterError."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A pod for each of `architectures`, rather not on one of the `holders`.

    "" is for whichever node, and several joined by a comma for one of any of these.
    """

    architectures: tuple[str, ...]
    holders: frozenset[str] = frozenset()


class Nodes:
    """What is known of a cluster's nodes. `named` architectures are taken as they are."""

    def __init__(
        self,
        *,
        named: Sequence[str],
        every: bool,
        look: bool,
        clock: Callable[[], Millis],
    ) -> None:
        self._named = tuple(named)
        self._every = every
        self._look = look
        self._clock = clock
        self._nodes: list[Node] = []
        self._read_at: Millis | None = None

    async def wanted(self, asked: Asked, digest: str, needed: Collection[str]) -> Wanted:
        """For a digest that has to be there for `needed` architectures (none: for all)."""
        nodes = await self._list(asked)
        named = self._named or ("",)
        if self._every:
            usable = [one for one in nodes if one.ready and one.schedulable and one.os == "linux"]
            named = tuple(sorted({one.architecture for one in usable})) or ("",)
        if needed:
            # A node of an architecture that nobody asks it for would be right to refuse it.
            fitting = tuple(one for one in named if one in needed)
            named = fitting or (ANY_OF.join(sorted(needed)),)
        holding = [one.name for one in nodes if _holds(one, digest)]
        return Wanted(named, frozenset(holding))

    async def _list(self, asked: Asked) -> list[Node]:
        if not (self._every or self._look):
            return []
        now = self._clock()
        if self._read_at is None or now - self._read_at >= KEPT:
            self._nodes, self._read_at = await asked.nodes(), now
        return self._nodes


def _holds(node: Node, digest: str) -> bool:
    return any(name.endswith(f"@{digest}") for name in node.images)
