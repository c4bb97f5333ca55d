"""Short words for what happens to rows of the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from syncwatch.model import Change, Happening, Level, Origin, Reason, Verdict
from syncwatch.store import expectations, generations
from syncwatch.store.schema import counts, subjects
from syncwatch.store.schema import expectations as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

HARBOR, POLICY, DESTINATION = "main", 7, 3
DEADLINE = 600_000
NOW = 1_800_000_000_000

REASONS = {
    Happening.AWAITED: Reason.WAITING,
    Happening.SEEN: None,
    Happening.BROKEN: Reason.MISSING,
    Happening.UNANSWERED: Reason.UNREACHABLE,
    Happening.AGED: Reason.STALE,
}


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


@dataclass
class Story:
    """One store and a clock that only the test moves."""

    connection: Connection
    now: int = NOW

    def open(
        self,
        letter: str,
        *,
        reference: str = "1.0",
        pushed_at: int | None = None,
        read: bool = True,
        current: bool = True,
        origin: Origin = Origin.PUSH,
        notified_at: int | None = None,
    ) -> list[Change]:
        """The source's tag was set to a digest, as heard now."""
        pushed = self.now if pushed_at is None else pushed_at
        opening = generations.Opening(
            harbor=HARBOR,
            policy_id=POLICY,
            source_repository="apps/web",
            reference=reference,
            destination_id=DESTINATION,
            repository="apps/web",
            digest=digest(letter),
            origin=origin,
            pushed_at=pushed,
            expected_at=pushed,
            deadline_at=pushed + DEADLINE,
            required_level=Level.MATCHED,
            current=current,
            source_read_at=self.now if read else None,
            notified_at=notified_at,
            due_at=self.now,
        )
        return generations.open_generation(self.connection, opening, self.now)

    def judge(
        self, row: Row[Any], happening: Happening, reason: Reason | None = None, **more: Any
    ) -> Change | None:
        """A look led to this."""
        told = reason if reason is not None else REASONS[happening]
        proved = Level.MATCHED if happening is Happening.SEEN else None
        return expectations.judge(
            self.connection,
            row,
            Verdict(happening, told, "said so.", self.now + 1000),
            now=self.now,
            observed_at=self.now,
            reached=proved,
            **more,
        )

    def newest(self, reference: str = "1.0") -> Row[Any] | None:
        """The newest generation of a reference."""
        query = (
            select(rows)
            .join(subjects, subjects.c.newest_id == rows.c.id)
            .where(subjects.c.reference == reference)
        )
        return self.connection.execute(query).one_or_none()

    def row(self, reference: str = "1.0") -> Row[Any]:
        found = self.newest(reference)
        assert found is not None
        return found

    def all(self) -> list[tuple[str, str, str, str | None]]:
        """(digest's letter, state, reason, settled) of all rows, oldest first."""
        found = self.connection.execute(select(rows).order_by(rows.c.id))
        return [(row.digest[7], row.state, row.reason, row.settled) for row in found]

    def behind_since(self, reference: str = "1.0") -> int | None:
        query = select(subjects.c.behind_since).where(subjects.c.reference == reference)
        return self.connection.execute(query).scalar()

    def kept_counts(self) -> dict[tuple[Any, ...], int]:
        """The counts that are kept, without those that are 0."""
        return {tuple(row)[:-1]: row.n for row in self.connection.execute(select(counts)) if row.n}

    def counted(self) -> dict[tuple[Any, ...], int]:
        """What they have to be."""
        keys = ("harbor", "policy_id", "destination_id", "state", "reason", "overdue")
        columns = [rows.c[name] for name in keys]
        query = select(*columns, func.count().label("n")).group_by(*columns)
        found = self.connection.execute(query)
        return {(*tuple(row)[:-2], int(row.overdue)): row.n for row in found}
