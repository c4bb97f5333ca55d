"""The outbox on either store: written with the change, ended from its old end, forgotten."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from sqlalchemy import func, insert, select

from syncwatch.config import Event
from syncwatch.model import Happening, Level, Operation, Origin, Reason, Verdict
from syncwatch.store import expectations, generations, notifications
from syncwatch.store.migrations import upgrade
from syncwatch.store.schema import destinations, policies, subjects
from syncwatch.store.schema import expectations as rows
from syncwatch.store.schema import notifications as table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

NOW = 1_800_000_000_000
DAY = 24 * 3_600_000


@dataclass
class Story:
    """Images that two policies bring to two destinations."""

    connection: Connection
    now: int = NOW
    places: dict[str, int] = field(default_factory=lambda: {"cluster1": 1, "cluster2": 2})

    def push(self, letter: str, *names: str, operation: Operation = Operation.COPY) -> None:
        """The source's tag was set to a digest, which is expected at these destinations."""
        self.now += 1000
        for name in names or self.places:
            opening = generations.Opening(
                harbor="main",
                policy_id=self.places[name],
                source_repository="apps/web",
                reference="1.0",
                destination_id=self.places[name],
                repository="apps/web",
                digest="sha256:" + letter * 64,
                origin=Origin.PUSH,
                pushed_at=self.now,
                expected_at=self.now,
                deadline_at=self.now + 600_000,
                required_level=Level.MATCHED,
                current=True,
                source_read_at=self.now,
                due_at=self.now,
                operation=operation,
            )
            generations.open_generation(self.connection, opening, self.now)

    def row(self, name: str) -> Any:
        query = select(rows).join(subjects, subjects.c.newest_id == rows.c.id)
        found = query.where(rows.c.destination_id == self.places[name])
        return self.connection.execute(found).one()

    def judge(self, happening: Happening, *names: str, reason: Reason | None = None) -> None:
        """A look at these destinations led to this."""
        self.now += 1000
        for name in names or self.places:
            expectations.judge(
                self.connection,
                self.row(name),
                Verdict(happening, reason, "said so.", self.now + 1000),
                now=self.now,
                observed_at=self.now,
                reached=Level.MATCHED if happening is Happening.SEEN else None,
            )

    def seen(self, *names: str) -> None:
        self.judge(Happening.SEEN, *names)

    def broken(self, *names: str, reason: Reason = Reason.MISSING) -> None:
        self.judge(Happening.BROKEN, *names, reason=reason)

    def close(self, name: str, reason: Reason) -> None:
        expectations.close(self.connection, self.row(name).id, reason, "so.", self.now)

    def told(self) -> list[str]:
        """All that was written down, in order: what, and where."""
        query = select(table.c.event, table.c.data).order_by(table.c.id)
        return [_short(event, data) for event, data in self.connection.execute(query)]


def _short(event: str, data: str) -> str:
    told = msgspec.json.decode(data)
    places = [one["destination"] for one in told.get("destinations", [told])]
    return f"{event.removeprefix('image.')} {told['digest'][7]} {' '.join(places)}"


@pytest.fixture
def story(engine: Engine) -> Iterator[Story]:
    with engine.begin() as connection:
        upgrade(connection)
        for name, number in (("cluster1", 1), ("cluster2", 2)):
            place = {"harbor": "main", "registry_id": number, "url": f"http://{name}"}
            connection.execute(
                insert(destinations).values(
                    id=number, name=name, type="docker-registry", first_name=name, **place
                )
            )
            connection.execute(
                insert(policies).values(
                    harbor="main",
                    policy_id=number,
                    name=f"to-{name}",
                    destination_id=number,
                    trigger="event_based",
                    enabled=True,
                    revision=1,
                )
            )
        notifications.want(
            connection,
            notifications.Wanted(frozenset(Event), lambda one: f"{one.name}.example.com"),
        )
    with engine.connect() as connection:
        yield Story(connection)


def test_verified_and_failed_take_turns_whatever_comes_between(story: Story) -> None:
    story.push("a", "cluster1")
    story.broken("cluster1", reason=Reason.NOT_STARTED)
    story.broken("cluster1", reason=Reason.EXECUTION_FAILED)
    story.judge(Happening.UNANSWERED, "cluster1", reason=Reason.UNREACHABLE)
    story.broken("cluster1")
    story.judge(Happening.AWAITED, "cluster1", reason=Reason.COPYING)
    story.broken("cluster1")
    story.seen("cluster1")
    story.judge(Happening.AGED, "cluster1", reason=Reason.STALE)
    story.seen("cluster1")
    story.broken("cluster1", reason=Reason.LOST)
    story.seen("cluster1")
    assert story.told() == [
        "failed a cluster1",
        "verified a cluster1",
        "verified.everywhere a cluster1",
        "failed a cluster1",
        "verified a cluster1",
    ]


def test_everywhere_is_told_when_all_are_verified_at_the_same_time_for_the_first_time(
    story: Story,
) -> None:
    story.push("a")
    story.seen("cluster1")
    story.broken("cluster1", reason=Reason.LOST)
    story.seen("cluster2")
    assert "verified.everywhere a cluster1 cluster2" not in story.told()
    story.seen("cluster1")
    assert story.told()[-1] == "verified.everywhere a cluster1 cluster2"
    story.broken("cluster2", reason=Reason.LOST)
    story.seen("cluster2")
    # Pushed again under the name after something else, it is another event.
    story.push("b")
    story.push("a")
    story.seen()
    assert [one for one in story.told() if "everywhere" in one] == [
        "verified.everywhere a cluster1 cluster2"
    ] * 2


def test_everywhere_is_not_told_of_what_the_name_no_longer_is(story: Story) -> None:
    story.push("a")
    story.seen("cluster1")
    story.push("b", "cluster1")
    story.seen("cluster2")
    assert [one for one in story.told() if "everywhere" in one] == []


@pytest.mark.parametrize(
    ("reason", "is_told"),
    [
        (Reason.POLICY_GONE, True),
        (Reason.DESTINATION_GONE, True),
        (Reason.BY_HAND, True),
        (Reason.DELETED_AT_SOURCE, False),
        (Reason.SUPERSEDED, False),
    ],
)
def test_everywhere_is_told_when_what_was_missing_is_no_longer_owed(
    story: Story, reason: Reason, is_told: bool
) -> None:
    story.push("a")
    story.seen("cluster1")
    story.close("cluster2", reason)
    told = "verified.everywhere a cluster1" in story.told()
    assert told is is_told


def test_a_destination_that_joins_later_tells_only_of_itself(story: Story) -> None:
    story.push("a", "cluster1")
    story.seen("cluster1")
    story.push("a", "cluster2")
    story.seen("cluster2")
    assert story.told() == [
        "verified a cluster1",
        "verified.everywhere a cluster1",
        "verified a cluster2",
    ]


def test_only_what_is_wanted_is_written(story: Story) -> None:
    wanted = notifications.Wanted({Event.FAILED}, lambda one: one.name)
    notifications.want(story.connection, wanted)
    with story.connection.engine.connect() as connection:
        later = Story(connection)
        later.push("a")
        later.seen("cluster1")
        later.broken("cluster2")
        assert later.told() == ["failed a cluster2"]
        notifications.want(connection, None)
        connection.commit()
    with story.connection.engine.connect() as connection:
        last = Story(connection, now=NOW + DAY)
        last.push("b")
        last.broken()
        assert last.told() == ["failed a cluster2"]


def test_a_change_that_is_rolled_back_tells_nothing(story: Story) -> None:
    story.push("a")
    story.seen()
    story.connection.rollback()
    assert story.told() == []


def add(connection: Connection, count: int) -> None:
    """So many events, a second apart."""
    values = {"event": Event.FAILED, "harbor": "main", "subject": "s", "data": "{}"}
    connection.execute(
        insert(table),
        [
            {**values, "created_at": NOW + 1000 * n, "due_at": NOW, "attempts": 0, "problem": ""}
            for n in range(count)
        ],
    )


def test_what_is_too_much_is_dropped_from_its_old_end_and_stays_so(story: Story) -> None:
    add(story.connection, 5)
    lost = notifications.drop(story.connection, NOW + DAY, most=3)
    assert [one.id for one in lost] == [1, 2]
    assert notifications.drop(story.connection, NOW + DAY, most=3) == []
    # An attempt that was under way meanwhile changes nothing.
    notifications.failed(story.connection, 1, "too late", NOW)
    due = notifications.due(story.connection, NOW + DAY, NOW, 10)
    assert [one.id for one in due] == [3, 4, 5]
    standing = notifications.standing(story.connection, NOW)
    assert (standing.waiting, standing.oldest_at, standing.lost) == (3, NOW + 2000, 2)


def test_what_is_too_old_is_given_up_and_later_forgotten(story: Story) -> None:
    add(story.connection, 4)
    notifications.delivered(story.connection, 4)
    notifications.failed(story.connection, 1, "the connection was refused", NOW + 5000)
    lost = notifications.give_up(story.connection, NOW + 2000, NOW + DAY)
    assert [(one.id, one.attempts) for one in lost] == [(1, 1), (2, 0)]
    standing = notifications.standing(story.connection, NOW + DAY)
    assert (standing.waiting, standing.lost, standing.problem) == (
        1,
        2,
        "the connection was refused",
    )
    assert not notifications.forget(story.connection, NOW + 3000)
    left = story.connection.execute(select(func.count()).select_from(table)).scalar()
    assert left == 1
