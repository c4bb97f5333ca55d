"""One Harbor's side: its rules, the repositories they select, and the images to be looked for.

Repositories are listed first, which is cheap and tells which sources share a name somewhere; their
artifacts come page by page, so that no more is held than what is being looked at.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from syncwatch.check.judging import Outcome, Source
from syncwatch.check.scope import (
    Rule,
    Wish,
    demand_known,
    meant_by,
    projects_named,
    reaches,
    rules_in,
    strangers,
    understood,
)
from syncwatch.errors import FlatteningError, OutboundError
from syncwatch.harbor.client import PAGE_SIZE, repository_path
from syncwatch.harbor.listed import Project, Repository
from syncwatch.harbor.wire import SourceArtifact, millis_or_none
from syncwatch.model import Origin, Reason, State
from syncwatch.plan.matching import Artifact, covers, destination_repository, select
from syncwatch.plan.promises import Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence

    from syncwatch.check.scope import Destination, Named, Scope
    from syncwatch.config import Settings
    from syncwatch.harbor import wire
    from syncwatch.harbor.client import HarborClient
    from syncwatch.model import Millis
    from syncwatch.reference import Reference

T = TypeVar("T")

AT_ONCE = 4
"""Lists of one Harbor asked for at the same time."""

GIVEN_UP_AFTER = 3
"""So many lists in a row that Harbor did not answer, and the rest is not asked for."""

PAGES = 10_000
"""The most pages read of one repository, so that a list which never ends cannot hold us."""

_AWAY = frozenset({"unreachable", "tls_error", "rate_limited", "server_error"})


@dataclass(frozen=True, slots=True)
class Aim:
    """Where one rule brings a repository."""

    rule: Rule
    there: str


@dataclass(frozen=True, slots=True)
class Selected:
    """A repository of the source with something to look for; `count` of artifacts as listed."""

    name: str
    count: int
    aims: tuple[Aim, ...]

    @property
    def places(self) -> int:
        """At how many places its images have to be."""
        return len({(one.rule.destination, one.there) for one in self.aims})


@dataclass
class Harbor:
    """What one Harbor is asked; `refuse` is told rows for what it does not let us see.

    `notes` are sentences for the summary, `problems` those that keep it from being whole. Of the
    REFs, `strangers` have a host that is nobody's here, `present` are at the source, `absent`
    are not; one that could not be asked for is taken for present.
    """

    name: str
    client: HarborClient
    settings: Settings
    scope: Scope
    clock: Callable[[], Millis]
    refuse: Callable[[Outcome], None]
    rules: list[Rule] = field(default_factory=list)
    named: list[Named] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    strangers: set[Reference] = field(default_factory=set)
    present: set[Reference] = field(default_factory=set)
    absent: set[Reference] = field(default_factory=set)
    _sources: dict[tuple[Destination, str], set[str]] = field(
        default_factory=lambda: defaultdict(set)
    )
    _silent: int = 0

    async def read_rules(self) -> tuple[list[wire.Policy], list[wire.RegistryEndpoint]]:
        """Learn what it copies where; all that it has is returned. Raises OutboundError."""
        await self.client.system_info()
        policies, endpoints = await asyncio.gather(self.client.policies(), self.client.registries())
        for rule in rules_in(self.name, policies, endpoints, self.scope):
            if rule.malformed:
                words = f"Rule {rule.name} of Harbor {self.name} copies nothing: {rule.malformed}"
                self.problems.append(f"{words}. What it should copy was not compared.")
            else:
                self.rules.append(rule)
        asked = self.scope.references
        self.named = understood(asked, self.settings, self.name, self.rules)
        self.strangers = strangers(asked, self.settings, self.name, endpoints)
        if asked:
            self.rules = meant_by(self.rules, self.named)
        return policies, endpoints

    def rivals_of(self, wish: Wish) -> list[str]:
        """Other repositories of the source that are brought to the same name there."""
        return sorted(self._sources[wish.destination, wish.there] - {wish.repository})

    async def repositories(self) -> list[Selected]:
        """Every repository that a rule selects, and that is asked for."""
        if not self.rules:
            return []
        projects = projects_named(self.rules, self.scope, self.named)
        if projects is None:
            projects = await self._listed_projects()
        wanted = [one for one in sorted(projects) if self._reaching(one)]
        found: list[Selected] = []

        async def of_project(project: str) -> None:
            for row in await self._in_project(project):
                found.extend(self._selected(row))

        await each(wanted, of_project)
        return sorted(found, key=lambda one: one.name)

    def _reaching(self, project: str) -> list[Rule]:
        return [one for one in self.rules if reaches(one, self.scope, self.named, project)]

    async def _listed_projects(self) -> set[str]:
        rows = await self.client.all(Project, "/projects", sort="project_id")
        return {row.name for row in rows}

    async def _in_project(self, project: str) -> list[Repository]:
        only = {one.repository for one in self.named}
        if self.scope.references and all(one.here and not one.places for one in self.named):
            names = [one for one in sorted(only) if one.partition("/")[0] == project]
            return [Repository(0, name, artifact_count=1) for name in names]
        try:
            path = f"/projects/{quote(project, safe='')}/repositories"
            return await self._answered(lambda: self.client.all(Repository, path, sort="id"))
        except OutboundError as error:
            strange = {one for one in self.strangers if one.host == project}
            if error.kind == "not_found":
                self.notes.append(f"Harbor {self.name} has no project {project}.")
            elif not strange or error.kind != "forbidden":
                self.present |= strange
                self._refused(project, None, self._reaching(project), error)
            return []

    async def _answered(self, ask: Callable[[], Awaitable[list[T]]]) -> list[T]:
        """The answer, asked for twice; no more is asked of a Harbor that is silent."""
        for last in (False, True):
            if self._silent >= GIVEN_UP_AFTER:
                raise OutboundError("unreachable", f"Harbor {self.name} does not answer any more")
            try:
                found = await ask()
            except OutboundError as error:
                self._silent += error.kind in _AWAY
                if last or error.kind not in _AWAY:
                    raise
            else:
                self._silent = 0
                return found
        return []

    def _selected(self, row: Repository) -> Iterable[Selected]:
        """The repository with where it goes, unless nothing of it goes anywhere."""
        aims = []
        for rule in self.rules:
            asked = self.scope.takes_repository(row.name) and row.artifact_count
            if not asked or not covers(rule.filters, row.name):
                continue
            try:
                there = destination_repository(
                    row.name, rule.rules.namespace, rule.rules.replace_count, rule.rules.path_type
                )
            except FlatteningError as error:
                self._cannot_go(row.name, rule, error)
                continue
            self._sources[rule.destination, there].add(row.name)
            if not self.named or any(
                one.may_take(row.name, rule.destination, there) for one in self.named
            ):
                aims.append(Aim(rule, there))
        if aims:
            yield Selected(row.name, row.artifact_count, tuple(aims))

    def _cannot_go(self, repository: str, rule: Rule, error: FlatteningError) -> None:
        words = f"Rule {rule.name} cannot copy {repository}, nor what runs with it: {error.message}"
        told = (State.FAILED, Reason.NOT_STARTED, f"{words}.")
        place = (None, self.name, rule.name, rule.destination.name)
        self.refuse(Outcome(repository, *place, None, None, *told))

    async def wishes(self, one: Selected) -> AsyncIterator[list[Wish]]:
        """What has to be where, of one repository, a page of artifacts at a time."""
        try:
            if self.named and all(name.here and not name.places for name in self.named):
                yield self._wished(one, await self._by_name(one.name), self.clock())
                return
            async for page in self._pages(one.name):
                yield self._wished(one, page, self.clock())
        except OutboundError as error:
            if error.kind != "not_found":
                rules = [aim.rule for aim in one.aims]
                self._refused(one.name.partition("/")[0], one.name, rules, error)

    async def _pages(self, repository: str) -> AsyncIterator[list[SourceArtifact]]:
        path = f"{repository_path(repository)}/artifacts"
        query = {"sort": "id", "with_tag": "true", "with_label": "true"}
        for number in range(1, PAGES + 1):
            ask = partial(self.client.page, SourceArtifact, path, number, **query)
            page = await self._answered(ask)
            yield page
            if len(page) < PAGE_SIZE:
                return
        words = f"Harbor {self.name} does not end its list of {repository}"
        raise OutboundError("unreadable_answer", words)

    async def _by_name(self, repository: str) -> list[SourceArtifact]:
        found = {}
        for one in self.named:
            if one.repository == repository:
                artifact = await self._named_there(one)
                if artifact is not None:
                    found[artifact.digest] = artifact
        return list(found.values())

    async def _named_there(self, one: Named) -> SourceArtifact | None:
        try:
            artifact = await self.client.artifact(one.repository, one.tag or one.digest)
        except OutboundError as error:
            # No such project, or none for us: of a host that is nobody's it is the former.
            if error.kind == "forbidden" and one.asked in self.strangers:
                return None
            self.present.add(one.asked)
            raise
        (self.absent if artifact is None else self.present).add(one.asked)
        return artifact

    def _wished(
        self, one: Selected, page: Sequence[SourceArtifact], listed_at: Millis
    ) -> list[Wish]:
        """The same image at the same place by several rules is one wish."""
        artifacts = [_artifact(row) for row in page]
        times = {row.digest: _times(row) for row in page}
        found: dict[tuple[Destination, str, str], tuple[str, tuple[Rule, ...]]] = {}
        for aim in one.aims:
            for kept in select(aim.rule.filters, one.name, artifacts):
                alone = (kept.digest,) if aim.rule.runs or self.named else ()
                for reference in kept.tags or alone:
                    key = (aim.rule.destination, aim.there, reference)
                    rules = found.get(key, ("", ()))[1]
                    found[key] = (kept.digest, (*rules, aim.rule))
        wishes = (
            Wish(one.name, reference, digest, times[digest].get(reference), listed_at, there, rules)
            for (_, there, reference), (digest, rules) in found.items()
        )
        return [wish for wish in wishes if self._asked_for(wish)]

    def _asked_for(self, wish: Wish) -> bool:
        tag = "" if wish.reference == wish.digest else wish.reference
        if not self.scope.takes_tag(tag):
            return False
        taken = {one.asked for one in self.named if one.takes(wish)}
        if self.named and not taken:
            return False
        self.present |= taken
        return not (self.settings.ignore and _is_ignored(self.settings, wish))

    async def read_again(self, wish: Wish) -> tuple[Source, Millis | None]:
        """What the source's name is now, and since when. Raises OutboundError."""
        read_at = self.clock()
        row = await self.client.artifact(wish.repository, wish.reference)
        if row is None:
            return Source(None, read_at), None
        return Source(row.digest, read_at), _times(row).get(wish.reference)

    def _refused(
        self,
        project: str,
        repository: str | None,
        rules: Sequence[Rule],
        error: OutboundError,
    ) -> None:
        """A row for each destination: what there is could not be found out."""
        what = f"repository {repository}" if repository else f"project {project}"
        refused = error.kind in ("forbidden", "unauthorized")
        cure = "; give the robot list of repository and artifact there" if refused else ""
        words = f"What there is in {what} cannot be told: {error}{cure}."
        reason = Reason(error.kind) if refused else Reason.HARBOR_UNREACHABLE
        for place in dict.fromkeys(one.destination for one in rules):
            names = ", ".join(one.name for one in rules if one.destination == place)
            told = (State.UNKNOWN, reason, words)
            image = repository or f"{project}/**"
            self.refuse(Outcome(image, None, self.name, names, place.name, None, None, *told))


def _is_ignored(settings: Settings, wish: Wish) -> bool:
    # Imported where it is needed: the store behind it takes a third of a second to import.
    from syncwatch.plan.opening import is_ignored  # noqa: PLC0415
    from syncwatch.store.policies import Destination as Stored  # noqa: PLC0415

    one = wish.destination
    event = Event(wish.repository, wish.reference, wish.digest, 0, Origin.BASELINE)
    there = Stored(0, one.harbor, one.registry_id, one.url, one.name, one.type, one.name, None)
    return is_ignored(settings, event, there)


def _artifact(row: SourceArtifact) -> Artifact:
    return Artifact(
        row.digest, [tag.name for tag in row.tags or ()], [one.name for one in row.labels or ()]
    )


def _times(row: SourceArtifact) -> dict[str, Millis | None]:
    """Since when each name of an artifact means it, in Harbor's clock."""
    found = {tag.name: millis_or_none(tag.push_time) for tag in row.tags or ()}
    return {**found, row.digest: millis_or_none(row.push_time)}


async def each(things: Collection[str], work: Callable[[str], Awaitable[None]]) -> None:
    """Do `work` for every thing, some at once."""
    waiting = iter(things)

    async def take() -> None:
        for thing in waiting:
            await work(thing)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, len(things))):
            group.create_task(take())


def read_all(
    scope: Scope, read: Sequence[tuple[list[wire.Policy], list[wire.RegistryEndpoint]]]
) -> None:
    """Raises ConfigError where the scope names what no Harbor that answered has."""
    policies = [one for some, _ in read for one in some]
    endpoints = [one for _, some in read for one in some]
    demand_known(scope, policies, endpoints)
