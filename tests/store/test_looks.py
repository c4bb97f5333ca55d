"""Looks that somebody waits for: shared before they begin, taken anew after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stories import NOW, digest

from syncwatch.model import SECOND, Level, Reason
from syncwatch.store import looks
from syncwatch.store.looks import Answered, Asked, Wanted

if TYPE_CHECKING:
    from sqlalchemy import Connection

NAME = (1, "mirror/web", "1.0")
A, B = digest("a"), digest("b")


def due(connection: Connection, now: int = NOW) -> list[Asked]:
    return looks.due(connection, 1, now, 10)


def test_who_asks_before_the_look_began_shares_it(connection: Connection) -> None:
    looks.ask(connection, [Wanted(NAME, A, Level.MATCHED)], NOW)
    looks.ask(connection, [Wanted(NAME, B, Level.READABLE)], NOW + 1)
    (one,) = due(connection, NOW + 1)
    assert one == Asked("mirror/web", "1.0", frozenset({A, B}), Level.READABLE, NOW + 1)
    looks.answer(connection, NAME, Answered(NOW + 2, None, ""))
    assert due(connection, NOW + 3) == []
    assert looks.answers(connection, [NAME]) == {NAME: Answered(NOW + 2, None, "")}


def test_who_asks_while_it_is_under_way_has_another(connection: Connection) -> None:
    looks.ask(connection, [Wanted(NAME, A, Level.MATCHED)], NOW)
    looks.ask(connection, [Wanted(NAME, A, Level.MATCHED)], NOW + 5)
    looks.answer(connection, NAME, Answered(NOW + 2, Reason.UNREACHABLE, "refused"))
    assert len(due(connection, NOW + 5)) == 1
    found = looks.answers(connection, [NAME])[NAME]
    assert (found.at, found.problem) == (NOW + 2, Reason.UNREACHABLE)
    looks.answer(connection, NAME, Answered(NOW + 6, None, ""))
    assert due(connection, NOW + 9) == []
    assert looks.answers(connection, [NAME])[NAME].problem is None


def test_what_is_asked_after_a_look_was_decided_on_is_not_answered_by_it(
    connection: Connection,
) -> None:
    first = looks.ask(connection, [Wanted(NAME, A, Level.MATCHED)], NOW)
    (one,) = due(connection)
    second = looks.ask(connection, [Wanted(NAME, A, Level.READABLE)], NOW)
    assert first[NAME] < second[NAME]
    looks.answer(connection, NAME, Answered(one.asked_at, None, ""))
    assert looks.answers(connection, [NAME])[NAME].at < second[NAME]
    (again,) = due(connection)
    assert again.level is Level.READABLE


def test_each_destination_has_its_own_and_what_is_answered_asks_for_no_more(
    connection: Connection,
) -> None:
    other = (2, "mirror/web", "1.0")
    looks.ask(connection, [Wanted(NAME, A, Level.MATCHED), Wanted(other, A, Level.MATCHED)], NOW)
    assert len(due(connection)) == 1
    looks.answer(connection, NAME, Answered(NOW + 1, None, ""))
    assert len(looks.due(connection, 2, NOW, 10)) == 1
    looks.ask(connection, [Wanted(NAME, B, Level.MATCHED)], NOW + 9)
    (one,) = due(connection, NOW + 9)
    assert one.digests == {B}, "what was answered is not asked again"


def test_it_is_forgotten_an_hour_later_and_many_digests_are_bounded(connection: Connection) -> None:
    for number in range(looks.DIGESTS + 5):
        looks.ask(connection, [Wanted(NAME, digest(str(number)), Level.MATCHED)], NOW + number)
    (one,) = due(connection, NOW + SECOND)
    assert len(one.digests) == looks.DIGESTS
    assert digest(str(looks.DIGESTS + 4)) in one.digests, "the newest is asked about"
    assert not looks.forget(connection, NOW + looks.KEPT)
    assert due(connection, NOW + SECOND)
    assert not looks.forget(connection, NOW + looks.KEPT + SECOND)
    assert due(connection, NOW + SECOND) == []
