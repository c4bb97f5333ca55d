"""The list of expectations: filters, search, and pages forward and back, newest first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import and_, false, or_

from syncwatch.report.page import rows, searching
from syncwatch.report.page.asking import href
from syncwatch.store.schema import expectations

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement, Connection

    from syncwatch.report.page.asking import Listing
    from syncwatch.report.page.rows import Item, Names
    from syncwatch.report.page.searching import Found, Hosts
    from syncwatch.store.reading import Count, Snapshot

PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of the list. `total` is None where only a search could tell; links are None at ends.

    `more` where a search found more names than it gives.
    """

    items: list[Item]
    total: int | None
    more: bool
    newer: str | None
    older: str | None


def listed(
    connection: Connection,
    asked: Listing,
    snapshot: Snapshot,
    names: Names,
    watched: Collection[str],
    hosts: Hosts,
) -> Listed:
    """The rows that are asked for."""
    found = searching.search(connection, asked.q, watched, hosts) if asked.q else None
    wanted = _conditions(asked, names, watched, found)
    items, newer, older = _page(connection, asked, wanted, names)
    if asked.after is not None and not newer:
        # Nothing newer than this page is left: it is the first one, which is always whole.
        asked = replace(asked, after=None)
        items, newer, older = _page(connection, asked, wanted, names)
    return Listed(
        items=items,
        total=None if found else _total(asked, snapshot, names),
        more=bool(found and found.more),
        newer=_link(asked, after=items[0].id) if newer and items else None,
        older=_link(asked, before=items[-1].id) if older and items else None,
    )


def newest(
    connection: Connection, asked: Listing, names: Names, watched: Collection[str], limit: int
) -> list[Item]:
    """The newest rows that are asked for."""
    wanted = _conditions(asked, names, watched, None)
    return _rows(connection, asked, wanted, names, limit)


def _page(
    connection: Connection, asked: Listing, wanted: list[ColumnElement[bool]], names: Names
) -> tuple[list[Item], bool, bool]:
    """The rows of one page, and whether there are newer and older ones."""
    row_id = expectations.c.id
    if asked.after is not None:
        wanted = [*wanted, row_id > asked.after]
        items = _rows(connection, asked, wanted, names, PER_PAGE + 1, newest_first=False)
        return items[:PER_PAGE][::-1], len(items) > PER_PAGE, True
    if asked.before is not None:
        wanted = [*wanted, row_id < asked.before]
    items = _rows(connection, asked, wanted, names, PER_PAGE + 1)
    return items[:PER_PAGE], asked.before is not None, len(items) > PER_PAGE


def _rows(
    connection: Connection,
    asked: Listing,
    wanted: list[ColumnElement[bool]],
    names: Names,
    limit: int,
    *,
    newest_first: bool = True,
) -> list[Item]:
    """The first rows in that order. Each state by itself: only so its index is in order."""
    row_id = expectations.c.id
    order = row_id.desc() if newest_first else row_id
    query = rows.chosen().where(*wanted).order_by(order).limit(limit)
    found: list[Item] = []
    for state in asked.states:
        kept = connection.execute(query.where(expectations.c.state == state))
        found += rows.items(kept, names)
    return sorted(found, key=lambda one: one.id, reverse=newest_first)[:limit]


def _link(asked: Listing, **cursor: int) -> str:
    return href("/", {**asked.narrowed, **cursor}) + "#list"


def _conditions(
    asked: Listing, names: Names, watched: Collection[str], found: Found | None
) -> list[ColumnElement[bool]]:
    table = expectations.c
    wanted: list[ColumnElement[bool]] = [table.harbor.in_(watched)]
    if asked.harbor:
        wanted.append(table.harbor == asked.harbor)
    if asked.reason:
        wanted.append(table.reason == asked.reason)
    if asked.overdue:
        wanted.append(table.overdue)
    if asked.destination:
        wanted.append(table.destination_id.in_(_places(asked, names)))
    if asked.policy:
        wanted.append(_of_policy(asked, names))
    if found:
        held = table.subject_id.in_(found.subjects)
        same = searching.begins(table.digest, found.digest)
        wanted.append(or_(held, same) if found.digest else held)
    return wanted


def _places(asked: Listing, names: Names) -> set[int]:
    return {one.id for one in names.destinations.values() if one.name == asked.destination}


def _policies(asked: Listing, names: Names) -> set[tuple[str, int]]:
    return {key for key, name in names.policies.items() if name == asked.policy}


def _of_policy(asked: Listing, names: Names) -> ColumnElement[bool]:
    table = expectations.c
    return or_(
        false(),
        *(
            and_(table.harbor == harbor, table.policy_id == policy_id)
            for harbor, policy_id in sorted(_policies(asked, names))
        ),
    )


def _total(asked: Listing, snapshot: Snapshot, names: Names) -> int:
    """How many there are, from the counts that are kept beside the rows."""
    places, policies = _places(asked, names), _policies(asked, names)

    def fits(one: Count) -> bool:
        return (
            one.state in asked.states
            and (not asked.reason or one.reason == asked.reason)
            and (not asked.harbor or one.harbor == asked.harbor)
            and (not asked.overdue or bool(one.overdue))
            and (not asked.destination or one.destination_id in places)
            and (not asked.policy or (one.harbor, one.policy_id) in policies)
        )

    return sum(one.n for one in snapshot.counts if fits(one))
