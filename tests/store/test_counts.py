"""Whatever happens in whatever order, the counts are those of the rows, and each settles once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from stories import DEADLINE, NOW, Story

from syncwatch.model import LIFE, OPEN_STATES, Change, Happening, Origin, Reason, State
from syncwatch.store import expectations, retention
from syncwatch.store.migrations import upgrade
from syncwatch.store.schema import expectations as rows

if TYPE_CHECKING:
    from sqlalchemy import Engine

REFERENCES = st.sampled_from(["1.0", "2.0"])
OPENINGS = st.tuples(
    st.just("open"),
    REFERENCES,
    st.sampled_from("abc"),
    st.integers(0, 2 * DEADLINE),
    st.booleans(),
    st.booleans(),
    st.sampled_from([Origin.PUSH, Origin.TAG, Origin.RUN]),
)
VERDICTS = st.tuples(
    st.just("judge"),
    REFERENCES,
    st.sampled_from([one for one in Happening if one is not Happening.ENDED]),
    st.sampled_from([0, DEADLINE]),
)
CLOSINGS = st.tuples(
    st.just("close"),
    REFERENCES,
    st.sampled_from([Reason.DELETED_AT_SOURCE, Reason.BY_HAND, Reason.POLICY_GONE]),
)
WAITS = st.tuples(st.just("wait"), st.integers(1, DEADLINE))
FORGETS = st.tuples(st.just("forget"), st.integers(0, 3))
STEPS = st.lists(st.one_of(OPENINGS, VERDICTS, CLOSINGS, WAITS, FORGETS), max_size=25)


def perform(story: Story, step: tuple) -> list[Change]:  # type: ignore[type-arg]
    match step:
        case ("open", reference, letter, ago, read, current, origin):
            return story.open(
                letter,
                reference=reference,
                pushed_at=story.now - ago,
                read=read,
                current=current,
                origin=origin,
            )
        case ("judge", reference, happening, pause):
            row = story.newest(reference)
            if row is None or happening not in LIFE[State(row.state)]:
                return []
            change = story.judge(row, happening, paused_until=story.now + pause if pause else 0)
            return [change] if change else []
        case ("close", reference, reason):
            row = story.newest(reference)
            change = row and expectations.close(
                story.connection, row.id, reason, "ended.", story.now
            )
            return [change] if change else []
        case ("wait", milliseconds):
            story.now += milliseconds
        case ("forget", most):
            retention.forget_expectations(story.connection, story.now, most)
    return []


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_counts_stay_those_of_the_rows_and_each_expectation_settles_at_most_once(
    engine: Engine,
    steps: list[tuple],  # type: ignore[type-arg]
) -> None:
    with engine.begin() as connection:
        upgrade(connection)
    with engine.connect() as connection, connection.begin() as transaction:
        story, settled, lags, opened = Story(connection, NOW), Counter(), Counter(), set()
        for step in steps:
            for change in perform(story, step):
                settled[change.id] += change.settled is not None
                lags[change.id] += change.lag is not None
                assert (change.before is None) == (change.id not in opened)
                opened.add(change.id)
            kept = {row.id for row in connection.execute(select(rows.c.id))}
            # An id that was forgotten may come again in SQLite.
            opened &= kept
            settled, lags = (
                Counter({one: times for one, times in found.items() if one in kept})
                for found in (settled, lags)
            )
            assert story.kept_counts() == story.counted()
            check_behind(story)
        assert all(times <= 1 for times in (*settled.values(), *lags.values()))
        for row in connection.execute(select(rows)):
            assert (row.settled is not None) == (settled[row.id] == 1)
            ended = row.state in (State.CLOSED, State.VERIFIED)
            assert row.origin == Origin.RUN or not ended or row.settled is not None
        transaction.rollback()


def check_behind(story: Story) -> None:
    """A subject is behind just while its newest generation is open, and never since the future."""
    for reference in ("1.0", "2.0"):
        row = story.newest(reference)
        since = story.behind_since(reference)
        assert (since is not None) == (row is not None and row.state in OPEN_STATES)
        assert since is None or since <= story.now
