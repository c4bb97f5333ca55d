"""Search: which names and digests hold what somebody typed. Bounded, however large the store is.

What is typed may be part of a repository's name on either side, a reference, both with ':' between
them, the beginning of a digest, or what a manifest holds: with a registry's host before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sqlalchemy import and_, or_, select

from syncwatch.store.schema import expectations, subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import ColumnElement, Connection

    from syncwatch.config import DestinationSettings
    from syncwatch.store.policies import Destination

FOUND = 1000
"""Names that a search gives at most; the newest."""
SEARCHED = 200_000
"""Names, and rows for a digest, that are searched at most; the newest."""

_NAMES = (subjects.c.source_repository, subjects.c.repository, subjects.c.reference)

_DIGEST = re.compile(r"(?:(?P<kind>sha256|sha512):)?(?P<hex>[0-9a-f]{7,128})")
_HOST = re.compile(r"(?:[a-z0-9.-]*[.:][a-z0-9.:-]*|localhost)(?=/)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """Subjects by id that hold the words, and the beginning of a digest that they may be.

    `more` where there are more than FOUND, or not all could be searched.
    """

    subjects: Sequence[int]
    digest: str
    more: bool


@dataclass(frozen=True, slots=True)
class Hosts:
    """Ids of destinations by the hosts under which people know them."""

    by_host: dict[str, set[int]]

    @classmethod
    def of(
        cls,
        destinations: Sequence[Destination],
        entry: Callable[[Destination], DestinationSettings],
    ) -> Hosts:
        """The url's host and the pull host of each."""
        found: dict[str, set[int]] = {}
        for one in destinations:
            settings = entry(one)
            host = urlsplit(settings.url or one.url).netloc.rpartition("@")[2]
            for name in filter(None, (host, settings.pull_host)):
                found.setdefault(name.lower(), set()).add(one.id)
        return cls(found)


def search(connection: Connection, text: str, watched: Collection[str], hosts: Hosts) -> Found:
    """What `text` finds among the harbors watched."""
    columns = (subjects.c.harbor, subjects.c.destination_id, *_NAMES)
    names = select(subjects.c.id, *columns).order_by(subjects.c.id.desc()).limit(SEARCHED)
    newest = names.subquery()
    holds = and_(_holds(newest.c, text, hosts), newest.c.harbor.in_(watched))
    found = list(connection.scalars(select(newest.c.id).where(holds).limit(FOUND + 1)))
    beyond = select(subjects.c.id).order_by(subjects.c.id.desc()).offset(SEARCHED).limit(1)
    more = len(found) > FOUND or connection.scalar(beyond) is not None
    return Found(found[:FOUND], _digest(text), more)


def having(connection: Connection, found: Found) -> Found:
    """The same with the subjects that ever expected a digest that begins so."""
    if not found.digest:
        return found
    rows = select(expectations.c.subject_id, expectations.c.digest)
    newest = rows.order_by(expectations.c.id.desc()).limit(SEARCHED).subquery()
    query = select(newest.c.subject_id).where(begins(newest.c.digest, found.digest))
    also = set(connection.scalars(query.limit(FOUND + 1)))
    every = {*found.subjects, *also}
    return Found(sorted(every)[:FOUND], found.digest, found.more or len(every) > FOUND)


def begins(column: ColumnElement[str], digest: str) -> ColumnElement[bool]:
    """Whether a digest begins so; what follows are digits up to f, so an index can be asked."""
    return and_(column >= digest, column < f"{digest}g")


def _digest(text: str) -> str:
    """The beginning of a digest; "" where it cannot be one."""
    told = _DIGEST.fullmatch(text.rpartition("@")[2].strip().lower())
    return f"{told['kind'] or 'sha256'}:{told['hex']}" if told else ""


def _holds(names: Any, text: str, hosts: Hosts) -> ColumnElement[bool]:
    """A column has it, or repository and reference have its two parts; with or without host."""
    bare = text.rpartition("@")[0] if "@" in text and _digest(text) else text
    forms = [_plain(names, bare)]
    host = _HOST.match(bare)
    if host:
        there = hosts.by_host.get(host[0].lower())
        after = _plain(names, bare[host.end() + 1 :])
        forms.append(and_(names.destination_id.in_(there), after) if there else after)
    return or_(*forms)


def _plain(names: Any, text: str) -> ColumnElement[bool]:
    """No name holds a ':', but a digest does that stands for one."""
    repository, colon, reference = text.rpartition(":")
    if not colon or _digest(text):
        return or_(_named(names, text), names.reference.icontains(text, autoescape=True))
    fits = names.reference.istartswith(reference, autoescape=True)
    return and_(_named(names, repository), fits)


def _named(names: Any, text: str) -> ColumnElement[bool]:
    """Repositories have small letters alone, and mostly the same name on both sides."""
    source, there = names.source_repository, names.repository
    held = there.contains(text.lower(), autoescape=True)
    return or_(source.contains(text.lower(), autoescape=True), and_(there != source, held))
