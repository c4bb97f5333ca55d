"""Deletions as generations of subjects, and what a run that ended may have touched."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select
from stories import DEADLINE, DESTINATION, HARBOR, NOW, POLICY, Story, digest

from syncwatch.model import Happening, Level, Operation, Origin, Reason, Status
from syncwatch.store import executions, expectations, generations, subjects, touching
from syncwatch.store.executions import SeenExecution, SeenTask
from syncwatch.store.schema import expectations as rows
from syncwatch.store.schema import revisions

if TYPE_CHECKING:
    from sqlalchemy import Connection

SECOND = 1000


@pytest.fixture
def story(connection: Connection) -> Story:
    return Story(connection)


def delete(
    story: Story,
    letter: str = "a",
    *,
    at: int | None = None,
    told: bool = True,
    excuse: str = "",
    reference: str = "1.0",
) -> list[Any]:
    when = story.now if at is None else at
    opening = generations.Opening(
        harbor=HARBOR,
        policy_id=POLICY,
        source_repository="apps/web",
        reference=reference,
        destination_id=DESTINATION,
        repository="apps/web",
        digest=digest(letter),
        origin=Origin.DELETION,
        operation=Operation.DELETION,
        pushed_at=when,
        expected_at=when,
        deadline_at=when + DEADLINE,
        required_level=Level.MATCHED,
        current=True,
        source_read_at=story.now,
        due_at=story.now,
    )
    return generations.open_deletion(story.connection, opening, story.now, told=told, excuse=excuse)


def kinds(story: Story) -> list[tuple[str, str, str]]:
    found = story.connection.execute(select(rows).order_by(rows.c.id))
    return [(row.operation, row.state, row.reason) for row in found]


COPY_ENDED = ("copy", "closed", "deleted_at_source")
PENDING = ("deletion", "pending", "waiting")


def test_a_deletion_ends_the_copy_and_becomes_the_newest_generation(story: Story) -> None:
    story.open("a")
    story.now += SECOND
    changes = delete(story, "b")
    assert kinds(story) == [COPY_ENDED, PENDING]
    assert [change.operation for change in changes] == ["copy", "deletion"]
    row = story.row()
    # What the copy wanted has to go, whatever the word of the deletion calls it.
    assert (row.operation, row.digest, row.pushed_at) == ("deletion", digest("a"), story.now)
    assert story.behind_since() == story.now
    assert story.kept_counts() == story.counted()


@pytest.mark.parametrize("told", [True, False])
def test_the_same_deletion_told_again_begins_nothing(story: Story, *, told: bool) -> None:
    story.open("a")
    delete(story)
    story.judge(story.row(), Happening.SEEN)
    for later in (0, SECOND, 9 * SECOND):
        assert delete(story, at=NOW + later, told=told) == []
    assert kinds(story) == [COPY_ENDED, ("deletion", "verified", "")]


def test_a_later_deletion_of_what_came_and_went_unheard_is_another(story: Story) -> None:
    story.open("a")
    delete(story)
    story.judge(story.row(), Happening.SEEN)
    story.now += 60 * SECOND
    delete(story)
    assert kinds(story) == [COPY_ENDED, ("deletion", "closed", "superseded"), PENDING]
    assert delete(story, told=False) == []


def test_a_deletion_that_nobody_told_is_none_for_what_had_ended_or_is_not_known(
    story: Story,
) -> None:
    assert delete(story, told=False) == []
    story.open("a")
    expectations.close(story.connection, story.row().id, Reason.DELETED_AT_SOURCE, "x.", NOW)
    assert delete(story, told=False) == []
    assert kinds(story) == [COPY_ENDED]
    delete(story)
    assert kinds(story) == [COPY_ENDED, PENDING]


def test_a_deletion_of_what_no_subject_is_of_is_of_the_digest_that_was_told(story: Story) -> None:
    delete(story, "c")
    assert (kinds(story), story.row().digest) == ([PENDING], digest("c"))


def test_a_deletion_that_harbor_cannot_do_ends_as_it_begins(story: Story) -> None:
    story.open("a")
    delete(story, excuse="It cannot.")
    assert kinds(story) == [COPY_ENDED, ("deletion", "closed", "deletion_unsupported")]
    row = story.row()
    assert (row.settled, row.message) == ("excused", "It cannot.")
    assert story.behind_since() is None
    assert delete(story) == []
    assert story.kept_counts() == story.counted()


@pytest.mark.parametrize("letter", ["a", "b"])
def test_a_push_after_a_deletion_supersedes_it_whatever_it_names(story: Story, letter: str) -> None:
    story.open("a")
    delete(story)
    story.now += SECOND
    story.open(letter)
    wanted = [COPY_ENDED, ("deletion", "closed", "superseded"), ("copy", "pending", "waiting")]
    assert kinds(story) == wanted
    assert (story.row().digest, story.row().operation) == (digest(letter), "copy")


def test_a_push_that_is_told_after_its_deletion_is_no_news(story: Story) -> None:
    story.open("a", pushed_at=NOW - 5 * SECOND)
    delete(story)
    story.open("a", pushed_at=NOW - 5 * SECOND, read=False, notified_at=NOW)
    assert kinds(story) == [COPY_ENDED, PENDING]


def test_a_tag_set_to_the_same_digest_after_it_was_told_deleted_begins_anew(story: Story) -> None:
    story.open("a", pushed_at=NOW - 9 * SECOND)
    story.judge(story.row(), Happening.SEEN)
    subjects.ask_deleted(story.connection, HARBOR, "apps/web", ["1.0"], NOW - 5 * SECOND, NOW)
    story.open("a", pushed_at=NOW - 4 * SECOND)
    assert kinds(story) == [("copy", "closed", "superseded"), ("copy", "pending", "waiting")]
    subjects.source_read(story.connection, HARBOR, "apps/web", "1.0", digest("a"), NOW)
    story.open("a", pushed_at=NOW - 2 * SECOND)
    assert len(kinds(story)) == 2


def test_the_time_of_a_deletion_that_was_only_read_is_told_later(story: Story) -> None:
    story.open("a", pushed_at=NOW - 60 * SECOND)
    delete(story, told=False)
    delete(story, at=NOW - 20 * SECOND)
    row = story.row()
    assert (row.pushed_at, row.expected_at) == (NOW - 20 * SECOND, NOW - 20 * SECOND)
    assert row.deadline_at == NOW - 20 * SECOND + DEADLINE
    # The word of a deletion before that push is not about this one.
    delete(story, at=NOW - 90 * SECOND)
    assert story.row().pushed_at == NOW - 20 * SECOND


def test_word_of_a_deletion_has_all_its_tags_asked_for(story: Story) -> None:
    story.open("a", reference="1.0")
    story.open("a", reference="latest")
    story.open("b", reference="2.0")
    names = ("main", "apps/web")
    assert subjects.artifact_deleted(story.connection, *names, digest("a"), "1.0", NOW - 9, NOW)
    due = subjects.source_due(story.connection, "main", NOW, 10)
    assert {(one.reference, one.deleted_at) for one in due} == {
        ("1.0", NOW - 9),
        ("latest", NOW - 9),
    }
    assert not subjects.artifact_deleted(story.connection, *names, digest("c"), "3.0", NOW, NOW)


def test_word_of_an_older_deletion_does_not_turn_the_time_back(story: Story) -> None:
    story.open("a")
    for at in (NOW - 9, NOW - 4, NOW - 7):
        subjects.ask_deleted(story.connection, HARBOR, "apps/web", None, at, NOW)
    (due,) = subjects.source_due(story.connection, "main", NOW, 10)
    assert due.deleted_at == NOW - 4
    subjects.source_gone(story.connection, HARBOR, "apps/web", "1.0")
    delete(story)
    # Nothing is open any more that an unnamed deletion could be of.
    subjects.ask_deleted(story.connection, HARBOR, "apps/web", None, NOW, NOW)
    assert subjects.source_due(story.connection, "main", NOW, 10) == []


def test_a_deletion_is_no_rival_of_what_is_expected_under_its_name(story: Story) -> None:
    story.open("a")
    there = (story.connection, DESTINATION, "apps/web", "1.0", "team/web")
    assert len(subjects.rivals(*there)) == 1
    delete(story)
    assert subjects.rivals(*there) == []


EXECUTION = SeenExecution(11, POLICY, "event_based", Status.SUCCEED, "", 1, NOW, None)
TASK = SeenTask(
    21, 11, POLICY, "copy", "apps/web", "apps/web", 1, Status.SUCCEED, NOW, NOW + SECOND
)


def ran(story: Story, operation: str, references: list[str] | None = None) -> Any:
    executions.see(story.connection, HARBOR, [EXECUTION], NOW)
    task = dataclasses.replace(TASK, operation=operation)
    executions.see_task(story.connection, HARBOR, task, NOW)
    if references is not None:
        executions.hint(story.connection, HARBOR, 21, 11, references, NOW, failed=False)
    (row,) = executions.tasks_of(story.connection, HARBOR, 11)
    return row


@pytest.mark.parametrize("operation", ["deletion", "tag deletion"])
def test_runs_are_told_apart_by_what_they_do(story: Story, operation: str) -> None:
    ran(story, operation, ["1.0"])

    def found(kind: Operation) -> int:
        told = executions.runs_for(story.connection, HARBOR, POLICY, "apps/web", NOW, kind)
        return len(told)

    assert (found(Operation.COPY), found(Operation.DELETION)) == (0, 1)

    def word(reference: str, since: int = NOW) -> str:
        return executions.deletes(story.connection, HARBOR, POLICY, "apps/web", reference, since)

    assert (word("1.0"), word("2.0"), word("1.0", NOW + 1)) == (operation, "", "")


def rested(story: Story, **references: str) -> None:
    """Verified images, with nothing due."""
    values = {"harbor": HARBOR, "policy_id": POLICY, "revision": 1, "since": 0, "rules": "{}"}
    story.connection.execute(revisions.insert().values(destination_id=DESTINATION, **values))
    for reference, letter in references.items():
        story.open(letter, reference=reference, pushed_at=NOW - 60 * SECOND)
        story.judge(story.row(reference), Happening.SEEN)
    story.connection.execute(rows.update().values(due_at=None))


def woken(story: Story, task: Any) -> set[str]:
    touching.wake_touched(story.connection, HARBOR, task, NOW, NOW)
    names = {}
    for due in ("one", "two", "three", "gone"):
        row = story.newest(due)
        if row is not None and row.due_at == NOW:
            names[due] = row
    return set(names)


def test_a_copy_that_ended_has_what_it_names_looked_at_and_nothing_else(story: Story) -> None:
    rested(story, one="a", two="b")
    assert woken(story, ran(story, "copy", ["one"])) == {"one"}


def test_a_deletion_that_ended_has_all_of_its_digest_looked_at(story: Story) -> None:
    rested(story, one="a", two="a", three="b")
    assert woken(story, ran(story, "deletion", ["one"])) == {"one", "two"}


def test_a_deletion_of_which_little_is_known_has_all_looked_at(story: Story) -> None:
    rested(story, one="a", two="b")
    assert woken(story, ran(story, "deletion", ["unheard"])) == {"one", "two"}


def test_a_copy_of_which_little_is_known_may_bring_back_what_was_deleted(story: Story) -> None:
    rested(story, one="a", gone="b")
    delete(story, "b", reference="gone")
    story.judge(story.row("gone"), Happening.SEEN)
    story.connection.execute(rows.update().values(due_at=None))
    assert woken(story, ran(story, "copy")) == {"gone"}


def test_what_ran_for_another_destination_touched_nothing(story: Story) -> None:
    rested(story, one="a")
    story.connection.execute(revisions.update().values(destination_id=DESTINATION + 1))
    assert woken(story, ran(story, "deletion", ["one"])) == set()
