"""Rows of expectations as the page shows them, with the names people know them by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from syncwatch.model import OPEN_STATES, State
from syncwatch.report.page.asking import image_href
from syncwatch.store.schema import expectations, subjects

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Row, Select

    from syncwatch.model import Millis
    from syncwatch.store.policies import Destination
    from syncwatch.store.reading import Snapshot

OVERDUE = "overdue"
"""How a pending expectation past its deadline is marked."""

_COLUMNS = (
    expectations.c.id,
    expectations.c.subject_id,
    expectations.c.harbor,
    expectations.c.policy_id,
    expectations.c.destination_id,
    expectations.c.operation,
    expectations.c.origin,
    expectations.c.digest,
    expectations.c.state,
    expectations.c.reason,
    expectations.c.message,
    expectations.c.level,
    expectations.c.required_level,
    expectations.c.overdue,
    expectations.c.pushed_at,
    expectations.c.expected_at,
    expectations.c.deadline_at,
    expectations.c.notified_at,
    expectations.c.claimed_at,
    expectations.c.verified_at,
    expectations.c.pulled_at,
    expectations.c.observed_at,
    expectations.c.proved_at,
    expectations.c.execution_id,
    expectations.c.closed_at,
    expectations.c.known_by,
    subjects.c.source_repository,
    subjects.c.reference,
    subjects.c.repository,
    subjects.c.behind_since,
)


@dataclass(frozen=True, slots=True)
class Item:
    """One expectation. Times are milliseconds, as in `schema.expectations`."""

    id: int
    subject_id: int
    harbor: str
    policy_id: int
    destination_id: int
    operation: str
    origin: str
    digest: str
    state: str
    reason: str
    message: str
    level: str | None
    required_level: str
    overdue: bool
    pushed_at: Millis
    expected_at: Millis
    deadline_at: Millis
    notified_at: Millis | None
    claimed_at: Millis | None
    verified_at: Millis | None
    pulled_at: Millis | None
    observed_at: Millis | None
    proved_at: Millis | None
    execution_id: int | None
    closed_at: Millis | None
    known_by: str
    source_repository: str
    reference: str
    repository: str
    behind_since: Millis | None
    policy: str
    destination: str

    @property
    def mark(self) -> str:
        """The name of its mark: its state, or overdue."""
        return OVERDUE if self.state == State.PENDING and self.overdue else self.state

    @property
    def is_open(self) -> bool:
        """Whether it is still owed."""
        return self.state in OPEN_STATES

    @property
    def since(self) -> Millis:
        """Since when the destination is behind; for what is not, when it was expected."""
        return self.behind_since if self.is_open and self.behind_since else self.expected_at

    @property
    def name(self) -> str:
        """The image as people write it."""
        return named(self.source_repository, self.reference)

    @property
    def name_there(self) -> str:
        """The image by its name at the destination."""
        return named(self.repository, self.reference)

    @property
    def image_href(self) -> str:
        """The page of the image."""
        return image_href(self.harbor, self.source_repository, self.reference)

    @property
    def href(self) -> str:
        """Its place on the page of the image."""
        return f"{self.image_href}#at-{self.subject_id}"


def named(repository: str, reference: str) -> str:
    """REPOSITORY:TAG or REPOSITORY@DIGEST."""
    return f"{repository}{'@' if ':' in reference else ':'}{reference}"


class Names:
    """Policies and destinations of a snapshot by id, those that are gone too."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.policies: Mapping[tuple[str, int], str] = {
            (one.harbor, one.policy_id): one.name for one in snapshot.policies
        }
        self.destinations: Mapping[int, Destination] = {
            one.id: one for one in snapshot.destinations
        }

    def destination(self, destination_id: int) -> str:
        """Harbor's name of the endpoint."""
        one = self.destinations.get(destination_id)
        return one.name if one else f"destination {destination_id}"

    def policy(self, harbor: str, policy_id: int) -> str:
        """Harbor's name of the policy."""
        return self.policies.get((harbor, policy_id), f"policy {policy_id}")


def chosen() -> Select[Any]:
    """A query of all that an Item is made of; the names are put to it by `items`."""
    return select(*_COLUMNS).join(subjects, subjects.c.id == expectations.c.subject_id)


def items(rows: Iterable[Row[Any]], names: Names) -> list[Item]:
    """The rows of `chosen` with their names."""
    return [
        Item(
            **row._mapping,  # noqa: SLF001 - SQLAlchemy's accessor
            policy=names.policy(row.harbor, row.policy_id),
            destination=names.destination(row.destination_id),
        )
        for row in rows
    ]
