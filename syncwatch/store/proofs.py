"""Blobs that were proven at a destination, remembered for a day. In and out: `verify`.

A proof belongs to (destination, repository, digest): the layers that images share are asked for
once. It says that the blob was whole when the look began, so it does not outlive what may have
taken the blob away, nor a claim of Harbor's to have brought the image anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, case, delete, func, select

from syncwatch.model import HOUR, SECOND, Millis
from syncwatch.store.dialect import insert
from syncwatch.store.schema import executions, proofs, tasks

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

KEPT: Millis = 24 * HOUR
"""How long a proof is good for."""

_ASKED_AT_ONCE = 500


def known(
    connection: Connection,
    destination_id: int,
    repository: str,
    digests: Collection[str],
    since: Millis,
) -> set[str]:
    """Those of the blobs that were proven by a look which began at `since` or later."""
    wanted = list(digests)
    found: set[str] = set()
    for begin in range(0, len(wanted), _ASKED_AT_ONCE):
        query = select(proofs.c.digest).where(
            proofs.c.destination_id == destination_id,
            proofs.c.repository == repository,
            proofs.c.digest.in_(wanted[begin : begin + _ASKED_AT_ONCE]),
            proofs.c.at >= since,
        )
        found |= set(connection.execute(query).scalars())
    return found


def add(
    connection: Connection,
    destination_id: int,
    repository: str,
    digests: Collection[str],
    at: Millis,
) -> None:
    """A look that began at `at` read the last byte of these blobs."""
    if not digests:
        return
    statement = insert(connection)(proofs)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(proofs.primary_key.columns), set_={"at": statement.excluded.at}
        ),
        [
            {"destination_id": destination_id, "repository": repository, "digest": one, "at": at}
            for one in sorted(digests)
        ],
    )


def good_since(connection: Connection, harbor: str, repository: str, skew: Millis) -> Millis:
    """From when on a proof in a destination's repository says something of an image proven before.

    After Harbor claims to have copied there again, or has deleted there, what was proven before
    that began is no answer to the claim. Ours, 0 where no run ever touched it.
    """
    deletes = tasks.c.operation.in_(("deletion", "tag deletion"))
    moment = case((deletes, func.coalesce(tasks.c.end_at + SECOND, 0)), else_=executions.c.start_at)
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
    connection.execute(delete(proofs).where(proofs.c.at < now - KEPT))
    return False
