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
AFTER_FINDING = (int, str, str, str, str)
"""The types of what `after_finding` gives."""


def as_cursor(place: Sequence[Any]) -> str:
    """A place as a word that may stand in a query."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def read_cursor(text: str | None, types: Sequence[type]) -> tuple[Any, ...] | None:
    """The place that `as_cursor` wrote; None without one. Raises QueryError for anything else."""
    if not text:
        return None
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        place = msgspec.json.decode(plain, type=tuple[tuple(types)])  # type: ignore[misc]
    except (ValueError, msgspec.MsgspecError):
        raise QueryError(DAMAGED) from None
    if any(isinstance(one, int) and not 0 <= one <= BIGGEST for one in place):
        raise QueryError(DAMAGED)
    return tuple(place)


def after_finding(row: Row[Any]) -> tuple[Any, ...]:
    """The place of a finding among all, the oldest first."""
    return row.since, row.harbor, row.finding, row.subject, row.source
