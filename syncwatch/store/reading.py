"""What reports read: rows with the names people know them by, and counts kept beside the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, or_, select

from syncwatch.model import Millis, Operation, State
from syncwatch.store import policies as policy_store
from syncwatch.store.schema import (
    changes,
    counts,
    destinations,
    executions,
    expectations,
    findings,
    harbors,
    policies,
    subjects,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import ColumnElement, CompoundSelect, Connection, Row, Select

    from syncwatch.store.policies import Destination, HarborRow, Policy


@dataclass(frozen=True, slots=True)
class Count:
    """How many expectations of a policy at a destination are in a state for a reason."""

    harbor: str
    policy_id: int
    destination_id: int
    state: str
    reason: str
    overdue: int
    n: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that gauges are made of. `behind` is the oldest `behind_since` by (harbor, policy id,
    destination id), `evidence` the oldest proof by destination id."""

    harbors: Sequence[HarborRow]
    policies: Sequence[Policy]
    destinations: Sequence[Destination]
    counts: Sequence[Count]
    behind: dict[tuple[str, int, int], Millis]
    evidence: dict[int, Millis]
    findings: dict[tuple[str, str, str], int]


def snapshot(connection: Connection, watched: Collection[str]) -> Snapshot:
    """One consistent picture of the harbors watched, at a cost that does not grow with images."""
    known = [one for one in policy_store.known_destinations(connection) if one.harbor in watched]
    rows = connection.execute(select(counts).where(counts.c.n != 0, counts.c.harbor.in_(watched)))
    counted = [Count(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's accessor
    pairs = {(one.harbor, one.policy_id, one.destination_id) for one in counted}
    return Snapshot(
        harbors=[
            policy_store.HarborRow(**row._mapping)  # noqa: SLF001
            for row in connection.execute(
                select(harbors).where(harbors.c.name.in_(watched)).order_by(harbors.c.name)
            )
        ],
        policies=[one for one in policy_store.known_policies(connection) if one.harbor in watched],
        destinations=known,
        counts=counted,
        behind=_behind(connection, pairs),
        evidence=_evidence(connection, known),
        findings=_finding_counts(connection, watched),
    )


def _behind(
    connection: Connection, pairs: set[tuple[str, int, int]]
) -> dict[tuple[str, int, int], Millis]:
    """The first entry of an index for each pair, however many subjects are behind."""
    found = {}
    for harbor, policy_id, destination_id in pairs:
        oldest = connection.execute(
            select(func.min(subjects.c.behind_since)).where(
                subjects.c.harbor == harbor,
                subjects.c.policy_id == policy_id,
                subjects.c.destination_id == destination_id,
                subjects.c.behind_since.is_not(None),
            )
        ).scalar()
        if oldest is not None:
            found[harbor, policy_id, destination_id] = oldest
    return found


def _evidence(connection: Connection, known: Sequence[Destination]) -> dict[int, Millis]:
    found = {}
    for one in known:
        if one.gone_at is None:
            oldest = connection.execute(
                select(func.min(expectations.c.proved_at)).where(
                    expectations.c.destination_id == one.id,
                    expectations.c.state == State.VERIFIED,
                    expectations.c.operation == Operation.COPY,
                )
            ).scalar()
            if oldest is not None:
                found[one.id] = oldest
    return found


def _finding_counts(
    connection: Connection, watched: Collection[str]
) -> dict[tuple[str, str, str], int]:
    table = findings.c
    query = (
        select(table.harbor, table.finding, table.severity, func.count())
        .where(table.harbor.in_(watched))
        .group_by(table.harbor, table.finding, table.severity)
    )
    return {(row[0], row[1], row[2]): row[3] for row in connection.execute(query)}


@dataclass(frozen=True, slots=True)
class Filters:
    """Which expectations are wanted. `policy` is a name or an id; `repository` either side's."""

    harbor: str | None = None
    policy: str | None = None
    destination: str | None = None
    repository: str | None = None
    reference: str | None = None
    state: str | None = None
    reason: str | None = None
    overdue: bool | None = None
    all: bool = False


def list_expectations(
    connection: Connection, wanted: Filters, limit: int, before: int | None
) -> list[Row[Any]]:
    """Rows that match, newest first, at most `limit`, with ids below `before`."""
    query = _with_names().where(*_conditions(wanted))
    if before is not None:
        query = query.where(expectations.c.id < before)
    return list(connection.execute(query.order_by(expectations.c.id.desc()).limit(limit)))


def one_expectation(connection: Connection, expectation_id: int) -> Row[Any] | None:
    """One row with its names."""
    query = _with_names().where(expectations.c.id == expectation_id)
    return connection.execute(query).one_or_none()


def timeline(connection: Connection, expectation_id: int) -> list[Row[Any]]:
    """What happened to an expectation, oldest first."""
    query = select(changes).where(changes.c.expectation_id == expectation_id)
    return list(connection.execute(query.order_by(changes.c.id).limit(1000)))


def list_findings(connection: Connection, watched: Collection[str]) -> list[Row[Any]]:
    """The findings of the harbors watched, the oldest first."""
    query = select(findings).where(findings.c.harbor.in_(watched)).order_by(findings.c.since)
    return list(connection.execute(query))


def last_executions(connection: Connection) -> dict[tuple[str, int], Row[Any]]:
    """The newest execution known of each policy."""
    newest = (
        select(
            executions.c.harbor,
            executions.c.policy_id,
            func.max(executions.c.execution_id).label("execution_id"),
        )
        .group_by(executions.c.harbor, executions.c.policy_id)
        .subquery()
    )
    query = select(executions).join(
        newest,
        and_(
            newest.c.harbor == executions.c.harbor,
            newest.c.execution_id == executions.c.execution_id,
        ),
    )
    return {(row.harbor, row.policy_id): row for row in connection.execute(query)}


def _with_names() -> Select[Any]:
    return (
        select(
            expectations,
            subjects.c.source_repository,
            subjects.c.reference,
            subjects.c.repository,
            policies.c.name.label("policy"),
            destinations.c.name.label("destination"),
        )
        .join(subjects, subjects.c.id == expectations.c.subject_id)
        .join(destinations, destinations.c.id == expectations.c.destination_id)
        .join(
            policies,
            and_(
                policies.c.harbor == expectations.c.harbor,
                policies.c.policy_id == expectations.c.policy_id,
            ),
        )
    )


def _of_repository(name: str) -> CompoundSelect[Any]:
    """Subjects with that name on either side, each side by its own index."""
    source = select(subjects.c.id).where(
        subjects.c.harbor.in_(select(harbors.c.name)), subjects.c.source_repository == name
    )
    there = select(subjects.c.id).where(
        subjects.c.destination_id.in_(select(destinations.c.id)), subjects.c.repository == name
    )
    return source.union(there)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _conditions(wanted: Filters) -> list[ColumnElement[bool]]:
    table = expectations.c
    plain = (
        (table.harbor, wanted.harbor),
        (destinations.c.name, wanted.destination),
        (subjects.c.reference, wanted.reference),
        (table.state, wanted.state),
        (table.reason, wanted.reason),
        (table.overdue, wanted.overdue),
    )
    found: list[ColumnElement[bool]] = [column == v for column, v in plain if v is not None]
    if wanted.state is None and not wanted.all:
        found.append(table.state != State.CLOSED)
    if wanted.repository is not None:
        found.append(table.subject_id.in_(_of_repository(wanted.repository)))
    if wanted.policy is not None:
        named = policies.c.name == wanted.policy
        by_id = policies.c.policy_id == int(wanted.policy) if _is_id(wanted.policy) else None
        found.append(or_(named, by_id) if by_id is not None else named)
    return found
