"""Subjects: reading them, and having their source tags asked for again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from syncwatch.model import Millis, State
from syncwatch.store.schema import claims, expectations, subjects

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy import Connection

from syncwatch.store.dialect import insert


@dataclass(frozen=True, slots=True)
class DueSubject:
    """A subject whose source tag is to be asked for, with what its newest generation wants."""

    id: int
    source_repository: str
    reference: str
    newest_id: int | None
    digest: str | None


def source_due(connection: Connection, harbor: str, now: Millis, limit: int) -> list[DueSubject]:
    """Subjects whose source tag is to be asked for now, longest due first."""
    table = subjects.c
    query = (
        select(
            table.id,
            table.source_repository,
            table.reference,
            table.newest_id,
            expectations.c.digest,
        )
        .join(expectations, expectations.c.id == table.newest_id, isouter=True)
        .where(table.harbor == harbor, table.source_due_at <= now)
        .order_by(table.source_due_at)
        .limit(limit)
    )
    return [DueSubject(*row) for row in connection.execute(query)]


def ask_source(connection: Connection, ids: Collection[int], at: Millis) -> None:
    """Have the source tags of these subjects asked for at a moment (or never mind: they wait)."""
    connection.execute(update(subjects).where(subjects.c.id.in_(ids)).values(source_due_at=at))


def ask_source_of(
    connection: Connection, harbor: str, repository: str, digests: Collection[str], at: Millis
) -> None:
    """Have those source tags asked for that name one of these digests, by what we know."""
    wanted = (
        select(subjects.c.id)
        .join(expectations, expectations.c.id == subjects.c.newest_id)
        .where(
            subjects.c.harbor == harbor,
            subjects.c.source_repository == repository,
            expectations.c.digest.in_(digests),
            expectations.c.state != State.CLOSED,
        )
    )
    connection.execute(update(subjects).where(subjects.c.id.in_(wanted)).values(source_due_at=at))


def ask_source_named(
    connection: Connection,
    harbor: str,
    repository: str,
    references: Collection[str] | None,
    at: Millis,
) -> None:
    """Have these source tags asked for, or all that are open or verified where none is named."""
    query = update(subjects).where(
        subjects.c.harbor == harbor, subjects.c.source_repository == repository
    )
    if references is not None:
        query = query.where(subjects.c.reference.in_(references))
    connection.execute(query.values(source_due_at=at))


def source_read(
    connection: Connection, harbor: str, repository: str, reference: str, digest: str, at: Millis
) -> None:
    """The source's tag named `digest` when it was asked at `at`, for every subject on it."""
    connection.execute(
        update(subjects)
        .where(
            subjects.c.harbor == harbor,
            subjects.c.source_repository == repository,
            subjects.c.reference == reference,
        )
        .values(source_digest=digest, source_read_at=at, source_due_at=None)
    )


def pushed_between(
    connection: Connection, harbor: str, policy_id: int, repository: str, begin: Millis, end: Millis
) -> list[tuple[str, str]]:
    """(reference, digest) of generations of a policy pushed within a time of Harbor's clock."""
    query = (
        select(subjects.c.reference, expectations.c.digest)
        .join(expectations, expectations.c.subject_id == subjects.c.id)
        .where(
            subjects.c.harbor == harbor,
            subjects.c.policy_id == policy_id,
            subjects.c.source_repository == repository,
            expectations.c.pushed_at >= begin,
            expectations.c.pushed_at <= end,
        )
    )
    return [(row.reference, row.digest) for row in connection.execute(query)]


def rivals(
    connection: Connection, destination_id: int, repository: str, reference: str, but: str
) -> list[tuple[int, str, str]]:
    """(policy id, source repository, digest) of other sources expected under one name."""
    query = (
        select(subjects.c.policy_id, subjects.c.source_repository, expectations.c.digest)
        .join(expectations, expectations.c.id == subjects.c.newest_id)
        .where(
            subjects.c.destination_id == destination_id,
            subjects.c.repository == repository,
            subjects.c.reference == reference,
            subjects.c.source_repository != but,
            expectations.c.state != State.CLOSED,
        )
    )
    return [tuple(row) for row in connection.execute(query)]


def claim(
    connection: Connection, harbor: str, repository: str, digests: Iterable[str], at: Millis
) -> None:
    """These digests are judged inside something else of their repository."""
    values = [
        {"harbor": harbor, "repository": repository, "digest": digest, "at": at}
        for digest in dict.fromkeys(digests)
    ]
    if values:
        statement = insert(connection)(claims)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=list(claims.primary_key.columns), set_={"at": statement.excluded.at}
            ),
            values,
        )


def is_claimed(connection: Connection, harbor: str, repository: str, digest: str) -> bool:
    """Whether something else of the repository has claimed a digest."""
    query = select(claims.c.at).where(
        claims.c.harbor == harbor, claims.c.repository == repository, claims.c.digest == digest
    )
    return connection.execute(query).first() is not None


def source_gone(connection: Connection, harbor: str, repository: str, reference: str) -> None:
    """The source's reference is not there: nothing more to ask until it is set again."""
    connection.execute(
        update(subjects)
        .where(
            subjects.c.harbor == harbor,
            subjects.c.source_repository == repository,
            subjects.c.reference == reference,
        )
        .values(source_digest=None, source_due_at=None)
    )
