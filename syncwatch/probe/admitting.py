"""Which probe may begin now, and which may not: what is not served whole is never asked of a node.

Comes in: probes that are due. Goes out: those for which a fresh look has proven that the registry
can be read; the others are put off, or end without a pod. A look is asked for through the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.model import MINUTE, SECOND, Level, Pulling
from syncwatch.probe.outcomes import Told
from syncwatch.store import looks, observations, probes

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from syncwatch.model import Millis
    from syncwatch.store.policies import Destination
    from syncwatch.store.probes import Due

FRESH = MINUTE
"""How old the look may be that says that a registry can be read."""

LOOK_WITHIN = 30 * SECOND
"""How long a look is waited for."""

PUT_OFF = MINUTE
"""How long a probe is put off whose registry cannot be asked."""


@dataclass(frozen=True, slots=True)
class Site:
    """A destination as its cluster's nodes see it.

    `host` is the name they pull by, `level` how deep it is looked at, `architectures` are those
    that its images have to be there for (none: all).
    """

    destination: Destination
    host: str
    level: Level
    architectures: frozenset[str] = frozenset()

    def image(self, due: Due) -> str:
        """The reference that a pod pulls."""
        return f"{self.host}/{due.repository}@{due.digest}"


@dataclass(frozen=True, slots=True)
class Admitted:
    """What was decided of a probe: it may begin, or it is `told` without a pod, or neither yet.

    `until` puts it off (`dropped`: until somebody wants it again); `look` says that a look is due.
    """

    begin: bool = False
    told: Told | None = None
    until: Millis | None = None
    dropped: bool = False
    look: bool = False


class Admission:
    """Decides for one cluster; remembers since when it waits for a look."""

    def __init__(self, size_limit: int) -> None:
        self._size_limit = size_limit
        self._waiting: dict[int, Millis] = {}

    def decide(self, connection: Connection, due: Due, site: Site, now: Millis) -> Admitted:
        """What is to be done with a probe that is due; asks for a look where one is needed."""
        if not due.asked and not probes.is_wanted(connection, due.key):
            return Admitted(dropped=True)
        hopeless = self._hopeless(due, site)
        if hopeless is not None:
            return Admitted(told=hopeless)
        if site.destination.up is False:
            return Admitted(until=now + PUT_OFF)
        decided = self._by_look(connection, due, site, now)
        if not decided.look:
            self._waiting.pop(due.id, None)
        return decided

    def _hopeless(self, due: Due, site: Site) -> Told | None:
        name = f"{site.destination.name}/{due.repository}@{due.digest}"
        if due.is_image is False:
            words = f"{name} is no image (a chart, a signature): no node can pull it."
            return Told(Pulling.INCONCLUSIVE, "not_an_image", words)
        if due.size is not None and due.size > self._size_limit:
            words = f"{name} has {due.size} bytes, more than size_limit: no node was asked."
            return Told(Pulling.INCONCLUSIVE, "too_large", words)
        return None

    def _by_look(self, connection: Connection, due: Due, site: Site, now: Millis) -> Admitted:
        since = max(now - FRESH, self._waiting.get(due.id, 0))
        past = observations.past(connection, site.destination.id, due.repository, due.reference)
        newest = past[0] if past else None
        if newest is None or newest.at < since:
            return self._wait(connection, due, site, now)
        if newest.problem is not None:
            return Admitted(until=now + PUT_OFF)
        if newest.proves(due.digest, min(site.level, Level.READABLE, key=lambda one: one.depth)):
            return Admitted(begin=True)
        if due.asked:
            name = f"{site.destination.name}/{due.repository}@{due.digest}"
            words = f"{name} is not served whole there: no node was asked."
            return Admitted(told=Told(Pulling.INCONCLUSIVE, "not_proven", words))
        return Admitted(dropped=True)

    def _wait(self, connection: Connection, due: Due, site: Site, now: Millis) -> Admitted:
        since = self._waiting.setdefault(due.id, now)
        if now - since > LOOK_WITHIN:
            return Admitted(until=now + PUT_OFF)
        if since == now:
            name = (site.destination.id, due.repository, due.reference)
            level = min(site.level, Level.READABLE, key=lambda one: one.depth)
            looks.ask(connection, [looks.Wanted(name, due.digest, level)], now)
        return Admitted(look=True)
