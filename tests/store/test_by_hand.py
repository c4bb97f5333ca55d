"""Looks and pauses asked for by hand, on either store: bounded, spread, noted once, undone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, update
from stories import DEADLINE, DESTINATION, HARBOR, NOW, Story

from syncwatch.model import Happening
from syncwatch.reference import Meant
from syncwatch.store import pauses, policies, requests
from syncwatch.store.schema import changes, destinations
from syncwatch.store.schema import expectations as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

HERE = requests.Scope(watched=[HARBOR], present=[DESTINATION])
HOUR = 3_600_000


@pytest.fixture
def story(connection: Connection) -> Story:
    """Three images, the oldest verified."""
    told = Story(connection)
    for number, letter in enumerate("abc"):
        told.open(letter, reference=f"{number}.0")
    told.judge(told.newest("0.0"), Happening.SEEN)
    return told


def noted(connection: Connection, what: str) -> list[int]:
    query = select(changes.c.expectation_id).where(changes.c.what == what)
    return sorted(connection.execute(query).scalars())


def test_many_looks_become_due_one_after_the_other_what_is_open_first(story: Story) -> None:
    story.connection.execute(update(rows).values(due_at=None))
    found = requests.look(story.connection, HERE, "by Ada", NOW)
    assert (found.count, found.destinations, found.more) == (3, {DESTINATION}, False)
    due = story.connection.execute(select(rows.c.id, rows.c.due_at).order_by(rows.c.due_at))
    first, *_, last = [(row.id, row.due_at) for row in due]
    assert first == (3, NOW)
    assert last == (1, NOW + 2 * requests.APART)


def test_a_look_asked_for_again_is_noted_once_a_minute(story: Story) -> None:
    for later in (0, 1_000, 59_000, 61_000):
        requests.look(story.connection, HERE, "by Ada", NOW + later)
    assert noted(story.connection, requests.ASKED) == [1, 1, 2, 2, 3, 3]


def test_what_was_asked_for_before_comes_last(story: Story) -> None:
    one = requests.Scope([HARBOR], [DESTINATION], meant=_image("2.0"))
    assert requests.look(story.connection, one, "", NOW - HOUR).count == 1
    story.connection.execute(update(rows).values(due_at=None))
    requests.look(story.connection, HERE, "", NOW)
    due = {row.id: row.due_at for row in story.connection.execute(select(rows))}
    # Images 2 and 3 are open, and 3 was asked for an hour ago.
    assert [due[one] - NOW for one in (2, 3, 1)] == [0, requests.APART, 2 * requests.APART]


def _image(tag: str) -> Meant:
    return Meant("apps/web", tag, "", harbors=None, destinations=frozenset())


def test_a_look_never_puts_off_one_that_is_due_sooner(story: Story) -> None:
    story.connection.execute(update(rows).values(due_at=NOW - 1))
    requests.look(story.connection, HERE, "", NOW)
    assert set(story.connection.execute(select(rows.c.due_at)).scalars()) == {NOW - 1}


def test_a_pause_is_kept_and_undone_with_the_deadlines_that_moved(story: Story) -> None:
    connection = story.connection
    place = policies.see_destination(connection, HARBOR, 1, "https://there", "there", "harbor")
    connection.execute(update(rows).values(destination_id=place))
    until = NOW + HOUR
    assert pauses.pause(connection, place, until, "Ada", "Maintenance.", NOW) == 2
    (kept,) = policies.known_destinations(connection)
    assert (kept.paused_until, kept.paused_by) == (until, "Ada")
    assert noted(connection, pauses.PAUSED) == [2, 3]

    # One that is old by now, and one that is not; the third never moved.
    connection.execute(
        update(rows).where(rows.c.id == 2).values(deadline_at=until, expected_at=NOW - HOUR)
    )
    connection.execute(update(rows).where(rows.c.id == 3).values(deadline_at=until))
    assert pauses.resume(connection, place, DEADLINE, "Over.", NOW + 1) == 2
    (kept,) = policies.known_destinations(connection)
    assert (kept.paused_until, kept.paused_by) == (None, None)
    deadlines = {row.id: row.deadline_at for row in connection.execute(select(rows))}
    assert deadlines == {1: NOW + DEADLINE, 2: NOW + 1, 3: NOW + DEADLINE}
    assert noted(connection, pauses.RESUMED) == [2, 3]
    assert connection.execute(select(destinations.c.paused_by)).scalar() is None
