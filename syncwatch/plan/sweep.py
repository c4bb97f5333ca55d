"""The sweep of one Harbor: everything that policies reach, compared without any webhook.

Comes in: Harbor's own lists. Goes out: generations of what nobody announced, and subjects whose
reference is not listed, for the planner to ask for one by one: a list proves no deletion.

Two ways share one budget of questions. Repositories that changed since the last sweep are read
every `sweep_every`, where Harbor says so (update_time, since v2.15.2). A complete pass reads all of
them at leisure, one of each project in turn so that none waits for a large one, and goes on where
it was after a restart. What is older than the rules that reach it is expected by nobody.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from syncwatch.budget import Budget
from syncwatch.errors import OutboundError
from syncwatch.harbor.client import PAGE_SIZE
from syncwatch.model import MINUTE, SECOND, Finding, Millis, Severity
from syncwatch.plan.promises import by_policy
from syncwatch.plan.repositories import Reading, Repositories
from syncwatch.plan.scope import Scope
from syncwatch.runtime import log
from syncwatch.store import findings, policies, sweeps

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import Connection

    from syncwatch.config import HarborSettings
    from syncwatch.harbor.client import HarborClient
    from syncwatch.harbor.listed import Repository
    from syncwatch.plan.keeping import Keeping
    from syncwatch.plan.sources import Sources
    from syncwatch.runtime import Clock, Signals
    from syncwatch.store.database import Database
    from syncwatch.store.policies import HarborRow

SLICE = 3 * SECOND
"""How long one turn goes on, so that a turn never seems dead."""
OFTEN = 3
"""After so many interruptions in a row they are said."""
AGAIN = 30 * SECOND
"""When a sweep that Harbor interrupted goes on."""
MARGIN = MINUTE
"""A change is written within the request that makes it; this much earlier is read again."""
SCOPE_KEPT = 10 * SECOND
"""For how long the rules are taken to be those that were read."""
ALONE = 3
"""A complete pass rests this many times as long as it took."""


@dataclass
class _Project:
    """A project of the pass: what is next in it. `whole` says that we saw it from its beginning."""

    name: str
    cursor: int
    whole: bool
    waiting: deque[tuple[int, str]] = field(default_factory=deque)
    seen: set[str] = field(default_factory=set)
    reading: Reading | None = None
    page: int = 1
    # What was listed of a Harbor that keeps no order by id, until the list has ended.
    gathered: dict[int, str] = field(default_factory=dict)
    listed_all: bool = False

    def take(self, listed: Sequence[Repository]) -> bool:
        """A page of repositories with ids above the cursor; True where the list has ended.

        In Harbor's order the next page begins at the next cursor, whatever came or went meanwhile.
        """
        ids = [one.id for one in listed]
        if self.page == 1 and ids == sorted(ids) and all(one > self.cursor for one in ids):
            self.waiting.extend((one.id, one.name) for one in listed)
            self.listed_all = len(listed) < PAGE_SIZE
            return not listed
        self.gathered |= {one.id: one.name for one in listed if one.id > self.cursor}
        self.page += 1
        if len(listed) < PAGE_SIZE:
            self.waiting.extend(sorted(self.gathered.items()))
            self.listed_all = True
        return self.listed_all and not self.waiting


@dataclass
class _Changes:
    """The incremental way, under way: projects to ask, then repositories to compare.

    `until` (Harbor's clock) is the moment up to which changes are known when it has ended.
    """

    began_at: Millis
    since: Millis
    until: Millis
    projects: deque[tuple[str, int]]
    repositories: dict[str, deque[str]] = field(default_factory=dict)
    reading: Reading | None = None

    @property
    def left(self) -> bool:
        return bool(self.projects or self.repositories or self.reading)

    def next(self) -> str:
        """A repository that changed, of each project in turn."""
        project = next(iter(self.repositories))
        waiting = self.repositories.pop(project)
        repository = waiting.popleft()
        if waiting:
            self.repositories[project] = waiting
        return repository


class Sweep:
    """Sweeps one Harbor. `ended(harbor, seconds)` is told of each sweep without trouble."""

    def __init__(
        self,
        *,
        harbor: HarborSettings,
        client: HarborClient,
        keeping: Keeping,
        sources: Sources,
        database: Database,
        clock: Clock,
        signals: Signals,
        ended: Callable[[str, float], None],
    ) -> None:
        self._name = harbor.name
        self._every: Millis = round(harbor.sweep_every.total_seconds() * 1000)
        self._client = client
        self._sources = sources
        self._database = database
        self._clock = clock
        self._signals = signals
        self._ended = ended
        # A minute's worth at once: a small Harbor is compared in one go.
        self._budget = Budget(
            harbor.sweep_requests_per_minute, clock.now(), saved=MINUTE, full=True
        )
        self._started_at: Millis = clock.now()
        self._is_first = True
        self._interrupted = 0
        self._next_at: Millis = 0
        self._scope = Scope({})
        self._scope_at: Millis = 0
        self._scope_until: Millis = 0
        self._changes: _Changes | None = None
        self._pass: deque[_Project] | None = None
        self._pass_began_at: Millis = 0
        self._unseen: set[str] | None = None
        self._repositories = Repositories(
            harbor=harbor,
            client=client,
            keeping=keeping,
            sources=sources,
            database=database,
            clock=clock,
            signals=signals,
            spend=self._budget.spend,
        )

    async def turn(self) -> float:
        """Begin a sweep when it is due, or go on with one; seconds until the next turn."""
        row = await self._database.read(lambda c: policies.harbor_row(c, self._name))
        if row.last_look_at is None or not row.up or row.last_look_at < self._started_at:
            # What was edited while we were away decides what was promised meanwhile.
            return 0.5
        try:
            if self._clock.now() >= self._next_at:
                await self._begin(row, self._clock.now())
            return await self._go_on()
        except OutboundError as error:
            log.warning(
                "sweep_interrupted", harbor=self._name, kind=error.kind, error=error.message
            )
            self._next_at = min(self._next_at, self._clock.now() + AGAIN)
            self._changes = None
            self._interrupted += 1
            if self._interrupted == OFTEN:
                await self._tell_trouble(f"it was interrupted {OFTEN} times, by {error.message}")
            return min(AGAIN, self._every) / SECOND

    async def _begin(self, row: HarborRow, now: Millis) -> None:
        """Take up what is to be compared now: rules of today, projects of today."""
        await self._take_scope()
        projects = await self._projects()
        self._next_at = now + self._every
        follows = _says_what_changed(row.version)
        if self._changes is None and follows:
            since = row.swept_until if row.swept_until is not None else _watched_since(row)
            self._changes = _Changes(
                began_at=now,
                since=since - MARGIN,
                until=_known_until(row),
                projects=deque((name, 1) for name in projects),
            )
        # Where Harbor does not say what changed, only a pass finds what came while we were away.
        first, self._is_first = self._is_first and not follows, False
        if self._pass is None and (first or _pass_is_due(row, now, self._every)):
            await self._begin_pass(row, projects, now)

    async def _take_scope(self) -> None:
        """The rules of this moment, and until when they are known."""
        revisions, row = await self._database.read(
            lambda c: (
                policies.known_revisions(c, self._name),
                policies.harbor_row(c, self._name),
            )
        )
        self._scope = Scope(by_policy(revisions))
        self._scope_at, self._scope_until = self._clock.now(), _known_until(row)

    async def _projects(self) -> list[str]:
        """Projects that policies reach and that hold something of their own (no proxy caches)."""
        # Wrong credentials do not fail, they see less (recording 16): they are proven first.
        await self._client.system_info()
        listed = await self._client.projects()
        self._budget.spend(2 + len(listed) // PAGE_SIZE)
        names = {one.name: one.is_proxy_cache for one in listed}
        unseen = set()
        for name in sorted(self._scope.named() - names.keys()):
            # A robot of certain projects is not shown the others, which is no word on them.
            self._budget.spend(1)
            try:
                found = await self._client.project(name)
            except OutboundError as error:
                if error.kind != "forbidden":
                    raise
                unseen.add(name)
                continue
            if found is not None:
                names[name] = found.is_proxy_cache
        await self._tell_unseen(unseen)
        return sorted(name for name, cache in names.items() if self._reaches(name) and not cache)

    def _reaches(self, project: str) -> bool:
        return self._scope.reaches(project)

    async def _begin_pass(self, row: HarborRow, projects: Collection[str], now: Millis) -> None:
        """A new pass, or the one that a restart interrupted."""
        goes_on = row.pass_began_at is not None and row.pass_ended_at is None

        def keep(connection: Connection) -> list[sweeps.Swept]:
            if goes_on:
                sweeps.add_projects(connection, self._name, projects, row.pass_began_at or now)
            else:
                sweeps.begin_pass(connection, self._name, projects, now)
            return sweeps.projects_of_pass(connection, self._name)

        kept = await self._database.write(keep)
        self._pass_began_at = row.pass_began_at if goes_on and row.pass_began_at else now
        self._pass = deque(
            _Project(one.project, one.cursor, whole=one.cursor == 0)
            for one in kept
            if one.ended_at is None and one.project in projects
        )

    async def _go_on(self) -> float:
        """Ask and compare while the slice and the budget last."""
        end = self._clock.now() + SLICE
        while (now := self._clock.now()) < end:
            if self._changes is None and self._pass is None:
                return max(0.0, (self._next_at - now) / SECOND)
            if self._budget.left(now) < 1:
                return self._budget.pause
            await self._step()
        return 0.0

    async def _step(self) -> None:
        if self._changes is not None and self._changes.left:
            await self._follow_changes(self._changes)
        elif self._changes is not None:
            await self._end_changes(self._changes)
        elif self._pass:
            await self._go_through(self._pass[0])
            # One repository of each project in turn.
            self._pass.rotate(-1)
        else:
            await self._end_pass()

    async def _follow_changes(self, changes: _Changes) -> None:
        if changes.reading is not None:
            if await self._repositories.go_on(changes.reading):
                changes.reading = None
            return
        if not changes.projects:
            changes.reading = await self._begin_reading(changes.next())
            return
        project, page = changes.projects.popleft()
        self._budget.spend(1)
        try:
            listed = await self._client.repositories(project, page, changed_since=changes.since)
        except OutboundError as error:
            await self._refuse(project, error)
            return
        self._sources.allow("repositories", project)
        self._repositories.troubled.pop(f"{project}/", None)
        if listed:
            waiting = changes.repositories.setdefault(project, deque())
            waiting.extend(one.name for one in listed)
        if len(listed) >= PAGE_SIZE:
            changes.projects.append((project, page + 1))

    async def _end_changes(self, changes: _Changes) -> None:
        self._changes = None
        now = self._clock.now()
        await self._database.write(
            lambda c: policies.set_harbor(
                c, self._name, swept_until=changes.until, last_sweep_at=now
            )
        )
        self._ended(self._name, (now - changes.began_at) / SECOND)
        await self._tell_trouble()

    async def _go_through(self, project: _Project) -> None:
        """The next repository of a project, or the next page of them, or its end."""
        if project.waiting:
            await self._read_next(project)
            return
        if project.listed_all:
            await self._end_project(project)
            return
        self._budget.spend(1)
        try:
            listed = await self._client.repositories(
                project.name, project.page, after=project.cursor
            )
        except OutboundError as error:
            await self._refuse(project.name, error)
            listed, project.whole = [], False
        if project.take(listed):
            await self._end_project(project)

    async def _end_project(self, project: _Project) -> None:
        """Repositories that were expected and are not there: each reference is to be asked for."""
        if self._pass is not None:
            self._pass.remove(project)
            # `rotate` comes after this; the next project keeps its turn.
            self._pass.rotate(1)
        now = self._clock.now()
        if project.whole:
            self._repositories.forget_troubles(project.name, project.seen)

        def end(connection: Connection) -> int:
            sweeps.end_project(connection, self._name, project.name, now)
            return self._ask_vanished(connection, project, now) if project.whole else 0

        if await self._database.write(end):
            self._signals.wake(f"plan {self._name}")

    def _ask_vanished(self, connection: Connection, project: _Project, now: Millis) -> int:
        asked, after = 0, ""
        while known := sweeps.repositories_known(connection, self._name, project.name, after, 500):
            after = known[-1]
            for repository in known:
                if repository not in project.seen:
                    asked += sweeps.ask_all_of(connection, self._name, repository, now)
        return asked

    async def _end_pass(self) -> None:
        self._pass = None
        now = self._clock.now()
        self._repositories.forget_beyond(self._scope)

        def end(connection: Connection) -> bool:
            row = policies.harbor_row(connection, self._name)
            values: dict[str, Millis] = {"pass_ended_at": now}
            if not _says_what_changed(row.version):
                values["last_sweep_at"] = now
            policies.set_harbor(connection, self._name, **values)
            return "last_sweep_at" in values

        if await self._database.write(end):
            self._ended(self._name, (now - self._pass_began_at) / SECOND)
        await self._tell_trouble()

    async def _read_next(self, project: _Project) -> None:
        """A page of the next repository; what was read to its end is never read again."""
        identity, repository = project.waiting[0]
        if project.reading is None:
            project.seen.add(repository)
            project.reading = await self._begin_reading(repository, whole=True)
        reading = project.reading
        if reading is not None and not await self._repositories.go_on(reading):
            return
        tags = reading.comparison.tags if reading is not None else 0
        project.reading = None
        project.waiting.popleft()
        project.cursor = max(project.cursor, identity)
        await self._database.write(
            lambda c: sweeps.advance(c, self._name, project.name, project.cursor, 1, tags)
        )

    async def _begin_reading(self, repository: str, *, whole: bool = False) -> Reading | None:
        """Begin with one repository, by rules that are young."""
        if self._clock.now() - self._scope_at > SCOPE_KEPT:
            await self._take_scope()
        return await self._repositories.begin(
            repository, self._scope, self._scope_until, whole=whole
        )

    async def _refuse(self, project: str, error: OutboundError) -> None:
        """A project that we cannot list: that is said, and the others go on."""
        if error.kind == "forbidden":
            self._sources.refuse("repositories", project)
        elif await self._repositories.is_own(error):
            self._repositories.troubled[f"{project}/"] = error.message
        else:
            raise error

    async def _tell_unseen(self, unseen: set[str]) -> None:
        if unseen == self._unseen:
            return
        self._unseen, now = unseen, self._clock.now()
        found = [_not_shown(self._name, sorted(unseen))] if unseen else []
        await self._database.write(lambda c: findings.replace(c, self._name, "sweep", found, now))

    async def _tell_trouble(self, interrupted: str = "") -> None:
        """What could not be compared, until it could."""
        now, troubled = self._clock.now(), self._repositories.troubled
        self._interrupted = self._interrupted if interrupted else 0
        found = []
        if interrupted:
            found = [_incomplete(self._name, f"does not end: {interrupted}")]
        elif troubled:
            name, why = next(iter(sorted(troubled.items())))
            more = f" and {len(troubled) - 1} more" if len(troubled) > 1 else ""
            found = [_incomplete(self._name, f"could not compare {name}{more}: {why}")]
        await self._database.write(
            lambda c: findings.replace(c, self._name, "sweep repositories", found, now)
        )


def _says_what_changed(version: str) -> bool:
    """Whether a repository's update_time follows pushes, tags and deletions (touchRepo)."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    return found is not None and tuple(map(int, found.groups())) >= (2, 15, 2)


def _watched_since(row: HarborRow) -> Millis:
    return row.watching_since + policies.used_skew(row.skew)


def _known_until(row: HarborRow) -> Millis:
    """Up to which moment of Harbor's clock its policies are known."""
    return (row.last_look_at or 0) + policies.used_skew(row.skew)


def _pass_is_due(row: HarborRow, now: Millis, every: Millis) -> bool:
    if row.pass_began_at is None or row.pass_ended_at is None:
        return True
    took = row.pass_ended_at - row.pass_began_at
    return now >= row.pass_ended_at + ALONE * took or every >= ALONE * took


def _not_shown(harbor: str, projects: list[str]) -> Finding:
    """For a robot a project that is not there is forbidden as well (recording 20)."""
    return Finding(
        "permission_missing",
        Severity.INFO,
        f"harbor {harbor}: projects",
        f"Harbor {harbor} does not show us {', '.join(projects[:5])}, which policies name: it is "
        "not there, or what is pushed there and not announced is not found.",
        "Give the robot account read of project and list of repository and artifact there.",
    )


def _incomplete(harbor: str, why: str) -> Finding:
    return Finding(
        "sweep_incomplete",
        Severity.WARNING,
        f"harbor {harbor}: repositories",
        f"The sweep of Harbor {harbor} {why}.",
        "Ask Harbor for what it names; what is not announced there is not found until then.",
    )
