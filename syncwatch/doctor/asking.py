"""Asks one Harbor what the doctor judges: a few questions at a time, each list bounded.

Comes in: what to look at. Goes out: values of `evidence`; what could not be asked is told as such.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from syncwatch.doctor.evidence import (
    HarborSeen,
    ProjectSeen,
    RuleSeen,
    Sized,
    Unasked,
    WebhookSeen,
    WholePolicy,
)
from syncwatch.doctor.rule_checks import reaches, telling
from syncwatch.doctor.webhook_checks import is_ours
from syncwatch.errors import OutboundError, PatternError
from syncwatch.harbor import wire
from syncwatch.harbor.client import PAGE_SIZE, repository_path
from syncwatch.harbor.listed import (
    Permission,
    Project,
    Queue,
    Repository,
    WebhookExecution,
    WebhookPolicy,
)
from syncwatch.plan.matching import covers
from syncwatch.plan.promises import filters_of
from syncwatch.plan.rules import rules_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from syncwatch.config import HarborSettings
    from syncwatch.harbor.client import HarborClient
    from syncwatch.model import Millis, Rules
    from syncwatch.runtime import Clock

T = TypeVar("T")

AT_ONCE = 3
"""How many projects are asked about at the same time."""

REPOSITORY_PAGES = 20
"""How many pages of a project's repositories are read, 100 on each."""

SAMPLED = 3
"""In how many repositories of a project the newest images are looked at, for size and tags."""


class AskingHarbor:
    """The doctor's questions to one Harbor."""

    def __init__(self, harbor: HarborSettings, client: HarborClient, clock: Clock) -> None:
        self._harbor = harbor
        self._client = client
        self._clock = clock

    async def harbor(self) -> HarborSeen:
        """Harbor as such. One that cannot be asked is told in `info`."""
        before = self._clock.now()
        info = await _or_why(self._client.system_info())
        after = self._clock.now()
        if isinstance(info, Unasked):
            return HarborSeen(self._harbor.name, info)
        queues = await _or_why(self._client.all(Queue, "/jobservice/queues"))
        tried = {
            "replication-policy:list": await self._tried("/replication/policies", page_size="1"),
            "registry:list": await self._tried("/registries", page_size="1"),
            "replication:list": await self._tried("/replication/executions", page_size="1"),
            "replication:read": await self._read_execution(),
            "jobservice-monitor:list": queues if isinstance(queues, Unasked) else None,
        }
        return HarborSeen(
            self._harbor.name,
            info,
            skew=_skew(info, before, after),
            is_user=await self._is_user(),
            tried=tried,
            granted=await self._granted("/system"),
            queues=queues if isinstance(queues, Unasked) else tuple(queues),
        )

    async def _tried(self, path: str, **query: str) -> Unasked | None:
        found = await _or_why(self._client.one(list[Any] | None, path, **query))  # type: ignore[arg-type]
        return found if isinstance(found, Unasked) else None

    async def _read_execution(self) -> Unasked | None:
        listed = await _or_why(self._client.executions(1))
        if isinstance(listed, Unasked):
            return listed
        # Without one, an id that is not there: 404 for who may read, 403 for who may not.
        some = listed[0].id if listed else 1
        found = await _or_why(self._client.execution(some))
        return found if isinstance(found, Unasked) else None

    async def _is_user(self) -> bool | None:
        """/users/current answers users; a robot is told that it is none (412)."""
        found = await _or_why(self._client.one(dict[str, Any], "/users/current"))
        if not isinstance(found, Unasked):
            return True
        return False if found.kind in ("policy_blocked", "not_found") else None

    async def _granted(self, scope: str) -> tuple[str, ...] | Unasked:
        """What Harbor lists for a scope; what it does not list may be granted all the same."""
        found = await _or_why(
            self._client.one(list[Permission] | None, "/users/current/permissions", scope=scope)  # type: ignore[arg-type]
        )
        if isinstance(found, Unasked):
            return found
        return tuple(sorted({_permission(one) for one in found or ()}))

    async def granted_in(self, project: Project) -> tuple[str, ...] | Unasked:
        """What Harbor lists for a project."""
        return await self._granted(f"/project/{project.project_id}")

    async def projects(self) -> list[Project] | Unasked:
        """All projects that we may see, proxy caches left out."""
        found = await _or_why(self._client.all(Project, "/projects", sort="name"))
        if isinstance(found, Unasked):
            return found
        return [one for one in found if not one.is_proxy_cache]

    async def policies(self) -> list[WholePolicy] | Unasked:
        """All replication policies."""
        return await _or_why(
            self._client.all(WholePolicy, "/replication/policies", sort="id"),
        )

    async def registries(self) -> list[wire.RegistryEndpoint] | Unasked:
        """All registry endpoints."""
        return await _or_why(self._client.registries())

    async def project(self, project: Project, rules: Sequence[Rules]) -> ProjectSeen:
        """One project: its webhooks, its repositories, images of a few that rules reach."""
        name, retained = project.name, bool((project.metadata or {}).get("retention_id"))
        webhooks = await self._webhooks(name)
        listed = await self._repositories(name)
        if isinstance(listed, Unasked):
            return ProjectSeen(name, webhooks, listed, retained=retained)
        names, whole = listed
        samples: dict[str, tuple[Sized, ...] | Unasked] = {}
        cut = set()
        for one in _chosen(names, rules):
            found = await self._newest(one)
            samples[one] = telling(found) if isinstance(found, tuple) else found
            if isinstance(found, tuple) and len(found) != len(telling(found)):
                cut.add(one)
        return ProjectSeen(name, webhooks, names, whole, retained, samples, frozenset(cut))

    async def _webhooks(self, project: str) -> tuple[WebhookSeen, ...] | Unasked:
        path = f"/projects/{quote(project, safe='')}/webhook/policies"
        listed = await _or_why(self._client.all(WebhookPolicy, path, sort="id"))
        if isinstance(listed, Unasked):
            return listed
        found: list[WebhookSeen] = []
        for policy in listed:
            found += await self._targets(policy, f"{path}/{policy.id}/executions")
        return tuple(found)

    async def _targets(self, policy: WebhookPolicy, history: str) -> list[WebhookSeen]:
        settings = self._harbor.webhook
        secret = settings.secret if settings else None
        address = self._harbor.webhook_address or ""
        found = []
        for target in policy.targets or ():
            deliveries: tuple[WebhookExecution, ...] | Unasked = ()
            if policy.enabled and is_ours(target.address, self._harbor.name, address):
                told = await _or_why(self._client.page(WebhookExecution, history, 1, sort="-id"))
                deliveries = told if isinstance(told, Unasked) else tuple(told)
            found.append(
                WebhookSeen(
                    name=policy.name,
                    enabled=policy.enabled,
                    events=frozenset(policy.event_types or ()),
                    address=target.address,
                    is_http=target.type == "http",
                    authorized=secret.matches(target.auth_header) if secret else None,
                    deliveries=deliveries,
                )
            )
        return found

    async def _repositories(self, project: str) -> tuple[tuple[str, ...], bool] | Unasked:
        path = f"/projects/{quote(project, safe='')}/repositories"
        names: list[str] = []
        for page in range(1, REPOSITORY_PAGES + 1):
            rows = await _or_why(self._client.page(Repository, path, page, sort="repository_id"))
            if isinstance(rows, Unasked):
                return rows
            names += [row.name for row in rows]
            if len(rows) < PAGE_SIZE:
                return tuple(sorted(names)), True
        return tuple(sorted(names)), False

    async def _newest(self, repository: str) -> tuple[Sized, ...] | Unasked:
        """The newest images of a repository, a hundred at most."""
        path = f"{repository_path(repository)}/artifacts"
        query = {"with_tag": "true", "with_label": "true", "with_accessory": "true"}
        found = await _or_why(self._client.page(Sized, path, 1, **query, sort="-push_time"))
        return found if isinstance(found, Unasked) else tuple(found)


def in_scope(projects: Sequence[Project], rules: Sequence[Rules]) -> list[Project]:
    """Projects that an enabled rule's name filters can reach."""
    filters = [filters_of(one) for one in rules]
    return [one for one in projects if any(reaches(some, one.name) for some in filters)]


def rule_seen(
    policy: WholePolicy, endpoint: wire.RegistryEndpoint | None, deadline: Millis
) -> RuleSeen:
    """A policy with its endpoint, as the checks take it."""
    there = endpoint or policy.dest_registry or wire.RegistryEndpoint()
    return RuleSeen(
        policy.id,
        policy.name,
        rules_of(policy),
        policy.speed,
        there.name,
        there.type,
        there.status,
        deadline,
    )


async def at_once(
    work: Callable[[Project], Awaitable[T]],
    projects: Sequence[Project],
    done: Callable[[], None],
    within: float,
) -> list[T]:
    """`work` for each project, a few at a time, in their order; `done` is told of each.

    After `within` seconds no more are begun: what is returned may be fewer.
    """
    turns = asyncio.Semaphore(AT_ONCE)
    clock = asyncio.get_running_loop().time
    last_start = clock() + within
    found: dict[int, T] = {}

    async def one(number: int, project: Project) -> None:
        async with turns:
            if clock() <= last_start:
                found[number] = await work(project)
                done()

    async with asyncio.TaskGroup() as group:
        for number, project in enumerate(projects):
            group.create_task(one(number, project))
    return [found[number] for number in sorted(found)]


async def _or_why(asked: Awaitable[T]) -> T | Unasked:
    try:
        return await asked
    except OutboundError as error:
        return Unasked(error.kind, error.message)


def _permission(one: Permission) -> str:
    """`/project/3/repository`, push → `repository:push`; `/project/3` is the project itself."""
    parts = one.resource.strip("/").split("/")
    bare = len(parts) == 2 and parts[0] == "project"
    return f"{'project' if bare else parts[-1]}:{one.action}"


def _chosen(names: Sequence[str], rules: Sequence[Rules]) -> list[str]:
    """The first few repositories that a rule reaches: always the same ones."""
    found: list[str] = []
    filters = [filters_of(one) for one in rules]
    for name in names:
        if any(_covers(some, name) for some in filters):
            found.append(name)
        if len(found) == SAMPLED:
            break
    return found


def _covers(filters: Any, name: str) -> bool:
    try:
        return covers(filters, name)
    except PatternError:
        return False


def _skew(info: wire.SystemInfo, before: Millis, after: Millis) -> Millis:
    """Harbor's clock minus ours, halfway through the question."""
    theirs = wire.millis_or_none(info.current_time)
    return theirs - (before + after) // 2 if theirs is not None else 0
