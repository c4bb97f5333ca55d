"""Images by destinations: a page of names in their order, and what each destination has of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, tuple_

from syncwatch.model import State
from syncwatch.report.page import rows, searching
from syncwatch.report.page.asking import cursor, href, image_href
from syncwatch.report.page.rows import OVERDUE, named
from syncwatch.store.schema import expectations, subjects

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection, Select

    from syncwatch.report.page.asking import Matrix
    from syncwatch.report.page.rows import Item, Names
    from syncwatch.report.page.searching import Hosts
    from syncwatch.store.policies import Destination

PER_PAGE = 50
COLUMNS = 30
"""Destinations above which those without a word on the page are left out."""
_Image = tuple[str, str, str]
_KEY = (subjects.c.harbor, subjects.c.source_repository, subjects.c.reference)
_WORST = (State.FAILED, OVERDUE, State.UNKNOWN, State.PENDING, State.VERIFIED, State.CLOSED)


@dataclass(frozen=True, slots=True)
class Line:
    """One image and, by destination id, its newest generation there: the worst of several."""

    harbor: str
    name: str
    href: str
    cells: Mapping[int, Item]


@dataclass(frozen=True, slots=True)
class Table:
    """A page of the matrix; links are None at ends, `more` where a search found too many."""

    lines: Sequence[Line]
    destinations: Sequence[Destination]
    more: bool
    before: str | None
    after: str | None


def table(
    connection: Connection, asked: Matrix, names: Names, watched: Collection[str], hosts: Hosts
) -> Table:
    """The images that are asked for."""
    query = select(*_KEY).where(subjects.c.harbor.in_(watched)).distinct()
    more = False
    if asked.q:
        found = searching.search(connection, asked.q, watched, hosts)
        found = searching.having(connection, found)
        query, more = query.where(subjects.c.id.in_(found.subjects)), found.more
    if asked.harbor:
        query = query.where(subjects.c.harbor == asked.harbor)
    if asked.owed:
        query = query.where(subjects.c.behind_since.is_not(None))
    images, before, after = _page(connection, asked, query)
    if asked.before is not None and not before:
        # This page begins with the very first image: then it is the first page, which is whole.
        asked = replace(asked, before=None)
        images, before, after = _page(connection, asked, query)
    cells = _cells(connection, images, names)
    lines = [Line(one[0], named(*one[1:]), image_href(*one), cells[one]) for one in images]
    return Table(
        lines=lines,
        destinations=_columns(lines, names, asked),
        more=more,
        before=_link(asked, before=images[0]) if before and images else None,
        after=_link(asked, after=images[-1]) if after and images else None,
    )


def _page(
    connection: Connection, asked: Matrix, query: Select[Any]
) -> tuple[list[_Image], bool, bool]:
    """The images of one page, and whether there are some before and after it."""
    key = tuple_(*_KEY)
    if asked.before is not None:
        query = query.where(key < asked.before).order_by(*(one.desc() for one in _KEY))
        found = [_image(row) for row in connection.execute(query.limit(PER_PAGE + 1))]
        return found[:PER_PAGE][::-1], len(found) > PER_PAGE, True
    if asked.after is not None:
        query = query.where(key > asked.after)
    rows_found = connection.execute(query.order_by(*_KEY).limit(PER_PAGE + 1))
    found = [_image(row) for row in rows_found]
    return found[:PER_PAGE], asked.after is not None, len(found) > PER_PAGE


def _image(row: Any) -> _Image:
    return (row[0], row[1], row[2])


def _link(asked: Matrix, **cursors: _Image) -> str:
    told = {name: cursor(*image) for name, image in cursors.items()}
    return href("/images", asked.narrowed | told)


def _cells(
    connection: Connection, images: Sequence[_Image], names: Names
) -> dict[_Image, dict[int, Item]]:
    """What each destination has: the worst, where several policies copy there."""
    query = rows.chosen().where(
        expectations.c.id == subjects.c.newest_id, tuple_(*_KEY).in_(images)
    )
    found: dict[_Image, dict[int, Item]] = defaultdict(dict)
    for one in rows.items(connection.execute(query), names) if images else ():
        cells = found[one.harbor, one.source_repository, one.reference]
        known = cells.get(one.destination_id)
        if known is None or _badness(one) < _badness(known):
            cells[one.destination_id] = one
    return found


def _badness(item: Item) -> int:
    return _WORST.index(item.mark)


def _columns(lines: Sequence[Line], names: Names, asked: Matrix) -> list[Destination]:
    """Those that something is said of, and all present of the harbors shown, unless too many."""
    said = {place for line in lines for place in line.cells}
    shown = {line.harbor for line in lines} or {asked.harbor}
    present = [
        one
        for one in names.destinations.values()
        if one.id in said or (one.gone_at is None and one.harbor in shown)
    ]
    return present if len(present) <= COLUMNS else [one for one in present if one.id in said]
