"""Blobs that were proven at a destination, remembered for a while. In and out: `verify`.

A proof belongs to (destination, repository, digest): the layers that images share are asked for
once. It says that the blob was whole when the look began, so it does not outlive what may have
taken the blob away, nor a claim of Harbor's to have brought the image anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, case, delete, func, or_, select

from syncwatch.model import HOUR, SECOND, Millis
from syncwatch.store.dialect import insert
from syncwatch.store.schema import executions, proofs, tasks

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

KEPT: Millis = 30 * 24 * HOUR
"""How long a proof is kept at most; `proofs_kept` of the destination says how long it is good."""

ALTERED_KEPT: Millis = 3 * KEPT
"""How long it is remembered that a blob has other bytes, unless it is hashed again."""

_ASKED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of blobs: which were `proven`, and which a full check found `altered`."""

    proven: frozenset[str]
    altered: frozenset[str]


def known(
    connection: Connection,
    destination_id: int,
    repository: str,
    digests: Collection[str],
    since: Millis,
) -> Kept:
    """What is kept of these blobs, proven by looks which began at `since` or later."""
    wanted = list(digests)
    found: dict[str, bool] = {}
    for begin in range(0, len(wanted), _ASKED_AT_ONCE):
        query = select(proofs.c.digest, proofs.c.altered).where(
            proofs.c.destination_id == destination_id,
            proofs.c.repository == repository,
            proofs.c.digest.in_(wanted[begin : begin + _ASKED_AT_ONCE]),
            or_(proofs.c.at >= since, proofs.c.altered),
        )
        found |= {row.digest: row.altered for row in connection.execute(query)}
    altered = frozenset(digest for digest, is_altered in found.items() if is_altered)
    return Kept(frozenset(found) - altered, altered)


def add(
    connection: Connection,
    destination_id: int,
    repository: str,
    digests: Collection[str],
    at: Millis,
    *,
    altered: bool = False,
) -> None:
    """A look that began at `at` proved these blobs, or found them `altered`."""
    if not digests:
        return
    statement = insert(connection)(proofs)
    newer = {"at": statement.excluded.at, "altered": statement.excluded.altered}
    key = {"destination_id": destination_id, "repository": repository}
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(proofs.primary_key.columns), set_=newer
        ),
        [key | {"digest": one, "at": at, "altered": altered} for one in sorted(digests)],
    )


def good_since(connection: Connection, harbor: str, repository: str, skew: Millis) -> Millis:
    """From when on a proof in a destination's repository says something of an image proven before.

    After Harbor claims to have copied there again, or has deleted there, what was proven before
    that began is no answer to the claim. Ours, 0 where no run ever touched it.
    """
    deletes = tasks.c.operation.in_(("deletion", "tag deletion"))
    # Harbor's ends are whole seconds; what is known to have ended had ended.
    told = tasks.c.changed_at + skew
    ended = case((told < tasks.c.end_at + SECOND, told), else_=tasks.c.end_at + SECOND)
    begun = case((deletes, 0), else_=executions.c.start_at)
    moment = case((tasks.c.end_at.is_(None), begun), else_=ended)
    newest = connection.execute(
        select(func.max(moment))
        .join(
            executions,
            and_(
                executions.c.harbor == tasks.c.harbor,
                executions.c.execution_id == tasks.c.execution_id,
            ),
        )
        .where(tasks.c.harbor == harbor, tasks.c.repository == repository)
    ).scalar()
    return int(newest) - skew if newest else 0


def forget(connection: Connection, now: Millis) -> bool:
    """Proofs that are good for nothing any more."""
    kept = case((proofs.c.altered, ALTERED_KEPT), else_=KEPT)
    connection.execute(delete(proofs).where(proofs.c.at < now - kept))
    return False
