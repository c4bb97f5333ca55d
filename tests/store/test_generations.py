"""Generations of a subject: begun, known already, overtaken, moved, judged, ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select
from stories import DEADLINE, NOW, POLICY, Story, digest

from syncwatch.errors import IllegalTransitionError, StoreError
from syncwatch.model import Happening, Origin, Reason, Result, State
from syncwatch.store import expectations, subjects
from syncwatch.store.schema import expectations as rows
from syncwatch.store.schema import subjects as subject_rows

if TYPE_CHECKING:
    from sqlalchemy import Connection


@pytest.fixture
def story(connection: Connection) -> Story:
    return Story(connection)


def test_a_first_push_begins_a_generation(story: Story) -> None:
    (change,) = story.open("a", notified_at=NOW + 5)
    assert (change.state, change.before, change.moved) == (State.PENDING, None, True)
    assert (change.settled, change.lag) == (None, None)
    assert story.all() == [("a", "pending", "waiting", None)]
    assert story.behind_since() == NOW
    assert change.milestones == (("notified", 0.005),)


def test_the_same_digest_again_begins_nothing(story: Story) -> None:
    story.open("a")
    story.now += 1000
    assert story.open("a", pushed_at=NOW) == []
    assert len(story.all()) == 1


def test_a_second_source_completes_what_the_first_did_not_know(story: Story) -> None:
    story.open("a", origin=Origin.TAG)
    (change,) = story.open("a", notified_at=NOW + 700)
    assert not change.moved
    assert change.milestones == (("notified", 0.7),)
    assert (story.row().origin, story.row().notified_at) == ("push", NOW + 700)
    assert story.open("a", notified_at=NOW + 900) == []


def test_a_tag_that_moves_supersedes_and_keeps_the_time_it_is_behind(story: Story) -> None:
    story.open("a")
    story.now += 1000
    closed, opened = story.open("b")
    assert (closed.state, closed.reason, closed.settled) == ("closed", "superseded", "excused")
    assert opened.state is State.PENDING
    assert story.behind_since() == NOW
    assert story.row().digest == digest("b")


def test_superseded_after_more_than_the_deadline_behind_is_missed(story: Story) -> None:
    story.open("a")
    story.now += DEADLINE + 1
    closed, _ = story.open("b")
    assert closed.settled is Result.MISSED


def test_a_tag_moved_back_to_an_older_digest_begins_anew(story: Story) -> None:
    for letter in "aba":
        story.open(letter)
        story.now += 10_000
    assert [(one, state) for one, state, _, _ in story.all()] == [
        ("a", "closed"),
        ("b", "closed"),
        ("a", "pending"),
    ]


def test_what_was_overtaken_before_we_heard_of_it_opens_and_closes_at_once(story: Story) -> None:
    story.now += 60_000
    told = story.open("a", pushed_at=NOW, current=False)
    assert [(one.state, one.settled) for one in told] == [("pending", None), ("closed", "excused")]
    assert story.newest() is None
    story.open("b", pushed_at=NOW + 30_000)
    assert story.row().digest == digest("b")
    assert story.behind_since() == NOW + 30_000


def test_an_old_word_of_a_digest_that_was_in_force_then_is_no_news(story: Story) -> None:
    story.open("a")
    story.now += 60_000
    story.open("b")
    assert story.open("a", pushed_at=NOW, current=False) == []
    assert len(story.all()) == 2


def test_webhooks_out_of_order_end_with_what_the_source_names(story: Story) -> None:
    story.now += 10_000
    story.open("c", pushed_at=NOW + 2000)
    story.open("a", pushed_at=NOW, current=False)
    story.open("b", pushed_at=NOW + 1000, current=False)
    assert story.row().digest == digest("c")
    assert [state for _, state, _, _ in story.all()] == ["pending", "closed", "closed"]
    assert [settled for _, _, _, settled in story.all()] == [None, "excused", "excused"]


def test_set_again_after_its_deletion_the_same_digest_is_owed_anew(story: Story) -> None:
    story.open("a")
    expectations.close(story.connection, story.row().id, Reason.DELETED_AT_SOURCE, "gone.", NOW)
    assert story.behind_since() is None
    story.now += 5000
    (opened,) = story.open("a")
    assert opened.state is State.PENDING
    assert story.behind_since() == NOW + 5000


@pytest.mark.parametrize("reason", [Reason.BY_HAND, Reason.POLICY_GONE])
def test_closed_for_another_reason_the_same_digest_stays_closed(
    story: Story, reason: Reason
) -> None:
    story.open("a")
    expectations.close(story.connection, story.row().id, reason, "enough.", NOW)
    assert story.open("a", pushed_at=NOW) == []


def test_a_stand_in_has_the_source_asked_again_and_gives_way_to_it(story: Story) -> None:
    story.open("a", read=False)
    due = subjects.source_due(story.connection, "main", NOW + 60_000, 10)
    assert [one.digest for one in due] == [digest("a")]
    story.now += 10_000
    closed, opened = story.open("b", pushed_at=NOW + 500)
    assert (closed.reason, opened.state) == ("superseded", "pending")
    assert subjects.source_due(story.connection, "main", NOW + 60_000, 10) == []


def test_of_two_stand_ins_the_later_push_counts_whichever_was_heard_first(story: Story) -> None:
    story.open("b", read=False, pushed_at=NOW + 2000)
    story.open("a", read=False, pushed_at=NOW)
    assert story.row().digest == digest("b")


@pytest.mark.parametrize(
    ("happening", "state", "reason"),
    [
        (Happening.AWAITED, "pending", "waiting"),
        (Happening.SEEN, "verified", ""),
        (Happening.BROKEN, "failed", "missing"),
        (Happening.UNANSWERED, "unknown", "unreachable"),
    ],
)
def test_a_verdict_moves_a_pending_row(
    story: Story, happening: Happening, state: str, reason: str
) -> None:
    story.open("a")
    story.judge(story.row(), happening)
    assert (story.row().state, story.row().reason) == (state, reason)
    assert story.kept_counts() == story.counted()


def test_what_is_verified_in_time_is_met_once_with_its_lag(story: Story) -> None:
    story.open("a")
    story.now += 2500
    change = story.judge(story.row(), Happening.SEEN)
    assert change is not None
    assert (change.settled, change.lag) == (Result.MET, 2.5)
    assert story.behind_since() is None
    story.now += 1000
    assert story.judge(story.row(), Happening.SEEN) is None
    assert story.row().verified_at == NOW + 2500
    assert story.row().proved_at == NOW + 3500


def test_a_deadline_that_passes_is_missed_once_and_a_late_arrival_has_its_lag(
    story: Story,
) -> None:
    story.open("a")
    story.now += DEADLINE
    missed = story.judge(story.row(), Happening.AWAITED)
    assert missed is not None
    assert (missed.settled, story.row().overdue) == (Result.MISSED, True)
    story.now += 1000
    late = story.judge(story.row(), Happening.SEEN)
    assert late is not None
    assert (late.settled, late.lag) == (None, (DEADLINE + 1000) / 1000)
    assert story.row().overdue is False


def test_while_paused_nothing_is_overdue_or_missed_and_afterwards_it_is(story: Story) -> None:
    story.open("a")
    story.now += DEADLINE * 2
    until = story.now + 5000
    story.judge(story.row(), Happening.AWAITED, paused_until=until)
    row = story.row()
    assert (row.overdue, row.settled, row.deadline_at) == (False, None, until)
    story.now = until
    change = story.judge(story.row(), Happening.AWAITED, paused_until=until)
    assert change is not None
    assert (change.settled, story.row().overdue) == (Result.MISSED, True)


def test_a_pause_that_begins_after_the_deadline_takes_nothing_back(story: Story) -> None:
    story.open("a")
    story.now += DEADLINE
    story.judge(story.row(), Happening.AWAITED)
    story.judge(story.row(), Happening.AWAITED, paused_until=story.now + 5000)
    row = story.row()
    assert (row.overdue, row.settled, row.deadline_at) == (False, "missed", NOW + DEADLINE)


def test_evidence_too_old_is_open_but_not_overdue(story: Story) -> None:
    story.open("a")
    story.judge(story.row(), Happening.SEEN)
    story.now += DEADLINE * 10
    story.judge(story.row(), Happening.AGED)
    row = story.row()
    assert (row.state, row.reason, row.overdue) == ("unknown", "stale", False)
    assert story.behind_since() == story.now


def test_what_was_verified_and_is_gone_is_lost_once_and_behind_from_then(story: Story) -> None:
    story.open("a")
    story.judge(story.row(), Happening.SEEN)
    story.now += 5000
    change = story.judge(story.row(), Happening.BROKEN, Reason.LOST)
    assert change is not None
    assert (change.lost, change.settled) == (True, None)
    assert story.behind_since() == NOW + 5000
    again = story.judge(story.row(), Happening.BROKEN, Reason.MISSING)
    assert again is not None
    assert not again.lost


def test_one_failed_look_does_not_take_verified_away(story: Story) -> None:
    story.open("a")
    story.judge(story.row(), Happening.SEEN)
    assert story.judge(story.row(), Happening.UNANSWERED) is None
    assert (story.row().state, story.row().reason) == ("verified", "")


@pytest.mark.parametrize(
    ("state", "happening"),
    [
        (Happening.SEEN, Happening.AWAITED),
        (None, Happening.AGED),
        (Happening.BROKEN, Happening.AGED),
    ],
)
def test_what_the_life_table_does_not_have_is_refused(
    story: Story, state: Happening | None, happening: Happening
) -> None:
    story.open("a")
    if state:
        story.judge(story.row(), state)
    with pytest.raises(IllegalTransitionError):
        story.judge(story.row(), happening)


def test_a_row_changed_meanwhile_is_not_overwritten(story: Story) -> None:
    story.open("a")
    before = story.row()
    story.judge(before, Happening.SEEN)
    with pytest.raises(StoreError, match="changed by another"):
        story.judge(before, Happening.BROKEN)


def test_closing_excuses_once_and_only_what_is_counted(story: Story) -> None:
    story.open("a")
    told = expectations.close(story.connection, story.row().id, Reason.BY_HAND, "enough.", NOW)
    assert told is not None
    assert told.settled is Result.EXCUSED
    again = expectations.close(story.connection, story.row().id, Reason.BY_HAND, "enough.", NOW)
    assert again is None
    story.open("r", reference="run", origin=Origin.RUN)
    story.now += DEADLINE
    run = story.judge(story.row("run"), Happening.SEEN)
    assert run is not None
    assert (run.settled, run.lag) == (None, None)


def test_closing_by_condition_takes_so_many_at_a_time(story: Story) -> None:
    for number in range(5):
        story.open("a", reference=f"{number}")
    here = rows.c.policy_id == POLICY
    told = [
        len(
            expectations.close_where(
                story.connection, here, Reason.POLICY_GONE, "gone.", NOW, limit=3
            )
        )
        for _ in range(3)
    ]
    assert told == [3, 2, 0]
    assert story.kept_counts() == story.counted()


def test_waking_makes_due_what_is_newest_and_not_closed(story: Story) -> None:
    story.open("a", reference="open")
    story.open("b", reference="done")
    story.judge(story.row("done"), Happening.SEEN)
    story.open("c", reference="ended")
    expectations.close(story.connection, story.row("ended").id, Reason.BY_HAND, "x.", NOW)
    story.connection.execute(
        rows.update().where(rows.c.state != "closed").values(due_at=NOW + 9999)
    )
    woken = expectations.wake(story.connection, "main", NOW, only_open=True)
    assert woken == {3}
    due = {row.digest[7] for row in story.connection.execute(select(rows)) if row.due_at == NOW}
    assert due == {"a"}
    expectations.wake(
        story.connection, "main", NOW, source_repository="apps/web", references=["done", "ended"]
    )
    due = {row.digest[7] for row in story.connection.execute(select(rows)) if row.due_at == NOW}
    assert due == {"a", "b"}


def test_a_source_that_is_gone_is_not_asked_again(story: Story) -> None:
    story.open("a", read=False)
    subjects.source_gone(story.connection, "main", "apps/web", "1.0")
    assert subjects.source_due(story.connection, "main", NOW + 10**9, 10) == []
    subjects.ask_deleted(story.connection, "main", "apps/web", ["1.0"], NOW, NOW)
    assert len(subjects.source_due(story.connection, "main", NOW, 10)) == 1
    subjects.source_read(story.connection, "main", "apps/web", "1.0", digest("a"), NOW)
    subject = story.connection.execute(select(subject_rows)).one()
    assert (subject.source_digest, subject.source_due_at) == (digest("a"), None)
