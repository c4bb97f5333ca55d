"""What nodes are to pull: whose turn it is, begun once, ended once, and who is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from stories import DESTINATION, NOW, Story, digest

from syncwatch.model import HOUR, Content, Pulling
from syncwatch.store import pods, probes
from syncwatch.store.pods import Ended, Made
from syncwatch.store.probes import Due, Outcome, SoFar, Wanted
from syncwatch.store.schema import expectations, subjects

if TYPE_CHECKING:
    from sqlalchemy import Connection

PLACES = [DESTINATION]
IMAGE = Content(is_image=True, size=1000)


def key(letter: str, destination: int = DESTINATION) -> probes.Key:
    return (destination, "apps/web", digest(letter))


def want(connection: Connection, letter: str, at: int = NOW, **more: Any) -> bool:
    given = {"required": False, "content": IMAGE, **more}
    return probes.want(connection, Wanted(key(letter), "1.0", **given), at)


def due(connection: Connection, now: int = NOW, limit: int = 50) -> list[Due]:
    return probes.due(connection, PLACES, now, limit)


def letters(found: list[Due]) -> str:
    return "".join(one.digest[7] for one in found)


def outcome(
    result: Pulling = Pulling.PULLED, again_at: int | None = None, attempts: int = 0
) -> Outcome:
    return Outcome(result, "", "said so.", attempts, again_at)


def begin(connection: Connection, letter: str, at: int = NOW, *names: str) -> int:
    """Its id, with pods of these names."""
    (one,) = [one for one in due(connection, at) if one.digest == digest(letter)]
    assert probes.begin(connection, one.id, at)
    for name in names:
        made = Made(name, "probes", f"host/apps/web@{one.digest}", "", at + 1000)
        pods.make(connection, one.id, "east", DESTINATION, made, at)
    return one.id


def test_what_somebody_waits_for_goes_first_then_what_was_never_probed_then_the_longest_ago(
    connection: Connection,
) -> None:
    for number, letter in enumerate("abcdef"):
        want(connection, letter, NOW + number)
    for at, letter in ((20, "b"), (10, "a")):
        probe_id = begin(connection, letter, NOW + 9)
        probes.end(connection, probe_id, outcome(again_at=NOW + 30), NOW + at)
    probes.ask(connection, key("e"), "1.0", NOW + 40)

    assert letters(due(connection, NOW + 50)) == "ecdfab"
    assert letters(due(connection, NOW + 50, limit=2)) == "ec"
    assert [one.asked for one in due(connection, NOW + 50)] == [True] + [False] * 5
    assert letters(due(connection, NOW - 1)) == ""
    assert probes.queue(connection, PLACES, NOW + 50) == probes.Queue(6, NOW + 2)


def test_it_is_wanted_once_and_what_is_no_image_never(connection: Connection) -> None:
    assert want(connection, "a")
    want(connection, "a", NOW + 5)
    assert not want(connection, "b", content=Content(is_image=False, size=10))
    assert letters(due(connection, NOW + 5)) == "a"

    probe_id = begin(connection, "a")
    assert not want(connection, "a", NOW + 6), "it is under way"
    probes.end(connection, probe_id, outcome(), NOW + 7)
    assert not want(connection, "a", NOW + 8), "it was pulled"
    assert due(connection, NOW + HOUR) == []


def test_what_has_had_all_its_attempts_is_left_until_a_level_asks_for_it(
    connection: Connection,
) -> None:
    want(connection, "a")
    probes.end(connection, begin(connection, "a"), outcome(Pulling.INCONCLUSIVE, None, 4), NOW)

    assert not want(connection, "a", NOW + HOUR)
    assert want(connection, "a", NOW + HOUR, required=True)
    probes.end(connection, begin(connection, "a", NOW + HOUR), outcome(Pulling.INCONCLUSIVE), NOW)
    assert not want(connection, "a", NOW + 2 * HOUR, required=True)


def test_it_begins_once(connection: Connection) -> None:
    want(connection, "a")
    (one,) = due(connection)
    assert probes.begin(connection, one.id, NOW)
    assert not probes.begin(connection, one.id, NOW)
    assert due(connection) == []


def test_a_pod_is_judged_once_and_the_probe_ends_with_the_last_of_them(
    connection: Connection,
) -> None:
    want(connection, "a")
    begin(connection, "a", NOW, "one", "two")
    first, second = pods.left(connection, "east")
    told = Ended(Pulling.PULLED, "", "pulled.", "node-1", 0.5)

    assert pods.end(connection, first.id, told, NOW + 1)
    assert not pods.end(connection, first.id, told, NOW + 2)
    assert probes.judged(connection, "east") == []
    assert pods.end(connection, second.id, told, NOW + 3)
    assert probes.judged(connection, "east") == [SoFar(first.probe_id, 0, False, False)]
    assert len(pods.of_last(connection, first.probe_id)) == 2
    assert pods.holders(connection, "east", digest("a")) == {"node-1"}
    assert pods.holders(connection, "west", digest("a")) == frozenset()

    pods.gone(connection, first.id, NOW + 4)
    assert [one.name for one in pods.left(connection, "east")] == ["two"]


def test_the_hour_is_counted_from_the_rows_and_what_was_never_made_costs_nothing(
    connection: Connection,
) -> None:
    for at, letter in ((0, "a"), (10, "b"), (20, "c")):
        want(connection, letter)
        begin(connection, letter, NOW + at, letter)
    a, _, c = pods.left(connection, "east")
    assert pods.spent(connection, "east", NOW - HOUR, NOW + 20) == (3, NOW)
    assert pods.spent(connection, "east", NOW - HOUR, NOW + 15) == (2, NOW), (
        "the clock was set back"
    )

    refused = Ended(Pulling.INCONCLUSIVE, "forbidden", "may not.", "", None)
    pods.end(connection, c.id, refused, NOW + 21)
    pods.gone(connection, a.id, NOW + 21)
    assert pods.spent(connection, "east", NOW - HOUR, NOW + 30) == (2, NOW)
    assert pods.spent(connection, "east", NOW, NOW + 30) == (1, NOW + 10)
    assert pods.spent(connection, "west", NOW - HOUR, NOW + 30) == (0, None)


def test_its_end_makes_due_what_waits_for_it_and_is_in_its_timeline(connection: Connection) -> None:
    story = Story(connection)
    story.open("a")
    story.open("b", reference="2.0")
    connection.execute(expectations.update().values(due_at=NOW + HOUR))
    want(connection, "a")
    probe_id = begin(connection, "a")

    assert probes.end(connection, probe_id, outcome(), NOW + 5) == {DESTINATION}
    rows = connection.execute(select(expectations.c.digest, expectations.c.due_at))
    assert {row.digest[7]: row.due_at for row in rows} == {"a": NOW + 5, "b": NOW + HOUR}
    known = probes.pull(connection, key("a"))
    assert known is not None
    assert (known.proved_at, known.result, known.attempts) == (NOW + 5, Pulling.PULLED, 0)


def test_what_a_kubelet_did_not_find_is_looked_at_closely(connection: Connection) -> None:
    story = Story(connection)
    story.open("a")
    want(connection, "a")
    probe_id = begin(connection, "a")
    probes.end(connection, probe_id, outcome(Pulling.MISSING, NOW + HOUR, 1), NOW + 5)

    assert connection.execute(select(subjects.c.proofs_since)).scalar() == NOW + 5
    assert probes.next_due(connection, PLACES, NOW + 6) == NOW + HOUR


def test_what_is_gone_proves_nothing_any_more_and_is_wanted_again(connection: Connection) -> None:
    want(connection, "a")
    probes.end(connection, begin(connection, "a"), outcome(), NOW + 1)
    probes.void(connection, key("a"))

    known = probes.pull(connection, key("a"))
    assert known is not None
    assert (known.proved_at, known.result) == (None, None)
    assert want(connection, "a", NOW + 2)


def test_a_question_while_it_is_under_way_is_answered_by_it(connection: Connection) -> None:
    want(connection, "a")
    probe_id = begin(connection, "a")
    probes.ask(connection, key("a"), "1.0", NOW + 1)
    probes.end(connection, probe_id, outcome(), NOW + 2)
    assert due(connection, NOW + HOUR) == []

    probes.ask(connection, key("a"), "1.0", NOW + 3)
    assert [one.asked for one in due(connection, NOW + 3)] == [True]


def test_what_nobody_expects_is_forgotten_with_its_pods(connection: Connection) -> None:
    story = Story(connection)
    story.open("a")
    for letter in "ab":
        want(connection, letter)
        probe_id = begin(connection, letter, NOW, letter)
        (pod,) = pods.left(connection, "east")
        pods.gone(connection, pod.id, NOW + 1)
        probes.end(connection, probe_id, outcome(), NOW + 1)

    assert not probes.forget(connection, NOW)
    assert len(probes.pulls(connection, [key("a"), key("b")])) == 2
    assert not probes.forget(connection, NOW + HOUR)
    assert list(probes.pulls(connection, [key("a"), key("b")])) == [key("a")]
    assert pods.spent(connection, "east", NOW - HOUR, NOW + 30) == (0, None)
