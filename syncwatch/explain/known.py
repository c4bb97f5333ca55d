"""What the store knows for an answer: policies with their revisions, and rows of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from syncwatch.explain.causes import Image, Rule, Times
from syncwatch.plan.promises import by_policy
from syncwatch.store import observations, policies, reading, subjects
from syncwatch.store.schema import expectations
from syncwatch.store.schema import subjects as subject_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection, Row

    from syncwatch.model import Millis
    from syncwatch.store.policies import Destination, HarborRow

MOST = 100
"""Rows of one image that are told: one for each policy and destination, as a rule."""


@dataclass(frozen=True, slots=True)
class Known:
    """One Harbor as the store has it."""

    row: HarborRow
    rules: Sequence[Rule]
    destinations: Mapping[int, Destination]

    def times(self, now: Millis) -> Times:
        """Moments in Harbor's clock; `now` is ours."""
        skew = policies.used_skew(self.row.skew)
        return Times(now + skew, self.row.watching_since + skew, skew)


@dataclass(frozen=True, slots=True)
class Told:
    """The newest generation of a subject, with its timeline and how it stands in the API."""

    row: Row[Any]
    changes: Sequence[Row[Any]]


def harbor(connection: Connection, name: str) -> Known:
    """A Harbor's policies that are not gone, and all destinations it ever had."""
    revisions = by_policy(policies.known_revisions(connection, name))
    rules = [
        Rule(policy, revisions[policy.policy_id])
        for policy in policies.known_policies(connection, name)
        if policy.gone_at is None and policy.policy_id in revisions
    ]
    there = {one.id: one for one in policies.known_destinations(connection, name)}
    return Known(policies.harbor_row(connection, name), rules, there)


def rows_of(
    connection: Connection, harbor: str, repository: str, references: Collection[str], digest: str
) -> list[Told]:
    """The newest row of each subject of an image: of these references, or with that digest."""
    named = subject_rows.c.reference.in_(references)
    query = (
        select(expectations.c.id)
        .join(subject_rows, subject_rows.c.newest_id == expectations.c.id)
        .where(
            subject_rows.c.harbor == harbor,
            subject_rows.c.source_repository == repository,
            named if not digest else named | (expectations.c.digest == digest),
        )
        .order_by(expectations.c.id.desc())
        .limit(MOST)
    )
    rows = [reading.one_expectation(connection, one) for one in connection.execute(query).scalars()]
    return [Told(row, reading.timeline(connection, row.id)) for row in rows if row is not None]


def sources_at(connection: Connection, destination_id: int, repository: str) -> dict[int, set[str]]:
    """Source repositories met under a name at a destination, by policy."""
    table = subject_rows.c
    query = (
        select(table.policy_id, table.source_repository)
        .where(table.destination_id == destination_id, table.repository == repository)
        .distinct()
        .limit(MOST)
    )
    found: dict[int, set[str]] = {}
    for policy_id, source in connection.execute(query):
        found.setdefault(policy_id, set()).add(source)
    return found


def served(
    connection: Connection, destination_id: int, repository: str, reference: str
) -> str | None:
    """The digest under a name there when it was last looked at; None for none, or not known."""
    looks = observations.past(connection, destination_id, repository, reference)
    return next((one.served for one in looks if one.problem is None), None)


def rivals(connection: Connection, destination_id: int, repository: str, image: Image) -> list[str]:
    """Other sources that are expected under the same name there, as another digest."""
    found = subjects.rivals(
        connection, destination_id, repository, image.reference, image.repository
    )
    return sorted({source for _, source, digest in found if digest != image.digest})


def is_part(connection: Connection, harbor: str, repository: str, digest: str) -> bool:
    """Whether a digest is judged inside an index, or beside the image that it signs."""
    return subjects.is_claimed(connection, harbor, repository, digest)


def last_read(
    connection: Connection, harbor: str, repository: str, reference: str
) -> tuple[str | None, Millis | None]:
    """(digest, push time in Harbor's clock) of a reference, as we knew it last."""
    table = subject_rows.c
    query = (
        select(table.source_digest, expectations.c.digest, expectations.c.pushed_at)
        .join(expectations, expectations.c.id == table.newest_id)
        .where(
            table.harbor == harbor,
            table.source_repository == repository,
            table.reference == reference,
            expectations.c.operation == "copy",
        )
        .order_by(expectations.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    if row is None:
        return None, None
    same = row.source_digest in (None, row.digest)
    return row.source_digest or row.digest, row.pushed_at if same else None
