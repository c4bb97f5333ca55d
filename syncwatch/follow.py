"""Following Harbor's executions and tasks: what Harbor did, and whether it is still at it.

Comes in: the feed of all executions (one request a turn) and the tasks of those that changed.
Webhooks only wake it. Goes out: rows of executions and tasks, from which `verify` takes its facts
and `plan` finds what no webhook told. A status is never final at first sight: a failed task is
tried three times, and an execution's own status lags up to half a minute behind its tasks.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from syncwatch.errors import OutboundError
from syncwatch.harbor import wire
from syncwatch.harbor.client import PAGE_SIZE
from syncwatch.model import ATTEMPTS, MINUTE, SECOND, Finding, Millis, Severity, Status
from syncwatch.runtime import log
from syncwatch.store import executions, expectations, findings, policies
from syncwatch.store.executions import SeenExecution, SeenTask
from syncwatch.store.touching import wake_touched

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection, Row

    from syncwatch.config import HarborSettings
    from syncwatch.harbor.client import HarborClient
    from syncwatch.runtime import Clock, Signals
    from syncwatch.store.database import Database
    from syncwatch.store.policies import HarborRow

FEED_PAGES = 50
"""Pages of the feed read in one turn; a longer gap is read over several turns."""

ASKED_A_TURN = 40
"""Executions whose tasks are asked for in one turn."""

AT_ONCE = 4
"""How many of these questions Harbor gets at the same time."""

OLDEST = 10 * MINUTE
"""Executions that ended so long before our beginning are of no interest."""

TOO_DEEP = re.compile(r'the source repository "([^"]+)" contains only \d+ path components')
"""How Harbor says that it cannot name a repository (controller/replication/flow/stage.go)."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What a turn read of the feed. `whole` says that no gap is left to what was read before."""

    read_at: Millis
    executions: Sequence[SeenExecution]
    whole: bool
    ended: bool


class Follower:
    """Follows one Harbor. `counted(harbor, policy id, status)` is told of each final execution."""

    def __init__(
        self,
        *,
        harbor: HarborSettings,
        client: HarborClient,
        database: Database,
        clock: Clock,
        signals: Signals,
        counted: Callable[[str, int, str], None],
    ) -> None:
        self._harbor = harbor
        self._client = client
        self._database = database
        self._clock = clock
        self._signals = signals
        self._counted = counted
        self._poll: Millis = round(harbor.poll_every.total_seconds() * 1000)
        self._give_up: Millis = round(harbor.give_up_after.total_seconds() * 1000)

    async def turn(self) -> float:
        """Read the feed, then the tasks that matter; seconds until the next turn."""
        row = await self._database.read(lambda c: policies.harbor_row(c, self._harbor.name))
        if row.last_look_at is None:
            return 1.0
        try:
            feed = await self._read_feed(row)
            await self._keep_feed(row, feed)
            more = await self._follow_due({one.execution_id: one for one in feed.executions})
        except OutboundError as error:
            await self._note_failure(error)
            return self._poll / SECOND
        return 0.0 if more else self._poll / SECOND

    async def _read_feed(self, row: HarborRow) -> Feed:
        """Pages of the feed, newest first, down to what was read before."""
        read_at = self._clock.now()
        oldest_wanted = row.watching_since + row.skew - OLDEST
        found: dict[int, SeenExecution] = {}
        for page in range(1, FEED_PAGES + 1):
            listed = [_seen_execution(one) for one in await self._client.executions(page)]
            found |= {one.execution_id: one for one in listed}
            ended = len(listed) < PAGE_SIZE
            # A list that ends before what was read before was purged: something may be missing.
            met = any(one.execution_id <= row.feed_cursor for one in listed)
            if ended or met:
                return Feed(read_at, list(found.values()), whole=met, ended=ended)
            starts = [one.start_at for one in listed if one.start_at is not None]
            if row.feed_cursor == 0 and starts and min(starts) < oldest_wanted:
                return Feed(read_at, list(found.values()), whole=False, ended=False)
        return Feed(read_at, list(found.values()), whole=False, ended=False)

    async def _keep_feed(self, row: HarborRow, feed: Feed) -> None:
        now = self._clock.now()
        began = row.watching_since + row.skew
        wanted = [one for one in feed.executions if (one.start_at or now) >= began - OLDEST]
        name = self._harbor.name

        def keep(connection: Connection) -> bool:
            news = executions.see(connection, name, wanted, now, began)
            policies.set_harbor(
                connection,
                name,
                feed_cursor=max([row.feed_cursor, *(one.execution_id for one in feed.executions)]),
                feed_read_at=feed.read_at,
                feed_since=_feed_since(row, feed),
                feed_ok=True,
            )
            findings.drop(connection, name, "feed")
            return bool(news)

        if await self._database.write(keep):
            self._signals.wake(f"plan {name}")

    async def _follow_due(self, fresh: Mapping[int, SeenExecution]) -> bool:
        """Ask for what may have changed; True when more is waiting."""
        now = self._clock.now()
        due = await self._database.read(
            lambda c: executions.due(c, self._harbor.name, now, ASKED_A_TURN)
        )
        turns = asyncio.Semaphore(AT_ONCE)

        async def follow(row: Row[Any]) -> None:
            async with turns:
                await self._follow(row, fresh.get(row.execution_id))

        outcomes = await asyncio.gather(*(follow(row) for row in due), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return len(due) >= ASKED_A_TURN

    async def _follow(self, row: Row[Any], seen: SeenExecution | None) -> None:
        """One execution: itself, where the feed did not just show it, and its tasks."""
        now = self._clock.now()
        if seen is None:
            execution = await self._client.execution(row.execution_id)
            seen = _seen_execution(execution) if execution is not None else None
        if seen is None:
            # Purged from Harbor's history, which says nothing about how it ended.
            await self._database.write(
                lambda c: executions.set_execution(
                    c, self._harbor.name, row.execution_id, due_at=None
                )
            )
            return
        listed = await self._client.tasks(row.execution_id) if seen.total else []
        tasks = [_seen_task(task, seen) for task in listed]
        status, woken = await self._database.write(lambda c: self._keep(c, seen, tasks, now))
        if status:
            self._counted(self._harbor.name, seen.policy_id, status)
        for one in woken:
            self._signals.wake(f"verify {one}")
        self._signals.wake(f"plan {self._harbor.name}")

    def _keep(
        self,
        connection: Connection,
        seen: SeenExecution,
        tasks: Sequence[SeenTask],
        now: Millis,
    ) -> tuple[str, set[int]]:
        """Write it down; the status to count if it is final now, and the destinations to wake."""
        name = self._harbor.name
        executions.see(connection, name, [seen], now)
        woken: set[int] = set()
        news = {one.task_id for one in tasks if executions.see_task(connection, name, one, now)}
        kept = executions.tasks_of(connection, name, seen.execution_id)
        final = self._final_status(seen, kept, now)
        counted = _was_counted(connection, name, seen.execution_id)
        ended = "" if counted else final
        for task in kept:
            if task.task_id in news or ended:
                woken |= _wake(connection, name, task, now)
                if task.status in executions.FINAL:
                    woken |= wake_touched(connection, name, task, seen.start_at, now)
        if ended:
            self._explain(connection, seen, now)
        if ended and not kept:
            woken |= expectations.wake(
                connection, name, now, policy_id=seen.policy_id, only_open=True
            )
        due_at = None if final else now + self._pace(len(kept))
        executions.set_execution(
            connection, name, seen.execution_id, due_at=due_at, counted=counted or bool(final)
        )
        return ended, woken

    def _explain(self, connection: Connection, seen: SeenExecution, now: Millis) -> None:
        """A run that failed before any task tells why in its text alone (recording 07)."""
        told = TOO_DEEP.search(seen.status_text)
        if told is None:
            return
        name = policies.policy_name(connection, self._harbor.name, seen.policy_id)
        found = findings.too_deep(name, told[1], seen.status_text)
        findings.add(connection, self._harbor.name, f"policy {seen.policy_id}", found, now)

    def _final_status(self, seen: SeenExecution, kept: Sequence[Row[Any]], now: Millis) -> str:
        """The status once nothing more can come of it, else nothing."""
        if seen.status not in executions.FINAL:
            return ""
        open_tasks = [task for task in kept if task.status not in executions.FINAL]
        retried = [
            task
            for task in kept
            if task.status == Status.FAILED
            and max(task.errors, task.failures) < ATTEMPTS
            and now - task.changed_at < self._give_up
        ]
        if open_tasks or retried or len(kept) < seen.total:
            return ""
        # Its own status is refreshed late: tasks that all succeeded outvote it (recording 09).
        words = {task.status for task in kept} - {""}
        if words == {Status.SUCCEED} and seen.status == Status.FAILED:
            return ""
        return seen.status

    def _pace(self, tasks: int) -> Millis:
        """How soon to ask again: an execution of many tasks costs a page for each hundred."""
        return self._poll * (1 + tasks // 100)

    async def _note_failure(self, error: OutboundError) -> None:
        log.warning("feed_not_read", harbor=self._harbor.name, kind=error.kind, error=error.message)
        # A 401 is the credential's, of which the look at Harbor tells.
        missing = error.kind == "forbidden"
        finding = Finding(
            "permission_missing" if missing else "harbor_unreachable",
            Severity.ERROR,
            f"harbor {self._harbor.name}: executions",
            f"{error.message}.",
            "Give the robot account list and read on replication."
            if missing
            else "Check Harbor and the network; until then nothing is judged failed or gone.",
        )
        now, name = self._clock.now(), self._harbor.name

        def keep(connection: Connection) -> None:
            policies.set_harbor(connection, name, feed_ok=False)
            findings.replace(connection, name, "feed", [finding], now)

        await self._database.write(keep)


def _was_counted(connection: Connection, harbor: str, execution_id: int) -> bool:
    """Whether an execution was counted as final before."""
    return bool(executions.known(connection, harbor, [execution_id])[execution_id].counted)


def _feed_since(row: HarborRow, feed: Feed) -> Millis:
    """Since when (Harbor's clock) no execution can have escaped us."""
    if feed.whole and row.feed_since is not None:
        return row.feed_since
    if feed.ended and row.feed_cursor == 0:
        return 0
    starts = [one.start_at for one in feed.executions if one.start_at is not None]
    return min(starts, default=feed.read_at + policies.used_skew(row.skew))


def _wake(connection: Connection, harbor: str, task: Row[Any], now: Millis) -> set[int]:
    """Whoever waits for a task: its references where a webhook told them, else all that is open."""
    references = executions.references(task)
    woken = expectations.wake(
        connection,
        harbor,
        now,
        policy_id=task.policy_id,
        source_repository=task.source_repository,
        references=references or (),
        only_open=not references,
    )
    return woken | expectations.wake(
        connection, harbor, now, repository=task.repository, only_open=True
    )


def _seen_execution(one: wire.Execution) -> SeenExecution:
    return SeenExecution(
        one.id,
        one.policy_id,
        one.trigger,
        one.status,
        one.status_text,
        one.total,
        wire.millis_or_none(one.start_time),
        wire.millis_or_none(one.end_time),
    )


def _seen_task(one: wire.Task, execution: SeenExecution) -> SeenTask:
    return SeenTask(
        task_id=one.id,
        execution_id=execution.execution_id,
        policy_id=execution.policy_id,
        operation=one.operation,
        source_repository=wire.plain_name(one.src_resource),
        repository=wire.plain_name(one.dst_resource),
        items=wire.item_count(one.src_resource),
        status=one.status,
        start_at=wire.millis_or_none(one.start_time),
        end_at=wire.millis_or_none(one.end_time),
    )
