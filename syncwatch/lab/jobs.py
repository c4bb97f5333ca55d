"""Harbor's job service: executions and tasks, one pool of workers, retries, late statuses.

`Failed` is not final (api.md §6): a task is tried three times, and after each failure it reads
`Failed` until it runs again. An execution's status follows its tasks only at the next refresh,
its counters at once. Replication and webhooks share pool, executions and tasks.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from syncwatch.lab.records import (
    ERROR,
    FINAL,
    PENDING,
    RUNNING,
    STOPPED,
    SUCCESS,
    WEBHOOK,
    Execution,
    Task,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from syncwatch.lab.world import World


class Jobs:
    """Runs tasks and keeps their history."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._workers = asyncio.Semaphore(world.times.workers)
        self._running: dict[str, asyncio.Event] = defaultdict(_set_event)
        self._dirty: set[int] = set()
        self.status_changed: list[Callable[[Task], None]] = []

    def pause(self, vendor: str) -> None:
        """Stop taking jobs of REPLICATION or WEBHOOK from the queue; tasks stay `Pending`."""
        self._running[vendor].clear()

    def resume(self, vendor: str) -> None:
        """Take jobs again."""
        self._running[vendor].set()

    def is_paused(self, vendor: str) -> bool:
        """Whether the vendor's queue is paused."""
        return not self._running[vendor].is_set()

    def waiting(self, vendor: str) -> int:
        """How many of a vendor's tasks wait in the queue."""
        rows = self._world.tasks.values()
        return sum(task.vendor == vendor and task.status == PENDING for task in rows)

    def new_execution(
        self, vendor: str, vendor_id: int, trigger: str, extra: dict[str, str] | None = None
    ) -> Execution:
        """A running execution without tasks."""
        identifier = self._world.next_id("execution")
        execution = Execution(
            identifier, vendor, vendor_id, trigger, self._world.now(), extra=extra or {}
        )
        self._world.executions[identifier] = execution
        return execution

    def new_task(self, execution: Execution) -> Task:
        """A pending task of an execution."""
        now = self._world.now()
        identifier = self._world.next_id("task")
        job = f"{self._world.chance.getrandbits(96):024x}"
        task = Task(identifier, execution.id, execution.vendor, job, now, now, updated=now)
        self._world.tasks[identifier] = task
        execution.tasks.append(task)
        return task

    def finish(self, execution: Execution, status: str, text: str) -> None:
        """End an execution that has no tasks; at once, as Harbor does."""
        execution.status, execution.status_text = status, text
        execution.ended = self._world.now()

    def submit(self, task: Task, attempt: Callable[[Task], Awaitable[bool]]) -> None:
        """Queue a task; `attempt` does it once and says whether it succeeded."""
        self._world.spawn(self._live(task, attempt))

    def stop(self, execution: Execution) -> None:
        """Stop an execution and its tasks, those that wait for another attempt too."""
        for task in execution.tasks:
            if task.status not in (SUCCESS, STOPPED):
                self._set(task, STOPPED)
        execution.status = STOPPED
        execution.ended = self._world.now()
        self._dirty.discard(execution.id)

    def refresh(self) -> None:
        """Let every execution's status follow its tasks, as each refresh interval does."""
        for identifier in sorted(self._dirty):
            execution = self._world.executions.get(identifier)
            if execution is not None:
                self._refresh(execution)
        self._dirty.clear()

    async def refresh_for_ever(self) -> None:
        """The refresh loop of `execution_status_refresh_interval_seconds`."""
        while True:
            await asyncio.sleep(self._world.times.refresh_interval)
            if not self._world.switches.hold_refresh:
                self.refresh()

    def sweep(self) -> None:
        """The nightly sweep: each policy keeps its newest final executions (50)."""
        kept: dict[tuple[str, int], int] = defaultdict(int)
        for execution in sorted(self._world.executions.values(), key=lambda row: -row.id):
            if execution.status not in FINAL:
                continue
            key = (execution.vendor, execution.vendor_id)
            kept[key] += 1
            if kept[key] > self._world.times.history:
                self.forget(execution)

    def purge(self, vendor: str, vendor_id: int | None = None) -> None:
        """Forget a vendor's executions, of one policy or of all."""
        for execution in list(self._world.executions.values()):
            if execution.vendor == vendor and vendor_id in (None, execution.vendor_id):
                self.forget(execution)

    def forget(self, execution: Execution) -> None:
        """Remove an execution and its tasks from the history."""
        for task in execution.tasks:
            del self._world.tasks[task.id]
        del self._world.executions[execution.id]

    async def _live(self, task: Task, attempt: Callable[[Task], Awaitable[bool]]) -> None:
        times = self._world.times
        attempts = times.webhook_attempts if task.vendor == WEBHOOK else times.attempts
        await asyncio.sleep(times.queue_latency)
        for fails in range(1, attempts + 1):
            await self._running[task.vendor].wait()
            async with self._workers:
                if task.status == STOPPED or await self._run(task, attempt):
                    return
            if fails < attempts:
                await asyncio.sleep(times.backoff(fails, self._world.chance))

    async def _run(self, task: Task, attempt: Callable[[Task], Awaitable[bool]]) -> bool:
        """One attempt; True when the task needs no other."""
        if task.run_count:
            task.started = self._world.now()
        task.run_count += 1
        self._set(task, RUNNING)
        pause = 0.0 if task.vendor == WEBHOOK else self._world.times.run_time
        done, _ = await asyncio.gather(attempt(task), asyncio.sleep(pause))
        if task.status == STOPPED:
            return True
        self._set(task, SUCCESS if done else ERROR)
        return done

    def _set(self, task: Task, status: str) -> None:
        now = self._world.now()
        task.status, task.updated = status, now
        task.ended = now if status in FINAL else 0.0
        self._dirty.add(task.execution_id)
        for listener in self.status_changed:
            listener(task)

    def _refresh(self, execution: Execution) -> None:
        """src/pkg/task/dao/execution.go refreshStatus; the end is the last task's, in seconds."""
        tasks = execution.tasks
        found = {task.status for task in tasks}
        if not found or execution.status == STOPPED:
            return
        if found & {PENDING, RUNNING}:
            execution.status, execution.ended = RUNNING, 0.0
            return
        execution.status = next(status for status in (ERROR, STOPPED, SUCCESS) if status in found)
        execution.ended = float(int(max(task.ended for task in tasks)))


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event
