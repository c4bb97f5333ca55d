"""The inbox: what is news, what is a repeat, what is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from syncwatch.model import HOUR
from syncwatch.store import deliveries
from syncwatch.store.deliveries import NewDelivery

if TYPE_CHECKING:
    from sqlalchemy import Connection

NOW = 1_800_000_000_000


def delivery(
    sameness: str, at: int = NOW, *, harbor: str = "main", for_ever: bool = False
) -> NewDelivery:
    same_for = None if for_ever else HOUR
    return NewDelivery(harbor, at, sameness, same_for, "PUSH_ARTIFACT", b'{"a":1}')


def test_a_new_delivery_is_kept_byte_by_byte_and_is_due(connection: Connection) -> None:
    body = bytes(range(256)) * 4096
    new = NewDelivery("main", NOW, "one", HOUR, "PUSH_ARTIFACT", body)
    assert deliveries.add(connection, [new]) == [True]
    (due,) = deliveries.due(connection, "main", NOW, 10)
    assert (due.body, due.received_at, due.event) == (body, NOW, "PUSH_ARTIFACT")
    assert deliveries.due(connection, "other", NOW, 10) == []
    assert deliveries.due(connection, "main", NOW - 1, 10) == []


def test_a_repeat_within_its_time_is_none_within_a_group_too(connection: Connection) -> None:
    group = [delivery("one"), delivery("two"), delivery("one", NOW + 5)]
    assert deliveries.add(connection, group) == [True, True, False]
    assert deliveries.add(connection, [delivery("one", NOW + HOUR)]) == [False]
    assert deliveries.add(connection, [delivery("one", NOW + HOUR + 1)]) == [True]
    assert deliveries.add(connection, [delivery("one", NOW + 2 * HOUR)]) == [False]


def test_an_id_is_known_for_ever(connection: Connection) -> None:
    assert deliveries.add(connection, [delivery("id", for_ever=True)]) == [True]
    late = delivery("id", NOW + 1000 * HOUR, for_ever=True)
    assert deliveries.add(connection, [late]) == [False]


def test_two_harbors_do_not_repeat_each_other(connection: Connection) -> None:
    both = [delivery("one"), delivery("one", harbor="second")]
    assert deliveries.add(connection, both) == [True, True]


def test_what_is_done_is_due_no_more_and_what_is_put_off_is_due_later(
    connection: Connection,
) -> None:
    deliveries.add(connection, [delivery(str(number)) for number in range(5)])
    first, second, *_ = deliveries.due(connection, "main", NOW, 2)
    deliveries.done(connection, [first.id])
    deliveries.later(connection, [second.id], NOW + 60_000)
    assert [one.id for one in deliveries.due(connection, "main", NOW, 10)] == [
        second.id + 1,
        second.id + 2,
        second.id + 3,
    ]
    assert second.id in [one.id for one in deliveries.due(connection, "main", NOW + 60_000, 10)]


@pytest.mark.parametrize("count", [1, 1500])
def test_groups_of_any_size_are_taken(connection: Connection, count: int) -> None:
    group = [delivery(str(number)) for number in range(count)]
    assert deliveries.add(connection, group) == [True] * count
    ids = [one.id for one in deliveries.due(connection, "main", NOW, 5000)]
    assert len(ids) == count
    deliveries.done(connection, ids)
    assert deliveries.due(connection, "main", NOW, 5000) == []
    kept = connection.execute(select(deliveries.deliveries.c.id)).all()
    assert len(kept) == count
