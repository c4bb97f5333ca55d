"""Signatures and referrers that the source has for its images, by Harbor's own list.

In: `plan`, as often as it reads an artifact. Out: `verify`, which looks for them beside the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from syncwatch.model import Accessory, Millis
from syncwatch.store.dialect import insert
from syncwatch.store.schema import accessories

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection


def keep(
    connection: Connection,
    harbor: str,
    source_repository: str,
    found: Mapping[str, Collection[Accessory]],
    at: Millis,
) -> None:
    """What the source has for these digests, whatever it had before."""
    here = (accessories.c.harbor == harbor, accessories.c.source_repository == source_repository)
    connection.execute(
        delete(accessories).where(*here, accessories.c.subject_digest.in_(list(found)))
    )
    values = [
        {
            "harbor": harbor,
            "source_repository": source_repository,
            "subject_digest": subject,
            "digest": one.digest,
            "type": one.type,
            "reference": one.reference,
            "at": at,
        }
        for subject, listed in found.items()
        for one in {one.digest: one for one in listed}.values()
    ]
    if values:
        # A second replica may have read the same artifact in the meantime.
        connection.execute(insert(connection)(accessories).on_conflict_do_nothing(), values)


def of(
    connection: Connection, harbor: str, subjects: Collection[str]
) -> dict[str, tuple[Accessory, ...]]:
    """The accessories of these digests, in whichever repository of the Harbor."""
    found: dict[str, dict[str, Accessory]] = {}
    query = (
        select(accessories)
        .where(accessories.c.harbor == harbor, accessories.c.subject_digest.in_(list(subjects)))
        .order_by(accessories.c.subject_digest, accessories.c.digest)
    )
    for row in connection.execute(query) if subjects else ():
        one = Accessory(row.digest, row.type, row.reference)
        found.setdefault(row.subject_digest, {})[row.digest] = one
    return {subject: tuple(listed.values()) for subject, listed in found.items()}


def forget(connection: Connection, before: Millis) -> bool:
    """Accessories of images that were not read since a moment."""
    connection.execute(delete(accessories).where(accessories.c.at < before))
    return False
