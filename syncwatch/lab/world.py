"""The lab Harbor's state: its tables, its clock, its version, its switches."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from syncwatch.lab.contents import Contents
from syncwatch.lab.records import AuditEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from syncwatch.lab.records import (
        Accessory,
        Artifact,
        Event,
        Execution,
        Label,
        Policy,
        Project,
        Registry,
        Repository,
        Robot,
        Tag,
        Task,
        WebhookPolicy,
    )
    from syncwatch.lab.times import LabTimes

T = TypeVar("T")

VERSION = "v2.16.0-c50c7dd"
"""What the recorded Harbor says of itself."""


@dataclass(slots=True)
class Switches:
    """What a test or the demo may do to this Harbor while it runs."""

    slow_seconds: float = 0.0
    """Every answer of API and /v2 comes so late."""
    broken: bool = False
    """Every answer of API and /v2 is a 500."""
    html: bool = False
    """Every answer of API and /v2 is 200 with an HTML page, as from a proxy before it."""
    drop_webhooks: bool = False
    """Events are lost before the queue, as when core dies (api.md §7)."""
    webhook_copies: int = 1
    """How often each webhook is delivered."""
    notification_enable: bool = True
    read_only: bool = False
    hold_flows: bool = False
    """Executions are made and stay `InProgress` with total 0, as when core is busy."""
    hold_refresh: bool = False
    """Executions keep the status they have, however their tasks end, until `refresh`."""
    clock_skew: float = 0.0
    """Seconds this Harbor's clock is ahead."""


class World:
    """Everything a Harbor keeps. Background work hangs on it and ends with `close`."""

    def __init__(self, times: LabTimes, *, version: str = VERSION, seed: int = 0) -> None:
        self.times = times
        self.version = version
        self.url = ""
        self.admin_password = "Harbor12345"  # noqa: S105 - Harbor's well-known default
        self.chance = random.Random(seed)  # noqa: S311 - jitter, no secret
        self.switches = Switches()
        self.contents = Contents()
        self.projects: dict[int, Project] = {}
        self.repositories: dict[int, Repository] = {}
        self.repository_ids: dict[str, int] = {}
        self.artifacts: dict[int, Artifact] = {}
        self.tags: dict[int, Tag] = {}
        self.accessories: dict[int, Accessory] = {}
        self.labels: dict[int, Label] = {}
        self.registries: dict[int, Registry] = {}
        self.policies: dict[int, Policy] = {}
        self.webhooks: dict[int, WebhookPolicy] = {}
        self.executions: dict[int, Execution] = {}
        self.tasks: dict[int, Task] = {}
        self.robots: dict[int, Robot] = {}
        self.audit_log: list[AuditEntry] = []
        self.listeners: list[Callable[[Event], None]] = []
        self._ids: dict[str, Iterator[int]] = defaultdict(lambda: count(1))
        self._work: set[asyncio.Task[None]] = set()
        self._loops: set[asyncio.Task[None]] = set()

    def now(self) -> float:
        """Harbor's clock, in Unix seconds."""
        return time.time() + self.switches.clock_skew

    def next_id(self, table: str) -> int:
        """The next id of a table; replication and webhooks share those of executions and tasks."""
        return next(self._ids[table])

    def since(self, *version: int) -> bool:
        """Whether this Harbor is at least of the given version."""
        numbers = self.version.lstrip("v").partition("-")[0].split(".")
        return tuple(int(number) for number in numbers) >= version

    def publish(self, event: Event) -> None:
        """Tell all who listen; each hears of it as if alone."""
        for listener in self.listeners:
            listener(event)

    def audit(
        self,
        operation: str,
        resource_type: str,
        resource: str,
        description: str,
        username: str,
        project_id: int,
    ) -> None:
        """Write a line of the audit log."""
        self.audit_log.append(
            AuditEntry(
                self.next_id("audit"),
                self.now(),
                operation,
                resource_type,
                resource,
                description,
                username,
                project_id,
            )
        )

    def project(self, name_or_id: str, *, is_name: bool = False) -> Project | None:
        """A project by its name, or by its id when the value is all digits."""
        if name_or_id.isdigit() and not is_name:
            return self.projects.get(int(name_or_id))
        found = (project for project in self.projects.values() if project.name == name_or_id)
        return next(found, None)

    def repository(self, name: str) -> Repository | None:
        """A repository by its full name."""
        return self.repositories.get(self.repository_ids.get(name, 0))

    async def settled(self) -> None:
        """Wait until no flow and no job is under way or waits for another attempt."""
        while self._work:
            await asyncio.wait(set(self._work))

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Do something in the background until it ends or the lab closes."""
        self._keep(work, self._work)

    def repeat(self, work: Coroutine[None, None, None]) -> None:
        """Do something for ever in the background, until the lab closes."""
        self._keep(work, self._loops)

    def _keep(self, work: Coroutine[None, None, None], where: set[asyncio.Task[None]]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        where.add(task)
        task.add_done_callback(where.discard)
        task.add_done_callback(_tell_failure)

    async def close(self) -> None:
        """End all background work."""
        work = [*self._work, *self._loops]
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


def _tell_failure(task: asyncio.Task[None]) -> None:
    """A bug in the lab must not pass in silence."""
    if not task.cancelled() and (error := task.exception()) is not None:
        told = {"message": "the lab Harbor's background work failed", "exception": error}
        task.get_loop().call_exception_handler(told)


def stamp(at: float) -> str:
    """A time as the API writes it, in ms; 0 is Go's zero time."""
    if at <= 0:
        return "0001-01-01T00:00:00.000Z"
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def second_stamp(at: float) -> str:
    """A time in whole seconds, as webhook histories and task logs write it."""
    if at <= 0:
        return "0001-01-01T00:00:00Z"
    return f"{datetime.fromtimestamp(int(at), UTC):%Y-%m-%dT%H:%M:%SZ}"
