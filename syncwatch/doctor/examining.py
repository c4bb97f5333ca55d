"""Examines one Harbor piece by piece: itself, some projects a turn, and its rules over all of them.

Comes in: a client. Goes out: `Checked`s. What was seen of a project is remembered for the rules,
which are held against everything in their scope.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from syncwatch.doctor.asking import AskingHarbor, at_once, in_scope, rule_seen
from syncwatch.doctor.checks import untold
from syncwatch.doctor.evidence import HarborSeen, ProjectSeen, ScopeSeen, Unasked
from syncwatch.doctor.harbor_checks import of_harbor
from syncwatch.doctor.rule_checks import of_rules
from syncwatch.doctor.webhook_checks import of_project

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from syncwatch.config import HarborSettings, Settings
    from syncwatch.doctor.checks import Checked
    from syncwatch.doctor.evidence import RuleSeen, WholePolicy
    from syncwatch.harbor.client import HarborClient
    from syncwatch.harbor.listed import Project
    from syncwatch.harbor.wire import RegistryEndpoint
    from syncwatch.model import Millis
    from syncwatch.runtime import Clock


@dataclass(frozen=True, slots=True)
class Examined:
    """What one turn found. `scope` is None where Harbor could not be asked for what is in it;
    `policies` and `registries` are all that it has then."""

    checks: tuple[Checked, ...]
    scope: frozenset[str] | None = None
    complete: bool = False
    policies: tuple[WholePolicy, ...] = ()
    registries: tuple[RegistryEndpoint, ...] = ()
    rules: tuple[RuleSeen, ...] = ()
    projects: ScopeSeen | None = None


def quietly(_words: str) -> None:
    """Nobody wants to know how far it is."""


class Examining:
    """One Harbor; `settings` say what the destinations' deadlines are."""

    def __init__(
        self, harbor: HarborSettings, settings: Settings, client: HarborClient, clock: Clock
    ) -> None:
        self._harbor = harbor
        self._settings = settings
        self._clock = clock
        self._asking = AskingHarbor(harbor, client, clock)
        self._seen: dict[str, ProjectSeen] = {}
        self._last = ""

    async def turn(
        self, most: int, within: float = math.inf, progress: Callable[[str], None] = quietly
    ) -> Examined:
        """Examine Harbor, at most so many projects from where the last turn stopped, and rules.

        After `within` seconds no more projects are begun.
        """
        progress("harbor")
        harbor = await self._asking.harbor()
        if isinstance(harbor.info, Unasked):
            return Examined(tuple(of_harbor(harbor)))
        projects = await self._asking.projects()
        policies = await self._asking.policies()
        registries = await self._asking.registries()
        if (
            isinstance(projects, Unasked)
            or isinstance(policies, Unasked)
            or isinstance(registries, Unasked)
        ):
            refused = next(o for o in (projects, policies, registries) if isinstance(o, Unasked))
            return Examined((*of_harbor(harbor), *self._untold(refused)))
        return await self._examine(harbor, projects, policies, registries, most, within, progress)

    def _untold(self, why: Unasked) -> tuple[Checked, ...]:
        subject = f"harbor {self._harbor.name}"
        return tuple(
            untold(check, subject, f"{why.words}.") for check in ("webhook", "rule", "scope")
        )

    async def _examine(
        self,
        harbor: HarborSeen,
        projects: Sequence[Project],
        policies: Sequence[WholePolicy],
        registries: Sequence[RegistryEndpoint],
        most: int,
        within: float,
        progress: Callable[[str], None],
    ) -> Examined:
        rules = self._rules(policies, registries)
        scope = in_scope(projects, [one.rules for one in rules])
        harbor = await self._with_project_permissions(harbor, scope)
        names = sorted(one.name for one in scope)
        by_name = {one.name: one for one in scope}
        wanted = [by_name[name] for name in self._next(names, most)]
        chosen = await self._look_at(wanted, rules, within, progress)
        self._seen = {name: self._seen[name] for name in names if name in self._seen}
        known = ScopeSeen(dict(self._seen), self._is_complete(names))
        address = self._harbor.webhook_address or ""
        of_projects = [
            check
            for name in chosen
            for check in of_project(self._seen[name], self._harbor.name, address)
        ]
        # Many rules on many repositories take seconds, which nobody else should wait for.
        now = self._clock.now()
        of_the_rules = await asyncio.to_thread(lambda: [*of_rules(rules, known, now)])
        checks = (
            *of_harbor(harbor),
            *of_projects,
            *of_the_rules,
        )
        return Examined(
            checks,
            frozenset(names),
            known.complete,
            tuple(policies),
            tuple(registries),
            tuple(rules),
            known,
        )

    def _rules(
        self, policies: Sequence[WholePolicy], registries: Sequence[RegistryEndpoint]
    ) -> list[RuleSeen]:
        endpoints = {one.id: one for one in registries}
        found = []
        for policy in policies:
            if policy.enabled and policy.pushes and policy.dest_registry is not None:
                endpoint = endpoints.get(policy.dest_registry.id)
                name = endpoint.name if endpoint else policy.dest_registry.name
                deadline = self._settings.destination(self._harbor.name, name).deadline
                found.append(rule_seen(policy, endpoint, _millis(deadline.total_seconds())))
        return found

    async def _with_project_permissions(
        self, harbor: HarborSeen, scope: Sequence[Project]
    ) -> HarborSeen:
        """Harbor lists permissions by project; one in scope stands for all."""
        if not scope or isinstance(harbor.granted, Unasked):
            return harbor
        more = await self._asking.granted_in(scope[0])
        return replace(
            harbor, granted=more if isinstance(more, Unasked) else (*harbor.granted, *more)
        )

    def _next(self, names: Sequence[str], most: int) -> list[str]:
        """The names after the last one looked at, round and round."""
        after = [name for name in names if name > self._last]
        return [*after, *(name for name in names if name <= self._last)][:most]

    async def _look_at(
        self,
        wanted: Sequence[Project],
        rules: Sequence[RuleSeen],
        within: float,
        progress: Callable[[str], None],
    ) -> list[str]:
        """Remember what is seen of these projects; the names of those that there was time for."""
        all_rules = [one.rules for one in rules]
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            progress(f"projects {done}/{len(wanted)}")

        found = await at_once(
            lambda one: self._asking.project(one, all_rules), wanted, count, within
        )
        self._seen |= {one.name: one for one in found}
        if found:
            self._last = found[-1].name
        return [one.name for one in found]

    def _is_complete(self, names: Sequence[str]) -> bool:
        """Whether the repositories of all projects in scope are known."""
        seen = [self._seen.get(name) for name in names]
        return all(
            one is not None and one.whole and not isinstance(one.repositories, Unasked)
            for one in seen
        )


def _millis(seconds: float) -> Millis:
    return round(seconds * 1000)
