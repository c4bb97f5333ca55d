"""Subjects: reading them, and having their source tags asked for again."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from sqlalchemy import and_, case, or_, select, update

from syncwatch.model import Millis, Operation, Reason, State
from syncwatch.store.dialect import insert
from syncwatch.store.schema import claims, expectations, subjects

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy import ColumnElement, Connection


CLAIMED_AT_ONCE = 1000
"""An index of more children than that is judged to exceed its bounds anyway."""


@dataclass(frozen=True, slots=True)
class DueSubject:
    """A subject whose source tag is to be asked for, with what its newest generation wants.

    `pushed_at` of that, and `deleted_at`, when the reference is said to have gone, are Harbor's
    clock.
    """

    id: int
    source_repository: str
    reference: str
    newest_id: int | None
    digest: str | None
    operation: str | None
    pushed_at: Millis | None
    deleted_at: Millis | None

    @property
    def name(self) -> tuple[str, str]:
        """(source repository, reference)."""
        return (self.source_repository, self.reference)


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
            expectations.c.operation,
            expectations.c.pushed_at,
            table.deleted_at,
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


def ask_sources_of(
    connection: Connection, harbor: str, repository: str, digests: Collection[str], at: Millis
) -> None:
    """Have those source tags asked for that name one of these digests, by what we know."""
    wanting = _newest(expectations.c.digest.in_(digests), *_OPEN_COPY)
    connection.execute(
        update(subjects).where(_of_source(harbor, repository), wanting).values(source_due_at=at)
    )


def artifact_deleted(
    connection: Connection,
    harbor: str,
    repository: str,
    digest: str,
    reference: str,
    deleted_at: Millis,
    now: Millis,
) -> bool:
    """An artifact is said to have gone: ask for all source tags that named it, by what we know.

    `reference` is the one that is told of. `deleted_at` is Harbor's clock. False where no subject
    is of that reference.
    """
    named = subjects.c.reference == reference
    wanting = _newest(expectations.c.digest == digest, *_OPEN_COPY)
    here = _of_source(harbor, repository)
    _ask_deleted(connection, and_(here, or_(named, wanting)), deleted_at, now)
    return connection.execute(select(subjects.c.id).where(here, named)).first() is not None


def ask_deleted(
    connection: Connection,
    harbor: str,
    repository: str,
    references: Collection[str] | None,
    deleted_at: Millis,
    now: Millis,
) -> None:
    """These references are said to have gone, or any of the repository where none is named."""
    told = subjects.c.reference.in_(references) if references is not None else _newest(*_OPEN_COPY)
    _ask_deleted(connection, and_(_of_source(harbor, repository), told), deleted_at, now)


_OPEN_COPY = (expectations.c.operation == Operation.COPY, expectations.c.state != State.CLOSED)


def _of_source(harbor: str, repository: str) -> ColumnElement[bool]:
    return and_(subjects.c.harbor == harbor, subjects.c.source_repository == repository)


def _newest(*where: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether the newest generation of a subject is such."""
    return (
        select(expectations.c.id)
        .where(expectations.c.id == subjects.c.newest_id, *where)
        .correlate(subjects)
        .exists()
    )


def _ask_deleted(
    connection: Connection, where: ColumnElement[bool], deleted_at: Millis, now: Millis
) -> None:
    before = subjects.c.deleted_at
    latest = case((before > deleted_at, before), else_=deleted_at)
    connection.execute(update(subjects).where(where).values(source_due_at=now, deleted_at=latest))


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
        .values(source_digest=digest, source_read_at=at, source_due_at=None, deleted_at=None)
    )


def pushed_between(
    connection: Connection, harbor: str, policy_id: int, repository: str, begin: Millis, end: Millis
) -> list[tuple[str, str]]:
    """(reference, digest) of copies of a policy pushed within a time of Harbor's clock."""
    query = (
        select(subjects.c.reference, expectations.c.digest)
        .join(expectations, expectations.c.subject_id == subjects.c.id)
        .where(
            subjects.c.harbor == harbor,
            subjects.c.policy_id == policy_id,
            subjects.c.source_repository == repository,
            expectations.c.operation == Operation.COPY,
            # A deletion ended it: another push of the same second would be news.
            expectations.c.reason != Reason.DELETED_AT_SOURCE,
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
            *_OPEN_COPY,
        )
    )
    return [tuple(row) for row in connection.execute(query)]


def claim(
    connection: Connection, harbor: str, repository: str, digests: Iterable[str], at: Millis
) -> None:
    """These digests are judged inside something else of their repository, the first thousand."""
    values = [
        {"harbor": harbor, "repository": repository, "digest": digest, "at": at}
        for digest in islice(dict.fromkeys(digests), CLAIMED_AT_ONCE)
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
        .values(source_digest=None, source_due_at=None, deleted_at=None)
    )
