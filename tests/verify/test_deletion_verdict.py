"""The verdict on a deletion, one row a case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from syncwatch.facts import Facts, Owed, Run
from syncwatch.model import Happening, Level, Observation, Operation, Reason, State, Status
from syncwatch.verify.deletion import decide_deletion

NOW = 1_800_000_000_000
DELETED, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
GRACE, GIVE_UP = 30_000, 240_000

OWED = Owed(
    state=State.PENDING,
    reason=Reason.WAITING,
    operation=Operation.DELETION,
    digest=DELETED,
    required_level=Level.MATCHED,
    expected_at=NOW - 100_000,
    deadline_at=NOW + 500_000,
    verified_at=None,
    proved_at=None,
    attempts=0,
    names="apps/web:1.0",
    destination="cluster1",
)
FACTS = Facts(
    runs=(),
    asked_at=NOW,
    answers=True,
    reaches_back=True,
    source_digest=None,
    source_read_at=None,
    served_since=NOW,
    override=True,
    rivals=frozenset(),
    busy_until=0,
    next_run_at=None,
    grace=GRACE,
    give_up_after=GIVE_UP,
    stale_after=7 * 24 * 3_600_000,
    retry_first=1000,
    retry_longest=60_000,
)
RUN = Run(
    execution_id=49,
    task_id=50,
    status=Status.SUCCEED,
    text="",
    ended_at=NOW - 90_000,
    changed_at=NOW - 90_000,
    errors=0,
    made_tasks=True,
)
ABSENT = Observation(NOW, NOW)
THERE = Observation(NOW, NOW, served=DELETED)
LATE = replace(OWED, deadline_at=NOW - 1000)
VERIFIED = replace(OWED, state=State.VERIFIED, reason=None, verified_at=NOW - 50_000)


def facts(*runs: Run, **more: object) -> Facts:
    return replace(FACTS, runs=runs, **more)  # type: ignore[arg-type]


def told(
    seen: Observation | None, given: Facts = FACTS, owed: Owed = OWED
) -> tuple[Happening, Reason | None]:
    verdict = decide_deletion(owed, seen, given, NOW)
    return verdict.happening, verdict.reason


@pytest.mark.parametrize("runs", [(), (RUN,), (replace(RUN, status=Status.FAILED, errors=3),)])
@pytest.mark.parametrize("owed", [OWED, LATE, VERIFIED, replace(OWED, state=State.FAILED)])
def test_a_reference_that_is_absent_is_the_end_of_the_matter(
    owed: Owed, runs: tuple[Run, ...]
) -> None:
    verdict = decide_deletion(owed, ABSENT, facts(*runs), NOW)
    assert (verdict.happening, verdict.reason, verdict.due_at) == (Happening.SEEN, None, None)


def test_absence_is_seen_once_more_where_a_run_may_still_touch_the_repository() -> None:
    verdict = decide_deletion(OWED, ABSENT, facts(busy_until=None), NOW)
    assert (verdict.happening, verdict.due_at) == (Happening.SEEN, NOW + 30_000)


def test_absence_is_seen_once_more_where_a_run_ended_after_the_look_began() -> None:
    verdict = decide_deletion(OWED, ABSENT, facts(busy_until=NOW + 700), NOW)
    assert (verdict.happening, verdict.due_at) == (Happening.SEEN, NOW + 700)


@pytest.mark.parametrize("served", [DELETED, OTHER])
def test_what_another_source_is_expected_to_serve_there_is_not_in_the_way(served: str) -> None:
    seen = replace(THERE, served=served)
    assert told(seen, facts(rivals=frozenset({served})))[0] is Happening.SEEN


RUNNING = replace(RUN, status=Status.IN_PROGRESS, ended_at=None)
FAILED_ONCE = replace(RUN, status=Status.FAILED, errors=1, changed_at=NOW - 1000)
GAVE_UP = replace(RUN, status=Status.FAILED, errors=3)
STILL_THERE = [
    pytest.param((), OWED, Happening.AWAITED, Reason.WAITING, id="no run yet"),
    pytest.param(
        (replace(RUNNING, made_tasks=False),),
        LATE,
        Happening.AWAITED,
        Reason.QUEUED,
        id="a run without tasks yet",
    ),
    pytest.param(
        (replace(RUN, status=Status.PENDING),),
        LATE,
        Happening.AWAITED,
        Reason.QUEUED,
        id="a task in the queue",
    ),
    pytest.param((RUNNING,), LATE, Happening.AWAITED, Reason.COPYING, id="a task under way"),
    pytest.param((FAILED_ONCE,), LATE, Happening.AWAITED, Reason.RETRYING, id="one attempt failed"),
    pytest.param((GAVE_UP,), OWED, Happening.BROKEN, Reason.EXECUTION_FAILED, id="gave up"),
    pytest.param(
        (replace(RUN, status=Status.STOPPED),),
        OWED,
        Happening.BROKEN,
        Reason.EXECUTION_STOPPED,
        id="stopped",
    ),
    pytest.param(
        (replace(RUN, ended_at=NOW - 10_000),),
        LATE,
        Happening.AWAITED,
        Reason.NOT_VISIBLE_YET,
        id="succeeded within the grace",
    ),
    pytest.param((RUN,), OWED, Happening.BROKEN, Reason.NOT_DELETED, id="succeeded long ago"),
    pytest.param((), LATE, Happening.BROKEN, Reason.NOT_STARTED, id="no run past the deadline"),
    pytest.param(
        (replace(RUN, by_event=False),),
        LATE,
        Happening.BROKEN,
        Reason.NOT_STARTED,
        id="a run by hand deletes nothing",
    ),
]


@pytest.mark.parametrize(("runs", "owed", "happening", "reason"), STILL_THERE)
@pytest.mark.parametrize("served", [DELETED, OTHER])
def test_what_is_still_there(
    runs: tuple[Run, ...], owed: Owed, happening: Happening, reason: Reason, served: str
) -> None:
    assert told(replace(THERE, served=served), facts(*runs), owed) == (happening, reason)


def test_it_is_a_false_success_where_harbor_said_that_it_deleted_it() -> None:
    assert decide_deletion(OWED, THERE, facts(RUN), NOW).false_success
    assert not decide_deletion(OWED, THERE, facts(GAVE_UP), NOW).false_success
    was_gone = replace(OWED, state=State.FAILED, verified_at=NOW - 50_000)
    assert not decide_deletion(was_gone, THERE, facts(RUN), NOW).false_success


@pytest.mark.parametrize("more", [{"reaches_back": False}, {"asked_at": None, "answers": False}])
def test_without_harbors_feed_nobody_is_blamed(more: dict[str, object]) -> None:
    wanted = (Happening.UNANSWERED, Reason.HARBOR_UNREACHABLE)
    assert told(THERE, facts(**more), LATE) == wanted


@pytest.mark.parametrize("problem", [Reason.UNAUTHORIZED, Reason.RATE_LIMITED, Reason.PULL_THROUGH])
def test_what_could_not_be_asked_is_unknown(problem: Reason) -> None:
    seen = replace(ABSENT, problem=problem)
    assert told(seen, facts(RUN)) == (Happening.UNANSWERED, problem)


def test_what_was_seen_before_a_problem_holds() -> None:
    seen = replace(THERE, problem=Reason.FORBIDDEN)
    assert told(seen, facts(RUN)) == (Happening.BROKEN, Reason.NOT_DELETED)


def test_what_a_policy_there_hides_is_still_there() -> None:
    seen = replace(ABSENT, problem=Reason.POLICY_BLOCKED)
    assert told(seen, facts(RUN)) == (Happening.BROKEN, Reason.NOT_DELETED)


def test_a_deletion_never_gets_stale() -> None:
    long_ago = replace(VERIFIED, proved_at=NOW - 30 * 24 * 3_600_000)
    seen = replace(ABSENT, problem=Reason.UNREACHABLE)
    assert told(seen, FACTS, long_ago)[0] is Happening.UNANSWERED


def test_what_comes_back_is_not_deleted_once_a_second_look_says_so_too() -> None:
    assert told(THERE, facts(RUN), VERIFIED)[0] is Happening.UNANSWERED
    again = replace(VERIFIED, attempts=1)
    assert told(THERE, facts(RUN), again) == (Happening.BROKEN, Reason.NOT_DELETED)
    assert told(THERE, facts(RUN, busy_until=None), again)[0] is Happening.UNANSWERED


def test_nothing_seen_yet_is_awaited_and_past_the_deadline_unknown() -> None:
    assert told(None) == (Happening.AWAITED, Reason.WAITING)
    assert told(None, facts(RUNNING)) == (Happening.AWAITED, Reason.COPYING)
    assert told(None, FACTS, LATE) == (Happening.UNANSWERED, Reason.UNOBSERVED)
