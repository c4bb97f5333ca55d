"""How far the complete pass of a Harbor's sweep is. In: `plan`, which writes it; out: `report`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, select

from syncwatch.store.schema import harbors, sweeps

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Pass:
    """The pass under way, or the last one: projects in it and done with, and what was read."""

    projects: int
    done: int
    repositories: int
    tags: int


def newest(connection: Connection, watched: Collection[str]) -> dict[str, Pass]:
    """The newest pass of each Harbor that has begun one, by its name."""
    table = sweeps.c
    query = (
        select(
            table.harbor,
            func.count(),
            func.count(table.ended_at),
            func.coalesce(func.sum(table.repositories), 0),
            func.coalesce(func.sum(table.tags), 0),
        )
        .join(
            harbors,
            and_(harbors.c.name == table.harbor, harbors.c.pass_began_at == table.pass_began_at),
        )
        .where(table.harbor.in_(watched))
        .group_by(table.harbor)
    )
    return {row[0]: Pass(*(int(one) for one in row[1:])) for row in connection.execute(query)}
