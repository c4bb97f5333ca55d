"""Pure: a list page by page. A cursor is the place of the last item shown, not a number of items:
what comes or goes meanwhile shifts nothing.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from syncwatch.report.operations import QueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

Limit = Annotated[int, Meta(ge=1, le=1000, description="how many items a page has at most")]
Cursor = Annotated[
    str | None,
    Meta(description="`next` of the page before, with the same filters", examples=["WzE3XQ"]),
]
DAMAGED = "cursor is not one that a list gave as next; take it as it is, or leave it out"
BIGGEST = 2**63 - 1
FINDING_PLACE = (int, str, str, str, str)
"""The types of a finding's place."""
BEFORE_ALL = (0, "", "", "", "")


def as_cursor(place: Sequence[Any]) -> str:
    """A place as a word that may stand in a query."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def read_cursor(text: str | None, types: Sequence[type]) -> tuple[Any, ...] | None:
    """The place that `as_cursor` wrote; None without one. Raises QueryError for anything else.

    An empty text is none: who has lost `next` would read the first page for ever.
    """
    if text is None:
        return None
    if not text:
        raise QueryError(DAMAGED)
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        place = msgspec.json.decode(plain, type=tuple[tuple(types)])  # type: ignore[misc]
    except (ValueError, msgspec.MsgspecError):
        raise QueryError(DAMAGED) from None
    if any(isinstance(one, int) and not 0 <= one <= BIGGEST for one in place):
        raise QueryError(DAMAGED)
    return tuple(place)


def page_of_findings(
    rows: Sequence[Row[Any]], after: tuple[Any, ...] | None, limit: int
) -> tuple[list[Row[Any]], str | None]:
    """At most `limit` rows, the oldest first, that come after a place; the cursor of the next."""
    left = sorted((one for one in rows if _place(one) > (after or BEFORE_ALL)), key=_place)
    shown = left[:limit]
    if len(shown) == len(left):
        return shown, None
    return shown, as_cursor(_place(shown[-1]) if shown else BEFORE_ALL)


def _place(row: Row[Any]) -> tuple[Any, ...]:
    return row.since, row.harbor, row.finding, row.subject, row.source
