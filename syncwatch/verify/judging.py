"""Judging all expectations on one name of a destination, with what a look there saw.

Comes in: an observation. Goes out: rows moved to their verdict. Facts are read in the transaction
that writes the verdict, so no other change can come between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, select

from syncwatch.errors import IllegalTransitionError
from syncwatch.facts import Facts, Owed, Run, Standing
from syncwatch.model import (
    HOUR,
    SECOND,
    Change,
    Happening,
    Level,
    Millis,
    Observation,
    Operation,
    Reason,
    State,
    Status,
    Trigger,
)
from syncwatch.store import (
    executions,
    expectations,
    observations,
    pauses,
    policies,
    probes,
    proofs,
    subjects,
)
from syncwatch.store.schema import expectations as rows
from syncwatch.store.schema import policies as policy_rows
from syncwatch.store.schema import revisions
from syncwatch.store.schema import subjects as subject_rows
from syncwatch.verdict import decide, last_ended
from syncwatch.verify import probing
from syncwatch.verify.deletion import decide_deletion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

    from syncwatch.facts import Pull
    from syncwatch.model import Verdict
    from syncwatch.store.observations import Past
    from syncwatch.store.policies import Destination, HarborRow
    from syncwatch.verify.probing import Choice

SLACK = SECOND
"""Tag times and the starts of their executions are taken a moment apart, by parts of Harbor."""

NEAR = 10 * SECOND
"""An execution without tasks names no image: it is the event's if it began so soon after it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration says of a destination, in milliseconds.

    `paused_until` is the end of a maintenance that is configured: deadlines within it, or within
    one that was asked for by hand, move there. `choice` is what its cluster is to pull, None where
    no cluster is made to.
    """

    grace: Millis
    give_up_after: Millis
    stale_after: Millis
    retry_first: Millis
    retry_longest: Millis
    paused_until: Millis
    choice: Choice | None = None


@dataclass(frozen=True, slots=True)
class Looks:
    """What a look saw, and those `before` it, newest first.

    `for_one` is False where one look stands for all names of a destination that is away; `asked`
    is the newest request by hand that it stands for.
    """

    seen: Observation
    before: Sequence[Past]
    asked: Millis
    for_one: bool

    @property
    def troubled(self) -> bool:
        """Whether the look before met a problem too."""
        return not self.for_one or bool(self.before and self.before[0].problem is not None)

    def good(self, digest: str, level: Level) -> int:
        """How many conclusive looks in a row proved a digest, before this one."""
        conclusive = [one for one in self.before if one.problem is None]
        proving = [one.proves(digest, level) for one in conclusive]
        return proving.index(False) if False in proving else len(proving)

    def wanting_since(self, digest: str, level: Level) -> Millis | None:
        """When the first ended of the conclusive looks in a row that did not prove a digest."""
        since = None
        for one in self.before:
            if one.problem is None and one.proves(digest, level):
                break
            since = one.at if one.problem is None else since
        return since

    def wanting(self, digest: str, level: Level) -> bool:
        """Whether the last conclusive look before this one did not prove a digest."""
        conclusive = any(one.problem is None for one in self.before)
        return conclusive and self.good(digest, level) == 0


@dataclass(frozen=True, slots=True)
class Judged:
    """What judging a name came to.

    `ask_source` where the source's tag has to be read again, `flapping` where an image is held to
    come and go, `probe` where a node has something to pull.
    """

    changes: list[Change]
    ask_source: bool
    flapping: bool
    probe: bool = False


def judge_name(
    connection: Connection,
    destination: Destination,
    name: tuple[str, str],
    seen: Observation,
    terms: Terms,
    now: Millis,
    *,
    keep: bool = True,
    asked: Millis = 0,
) -> Judged:
    """Write down a look at (repository, reference), and the verdicts that follow from it.

    `asked` is the newest request by hand that the look stands for: a later one stays due.
    """
    repository, reference = name
    before = observations.past(connection, destination.id, repository, reference)
    if keep:
        observations.add(connection, destination.id, repository, reference, seen)
        place = (connection, destination.id, repository)
        proofs.add(*place, seen.proven, seen.began_at)
        proofs.add(*place, seen.altered, seen.began_at, altered=True)
    harbor = policies.harbor_row(connection, destination.harbor)
    looks = Looks(seen, before, asked, for_one=keep)
    paused_until = max(terms.paused_until, pauses.until(connection, destination.id))
    terms = replace(terms, paused_until=paused_until)
    owed = [
        one
        for one in _owed_there(connection, destination.id, repository, reference)
        # What was not asked about came up while we looked; its own look is due.
        if seen.problem is not None or one.digest in seen.held
    ]
    probe = terms.choice is not None and probing.want(
        connection, destination, name, seen, owed, terms.choice, now
    )
    judged = [_judge(connection, destination, harbor, one, looks, terms, now) for one in owed]
    asked_of = [
        one.subject_id for one, (_, verdict) in zip(owed, judged, strict=True) if verdict.ask_source
    ]
    if asked_of:
        subjects.ask_source(connection, asked_of, now)
    changes = [change for change, _ in judged if change is not None]
    flapping = any(verdict.flapping for _, verdict in judged)
    return Judged(changes, bool(asked_of), flapping, probe)


def _owed_there(
    connection: Connection, destination_id: int, repository: str, reference: str
) -> Sequence[Row[Any]]:
    query = (
        select(
            rows,
            subject_rows.c.source_repository,
            subject_rows.c.reference,
            subject_rows.c.repository,
            subject_rows.c.source_digest,
            subject_rows.c.source_read_at,
            subject_rows.c.proofs_since,
            subject_rows.c.deleted_at,
            policy_rows.c.name.label("policy_name"),
            revisions.c.rules,
        )
        .join(subject_rows, subject_rows.c.newest_id == rows.c.id)
        .join(
            policy_rows,
            and_(
                policy_rows.c.harbor == rows.c.harbor,
                policy_rows.c.policy_id == rows.c.policy_id,
            ),
        )
        .join(
            revisions,
            and_(
                revisions.c.harbor == rows.c.harbor,
                revisions.c.policy_id == rows.c.policy_id,
                revisions.c.revision == policy_rows.c.revision,
            ),
        )
        .where(
            subject_rows.c.destination_id == destination_id,
            subject_rows.c.repository == repository,
            subject_rows.c.reference == reference,
            rows.c.state != State.CLOSED,
        )
    )
    return connection.execute(query).all()


def _judge(
    connection: Connection,
    destination: Destination,
    harbor: HarborRow,
    row: Row[Any],
    looks: Looks,
    terms: Terms,
    now: Millis,
) -> tuple[Change | None, Verdict]:
    seen = looks.seen
    facts = _facts(connection, harbor, row, looks, terms, now)
    decides = decide_deletion if row.operation == Operation.DELETION else decide
    verdict = decides(_owed(row, destination), seen, facts, now)
    if (row.proofs_since or 0) > looks.asked:
        # Somebody asked for a look while this one was under way.
        verdict = replace(verdict, due_at=now)
    run = next((one for one in facts.runs if one.task_id is not None), last_ended(facts))
    try:
        change = expectations.judge(
            connection,
            row,
            verdict,
            now=now,
            observed_at=seen.at if seen.problem is None else None,
            began_at=seen.began_at,
            reached=_reached(row, seen, verdict, facts.pull),
            pulled_at=_pulled_at(row, facts.pull),
            paused_until=terms.paused_until if terms.paused_until > now else 0,
            ended=_ended(run) if run else None,
        )
    except IllegalTransitionError:
        return None, replace(verdict, ask_source=False, flapping=False)
    if facts.pull is not None and probing.is_spoilt(seen, row.digest):
        probes.void(connection, (destination.id, row.repository, row.digest))
    return change, verdict


def _reached(row: Row[Any], seen: Observation, verdict: Verdict, pull: Pull | None) -> Level | None:
    """How deep the look went; what is not there any more is matched by its absence."""
    if row.operation == Operation.DELETION:
        return Level.MATCHED if verdict.happening is Happening.SEEN else None
    reached = seen.reached(row.digest)
    pulled = pull is not None and pull.standing is Standing.PROVED
    return Level.PULLED if pulled and reached is Level.READABLE else reached


def _pulled_at(row: Row[Any], pull: Pull | None) -> Millis | None:
    """When a node had pulled it, no earlier than it was expected."""
    if pull is None or pull.proved_at is None or row.operation == Operation.DELETION:
        return None
    return max(pull.proved_at, int(row.expected_at))


def _ended(run: Run) -> expectations.Ended:
    """The run that a row is to remember as its own, one without a task too: it copied nothing."""
    claimed = run.task_id is not None and run.status == Status.SUCCEED
    return expectations.Ended(run.execution_id, run.task_id, run.ended_at if claimed else None)


def _owed(row: Row[Any], destination: Destination) -> Owed:
    joint = "@" if ":" in row.reference else ":"
    return Owed(
        state=State(row.state),
        reason=Reason(row.reason) if row.reason else None,
        operation=Operation(row.operation),
        digest=row.digest,
        required_level=Level(row.required_level),
        expected_at=row.expected_at,
        deadline_at=row.deadline_at,
        verified_at=row.verified_at,
        proved_at=row.proved_at,
        attempts=row.attempts,
        names=f"{row.repository}{joint}{row.reference}",
        destination=destination.name,
        at_rest=row.due_at is None,
    )


def _facts(
    connection: Connection,
    harbor: HarborRow,
    row: Row[Any],
    looks: Looks,
    terms: Terms,
    now: Millis,
) -> Facts:
    level = Level(row.required_level)
    skew = policies.used_skew(harbor.skew)
    rules = policies.rules_of(row.rules)
    busy, ended = executions.last_touch(
        connection, harbor.name, row.repository, now - terms.give_up_after
    )
    scheduled = rules.trigger == Trigger.SCHEDULED
    reached = harbor.feed_since is not None and harbor.feed_since <= row.pushed_at
    others = subjects.rivals(
        connection, row.destination_id, row.repository, row.reference, row.source_repository
    )
    return Facts(
        runs=_runs(connection, harbor, row, skew),
        asked_at=harbor.feed_read_at,
        answers=harbor.up and harbor.feed_ok,
        reaches_back=reached,
        source_digest=row.source_digest,
        source_read_at=row.source_read_at,
        served_since=_served_since(row, looks),
        override=rules.override,
        rivals=frozenset(digest for _, _, digest in others),
        # Harbor's ends are whole seconds, so the moment itself may be up to one later.
        busy_until=None if busy else (ended - skew + SECOND if ended else 0),
        next_run_at=row.expected_at if scheduled and now < row.expected_at else None,
        grace=terms.grace,
        give_up_after=terms.give_up_after,
        stale_after=terms.stale_after,
        retry_first=terms.retry_first,
        retry_longest=terms.retry_longest,
        troubled=looks.troubled,
        wanting=looks.wanting(row.digest, level),
        # Webhooks tell the second of a deletion.
        told_gone=row.deleted_at is not None and row.deleted_at + SECOND > row.pushed_at,
        policies_at=harbor.last_look_at,
        wanting_since=looks.wanting_since(row.digest, level),
        good=looks.good(row.digest, level),
        flaps=_flaps(connection, row, now),
        pull=_pull(connection, row, terms),
    )


def _pull(connection: Connection, row: Row[Any], terms: Terms) -> Pull | None:
    """What the destination's cluster said of pulling it; asked only where it was to be."""
    if terms.choice is None and row.required_level != Level.PULLED:
        return None
    return probes.pull(connection, (row.destination_id, row.repository, row.digest))


def _served_since(row: Row[Any], looks: Looks) -> Millis:
    """When the first of the looks in a row ended that saw served what this one sees."""
    seen = looks.seen
    since = seen.at
    if seen.served in (None, row.digest):
        return since
    for one in looks.before:
        if one.problem is None and one.served != seen.served:
            break
        since = min(since, one.at) if one.problem is None else since
    return since


def _flaps(connection: Connection, row: Row[Any], now: Millis) -> int:
    """How often the expectation left `verified` within the last hour; asked only where it may."""
    if row.state != State.FAILED or row.verified_at is None:
        return 0
    return expectations.times_noted(connection, row.id, State.VERIFIED, now - HOUR)


def _runs(
    connection: Connection, harbor: HarborRow, row: Row[Any], skew: Millis
) -> tuple[Run, ...]:
    """Harbor's runs since the push that may bring this image, newest first."""
    since = row.pushed_at - SLACK
    found = [
        _run_of_task(task, skew)
        for task in executions.runs_for(
            connection,
            harbor.name,
            row.policy_id,
            row.source_repository,
            since,
            Operation(row.operation),
        )
        if _may_bring(connection, row, task) and not _was_over(row, task)
    ]
    # One event makes one execution: where a task is known to be its own, one that ended without
    # any is another's. One that goes on may have been this push's all the same.
    own = any(run.by_event for run in found)
    found += [
        _run_of_execution(execution, skew)
        for execution in executions.without_tasks(connection, harbor.name, row.policy_id, since)
        if execution.trigger != Trigger.EVENT_BASED
        or (
            not (own and execution.status in executions.FINAL)
            and _is_of(connection, row, execution.execution_id, execution.start_at)
        )
    ]
    return tuple(sorted(found, key=lambda run: run.execution_id, reverse=True))


def _was_over(row: Row[Any], task: Row[Any]) -> bool:
    """Whether an event's task had ended before this push (both are Harbor's clock)."""
    by_event = task.trigger == Trigger.EVENT_BASED and task.end_at is not None
    return bool(by_event and task.end_at + SECOND <= row.pushed_at)


def _may_bring(connection: Connection, row: Row[Any], task: Row[Any]) -> bool:
    """Whether a task of the repository is for this reference, as far as anything tells."""
    references = executions.references(task)
    if references is not None:
        return row.reference in references
    return task.trigger != Trigger.EVENT_BASED or _is_of(
        connection, row, task.execution_id, task.began, row.source_repository
    )


def _is_of(
    connection: Connection,
    row: Row[Any],
    execution_id: int,
    began: Millis,
    repository: str | None = None,
) -> bool:
    """Whether an event's execution is this push's: it began soon after, and after no later one.

    What has failed already is not called pending again for a run that may be another tag's.
    """
    if row.state == State.FAILED and execution_id != row.execution_id:
        return False
    if began > row.pushed_at + NEAR:
        return False
    return not expectations.pushed_within(
        connection, row.harbor, row.policy_id, row.pushed_at, began, repository
    )


def _run_of_task(task: Row[Any], skew: Millis) -> Run:
    return Run(
        execution_id=task.execution_id,
        task_id=task.task_id,
        status=task.status,
        text=task.status_text,
        ended_at=task.end_at - skew if task.end_at is not None else None,
        changed_at=task.changed_at,
        errors=max(task.errors, task.failures),
        made_tasks=True,
        by_event=task.trigger == Trigger.EVENT_BASED,
    )


def _run_of_execution(execution: Row[Any], skew: Millis) -> Run:
    """An execution whose tasks are not known: it has none, or they have not been read yet."""
    unread = execution.total > 0
    return Run(
        execution_id=execution.execution_id,
        task_id=None,
        status=Status.IN_PROGRESS if unread else execution.status,
        text=execution.status_text,
        ended_at=execution.end_at - skew if execution.end_at is not None else None,
        changed_at=execution.changed_at,
        errors=0,
        made_tasks=unread,
        by_event=execution.trigger == Trigger.EVENT_BASED,
    )
