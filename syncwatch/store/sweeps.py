"""How far the sweep of each Harbor came, and what is known of the repositories that it compares.

In: `plan.sweep`. A complete pass goes through the repositories of each project by Harbor's own
ids, so that it can go on where it was after a restart, or at another replica.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, func, select, update

from syncwatch.model import Operation, State
from syncwatch.store.dialect import insert
from syncwatch.store.schema import expectations, harbors, subjects, sweeps

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection

    from syncwatch.model import Millis


@dataclass(frozen=True, slots=True)
class Swept:
    """How far a pass came in one project: up to the repository of that id (Harbor's)."""

    project: str
    cursor: int
    repositories: int
    tags: int
    ended_at: Millis | None


@dataclass(frozen=True, slots=True)
class KnownSubject:
    """The newest generation of a subject; `closed_at` is set where it ended."""

    id: int
    policy_id: int
    reference: str
    digest: str
    operation: str
    state: str
    reason: str
    pushed_at: Millis
    closed_at: Millis | None


def begin_pass(connection: Connection, harbor: str, projects: Collection[str], now: Millis) -> None:
    """A complete pass through these projects begins."""
    connection.execute(
        update(harbors)
        .where(harbors.c.name == harbor)
        .values(pass_began_at=now, pass_ended_at=None)
    )
    connection.execute(delete(sweeps).where(sweeps.c.harbor == harbor))
    add_projects(connection, harbor, projects, now)


def add_projects(
    connection: Connection, harbor: str, projects: Collection[str], began_at: Millis
) -> None:
    """Projects that the pass under way is to go through as well."""
    for name in projects:
        values = {"cursor": 0, "repositories": 0, "tags": 0}
        connection.execute(
            insert(connection)(sweeps)
            .values(harbor=harbor, project=name, pass_began_at=began_at, **values)
            .on_conflict_do_nothing()
        )


def projects_of_pass(connection: Connection, harbor: str) -> list[Swept]:
    """How far the pass came in each project."""
    table = sweeps.c
    query = (
        select(table.project, table.cursor, table.repositories, table.tags, table.ended_at)
        .where(table.harbor == harbor)
        .order_by(table.project)
    )
    return [Swept(*row) for row in connection.execute(query)]


def advance(
    connection: Connection, harbor: str, project: str, cursor: int, repositories: int, tags: int
) -> None:
    """So many more repositories and tags of a project were compared, up to that one."""
    connection.execute(
        update(sweeps)
        .where(sweeps.c.harbor == harbor, sweeps.c.project == project)
        .values(
            cursor=cursor,
            repositories=sweeps.c.repositories + repositories,
            tags=sweeps.c.tags + tags,
        )
    )


def end_project(connection: Connection, harbor: str, project: str, now: Millis) -> None:
    """All repositories of a project were compared."""
    connection.execute(
        update(sweeps)
        .where(sweeps.c.harbor == harbor, sweeps.c.project == project)
        .values(ended_at=now)
    )


def known_of(connection: Connection, harbor: str, repository: str) -> list[KnownSubject]:
    """What is known of a source repository: the newest generation of each subject on it."""
    table = expectations.c
    query = (
        select(
            subjects.c.id,
            subjects.c.policy_id,
            subjects.c.reference,
            table.digest,
            table.operation,
            table.state,
            table.reason,
            table.pushed_at,
            table.closed_at,
        )
        .join(expectations, table.id == subjects.c.newest_id)
        .where(subjects.c.harbor == harbor, subjects.c.source_repository == repository)
    )
    return [KnownSubject(*row) for row in connection.execute(query)]


def repositories_known(
    connection: Connection, harbor: str, project: str, after: str, limit: int
) -> Sequence[str]:
    """Source repositories of a project of which a copy is still expected, by name."""
    table = subjects.c
    query = (
        select(table.source_repository)
        .join(
            expectations,
            and_(
                expectations.c.id == table.newest_id,
                expectations.c.operation == Operation.COPY,
                expectations.c.state != State.CLOSED,
            ),
        )
        .where(
            table.harbor == harbor,
            table.source_repository.startswith(f"{project}/", autoescape=True),
            table.source_repository > after,
        )
        .group_by(table.source_repository)
        .order_by(table.source_repository)
        .limit(limit)
    )
    return connection.execute(query).scalars().all()


def ask_all_of(connection: Connection, harbor: str, repository: str, at: Millis) -> int:
    """The whole repository was not listed: each copy expected of it is to be asked for."""
    wanted = (
        select(subjects.c.id)
        .join(expectations, expectations.c.id == subjects.c.newest_id)
        .where(
            subjects.c.harbor == harbor,
            subjects.c.source_repository == repository,
            expectations.c.operation == Operation.COPY,
            expectations.c.state != State.CLOSED,
        )
    )
    done = connection.execute(
        update(subjects).where(subjects.c.id.in_(wanted)).values(source_due_at=at)
    )
    return int(done.rowcount)


def totals(connection: Connection, harbor: str) -> tuple[int, int]:
    """Repositories and tags compared in the pass so far."""
    query = select(
        func.coalesce(func.sum(sweeps.c.repositories), 0), func.coalesce(func.sum(sweeps.c.tags), 0)
    ).where(sweeps.c.harbor == harbor)
    repositories, tags = connection.execute(query).one()
    return int(repositories), int(tags)
