"""Which policies an event or a run starts, and what tasks they make: Harbor's rules, its traps too.

- Event-based policies are asked newest first (the default order of the list); a malformed pattern
  in any of them stops them all for that event, without a trace (recording 18).
- Filters only select; an event's execution runs on the whole event (api.md §6).
- Flattening too deep fails the whole execution, in `status_text` only (recordings 07 and 18).
- Policies with a remote source are kept and shown; the lab copies nothing for them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cronsim import CronSim

from syncwatch.errors import FlatteningError, OutboundError, PatternError
from syncwatch.lab.destination import reach
from syncwatch.lab.records import ERROR, REPLICATION, RUNNING, SUCCESS
from syncwatch.lab.transfer import Transfer, Work
from syncwatch.plan.matching import Artifact, destination_repository, matches, select

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from syncwatch.lab.artifacts import Artifacts
    from syncwatch.lab.jobs import Jobs
    from syncwatch.lab.records import Artifact as Row
    from syncwatch.lab.records import Event, Execution, Policy, Repository, Task
    from syncwatch.lab.world import World

NOTHING = "no resources need to be replicated"
STILL_ACTIVE = "Execution skipped: active replication still in progress."
_EVENTS = frozenset({"PUSH_ARTIFACT", "CREATE_TAG", "DELETE_TAG", "DELETE_ARTIFACT"})
_OPERATIONS = {"DELETE_TAG": "tag deletion", "DELETE_ARTIFACT": "deletion"}


@dataclass(frozen=True, slots=True)
class Resource:
    """One repository's share of an execution: what to copy or to delete there."""

    repository: str
    artifacts: tuple[Artifact, ...]
    operation: str = "copy"

    @property
    def references(self) -> tuple[str, ...]:
        """Tags, or the digest of an artifact without any."""
        listed: list[str] = []
        for artifact in self.artifacts:
            listed += artifact.tags or [artifact.digest]
        return tuple(listed)


def resource_name(repository: str, count: int) -> str:
    """How API and webhooks show a task's resource (flow/stage.go getResourceName)."""
    return f"{repository} [{count} item(s) in total]"


class Replication:
    """Starts executions: for events, for runs by hand and by schedule."""

    def __init__(self, world: World, artifacts: Artifacts, jobs: Jobs) -> None:
        self._world = world
        self._artifacts = artifacts
        self._jobs = jobs
        self._flows = asyncio.Semaphore(10)
        self._let_go = asyncio.Event()
        self._let_go.set()

    def hold_flows(self, *, held: bool) -> None:
        """Keep executions at total 0, before they have tasks."""
        self._world.switches.hold_flows = held
        if held:
            self._let_go.clear()
        else:
            self._let_go.set()

    def on_event(self, event: Event) -> None:
        """Start every event-based policy that the event concerns."""
        if event.type not in _EVENTS:
            return
        artifact = Artifact(event.digest, event.tags, event.labels)
        operation = _OPERATIONS.get(event.type, "copy")
        resource = Resource(event.repository, (artifact,), operation)
        try:
            related = self._related(resource)
        except PatternError:
            # Harbor's handler returns the error, which is logged in core and nowhere else.
            return
        for policy in related:
            self.start(policy, "event_based", [resource])

    def _related(self, resource: Resource) -> list[Policy]:
        """src/controller/event/handler/replication/event/handler.go getRelatedPolicies."""
        found = []
        for policy in sorted(self._world.policies.values(), key=lambda row: -row.id):
            if not policy.enabled or policy.trigger != "event_based" or policy.pull:
                continue
            if resource.operation != "copy" and not policy.deletion:
                continue
            if select(policy.filters, resource.repository, resource.artifacts):
                found.append(policy)
        return found

    def start(
        self, policy: Policy, trigger: str, resources: list[Resource] | None = None
    ) -> Execution:
        """Make an execution; what it copies is listed in the background unless given."""
        busy = policy.single_active and self.is_running(policy)
        execution = self._jobs.new_execution(REPLICATION, policy.id, trigger)
        if busy:
            self._jobs.finish(execution, ERROR, STILL_ACTIVE)
        else:
            self._world.spawn(self._flow(execution, replace(policy), resources))
        return execution

    def is_running(self, policy: Policy) -> bool:
        """Whether an execution of the policy is not final."""
        return any(
            row.status == RUNNING
            for row in self._world.executions.values()
            if (row.vendor, row.vendor_id) == (REPLICATION, policy.id)
        )

    async def schedule_for_ever(self) -> None:
        """Start scheduled policies when their cron fires, in UTC by Harbor's clock."""
        last = self._world.now()
        while True:
            await asyncio.sleep(0.1)
            now = self._world.now()
            for policy in list(self._world.policies.values()):
                if policy.enabled and policy.trigger == "scheduled":
                    since = max(last, policy.updated)
                    if next(CronSim(policy.cron, _moment(since))) <= _moment(now):
                        self.start(policy, "scheduled")
            last = now

    async def _flow(
        self, execution: Execution, policy: Policy, resources: list[Resource] | None
    ) -> None:
        """src/controller/replication/flow: list, name, prepare, make tasks; or fail as a whole."""
        async with self._flows:
            await self._let_go.wait()
            try:
                listed = self._list(policy) if resources is None else resources
                named = self._named(policy, listed)
                if named and named[0][0].operation == "copy":
                    await self._prepare(policy, named)
            except PatternError as error:
                text = f"failed to fetch artifacts: {error.message}"
                self._jobs.finish(execution, ERROR, text)
            except (FlatteningError, OutboundError) as error:
                self._jobs.finish(execution, ERROR, error.message)
            else:
                self._make_tasks(execution, policy, named)

    def _named(self, policy: Policy, resources: list[Resource]) -> list[tuple[Resource, str]]:
        there = self._world.registries[policy.registry_id]
        path_type = "AT_LEAST_TWO" if there.type == "harbor" else ""
        return [
            (
                resource,
                destination_repository(
                    resource.repository, policy.namespace, policy.replace_count, path_type
                ),
            )
            for resource in resources
        ]

    async def _prepare(self, policy: Policy, named: list[tuple[Resource, str]]) -> None:
        """Projects of another Harbor are made before anything is copied."""
        there = self._world.registries[policy.registry_id]
        if there.type != "harbor":
            return
        async with reach(there, self._world.times.request_timeout) as destination:
            for project in dict.fromkeys(name.partition("/")[0] for _, name in named):
                await destination.ensure_project(project)

    def _make_tasks(
        self, execution: Execution, policy: Policy, named: list[tuple[Resource, str]]
    ) -> None:
        if not named:
            self._jobs.finish(execution, SUCCESS, NOTHING)
            return
        endpoint = replace(self._world.registries[policy.registry_id])
        for resource, destination in named:
            task = self._jobs.new_task(execution)
            task.operation = resource.operation
            task.references = list(resource.references)
            task.source = resource_name(resource.repository, len(task.references))
            task.destination = resource_name(destination, len(task.references))
            work = Work(
                resource.operation,
                resource.repository,
                destination,
                resource.references,
                policy.override,
                endpoint,
            )
            self._jobs.submit(task, self._attempt(work))

    def _attempt(self, work: Work) -> Callable[[Task], Awaitable[bool]]:
        async def attempt(task: Task) -> bool:
            return await Transfer(self._world, task, work).run()

        return attempt

    def _list(self, policy: Policy) -> list[Resource]:
        """What a run by hand or schedule copies: all that the filters let through, now."""
        if policy.pull:
            return []
        found = []
        for row in self._repositories(policy):
            artifacts: list[Artifact] = []
            for listed in self._with_accessories(row):
                artifacts += select(policy.filters, row.name, (listed,))
            if artifacts:
                found.append(Resource(row.name, tuple(artifacts)))
        return found

    def _repositories(self, policy: Policy) -> list[Repository]:
        """By project name, each project's newest first (src/pkg/reg/adapter/harbor/base)."""
        projects = {row.id: row.name for row in self._world.projects.values()}
        names = [str(rule.value) for rule in policy.filters if rule.type == "name"]
        rows = [
            row
            for row in self._world.repositories.values()
            if all(not name or matches(name, row.name) for name in names)
        ]
        return sorted(rows, key=lambda row: (projects[row.project_id], -row.created, -row.id))

    def _with_accessories(self, row: Repository) -> list[Artifact]:
        """Listed artifacts newest first, each followed by what is attached to it or a child."""
        rows = [one for one in self._artifacts.in_repository(row) if self._artifacts.is_listed(one)]
        listed: list[Artifact] = []
        for artifact in sorted(rows, key=lambda one: (-one.push_time, -one.id)):
            tags = self._tags(artifact)
            listed.append(Artifact(artifact.digest, tags, self._labels(artifact)))
            listed += self._attached(artifact, tags, self._labels(artifact))
        return listed

    def _attached(
        self, subject: Row, parent_tags: tuple[str, ...], labels: tuple[str, ...]
    ) -> list[Artifact]:
        """Accessories, theirs, and those of children; filtered by the parent's tags and labels."""
        found: list[Artifact] = []
        for link in self._artifacts.accessories_of(subject):
            accessory = self._world.artifacts[link.artifact_id]
            tags = self._tags(accessory)
            found.append(Artifact(accessory.digest, tags, labels, parent_tags=parent_tags))
            found += self._attached(accessory, parent_tags, labels)
        for entry in subject.children:
            child = self._artifacts.find(subject.repository, entry["child_digest"])
            found += self._attached(child, parent_tags, labels) if child else []
        return found

    def _tags(self, artifact: Row) -> tuple[str, ...]:
        return tuple(tag.name for tag in self._artifacts.tags_of(artifact))

    def _labels(self, artifact: Row) -> tuple[str, ...]:
        return tuple(self._world.labels[identifier].name for identifier in artifact.labels)


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
