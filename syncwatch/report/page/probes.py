"""Probes as the page shows them: what nodes of its cluster said of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from syncwatch.model import Pulling, State
from syncwatch.store import probe_reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

    from syncwatch.model import Millis
    from syncwatch.report.page.rows import Item

PODS = 5
"""Pods that are shown of a probe."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that was to pull it, with the mark and the word for what it came to."""

    row: Row[Any]
    mark: str
    word: str


@dataclass(frozen=True, slots=True)
class Probe:
    """What nodes of the cluster said of an image, and whether they will be asked again.

    `next_at` is when the next pod is due, which may be over; `under_way_since` when pods were made.
    """

    id: int
    mark: str
    word: str
    message: str
    ended_at: Millis | None
    proved_at: Millis | None
    under_way_since: Millis | None
    next_at: Millis | None
    is_image: bool | None
    pods: Sequence[Pod]
    command: str


def mark_of(result: str | None) -> str:
    """The mark of what a pod, or all of a probe, came to; None is not yet."""
    if result is None:
        return State.PENDING
    special = {Pulling.PULLED: State.VERIFIED, Pulling.INCONCLUSIVE: State.UNKNOWN}
    return special.get(Pulling(result), State.FAILED)


def word_of(result: str | None) -> str:
    """The same in a word or two."""
    return "under way" if result is None else result.replace("_", " ")


def probe_of(connection: Connection, item: Item, command: str) -> Probe | None:
    """The probe of an image's digest at one destination; None where there is none."""
    key = (item.destination_id, item.repository, item.digest)
    row = next(iter(probe_reading.by_keys(connection, [key])), None)
    if row is None:
        return None
    pods = probe_reading.pods_of(connection, row.id)[:PODS]
    return Probe(
        id=row.id,
        mark=mark_of(row.result),
        word=word_of(row.result) if row.result else "",
        message=row.message,
        ended_at=row.ended_at,
        proved_at=row.proved_at,
        under_way_since=row.began_at,
        next_at=row.due_at,
        is_image=row.is_image,
        pods=[Pod(one, mark_of(one.result), word_of(one.result)) for one in pods],
        command=command,
    )
