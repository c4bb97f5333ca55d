"""Pure: which projects and repositories of a Harbor its policies can reach, now or as we saw them.

Harbor itself looks a project up by name where a name filter's first component is plain, or one
list in braces, and else goes through all that it can see (reg/adapter/harbor/base).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.errors import FlatteningError, PatternError
from syncwatch.plan.matching import covers, destination_repository
from syncwatch.plan.promises import filters_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from syncwatch.model import Rules
    from syncwatch.store.policies import Revision

_META = frozenset("*?[]{}\\")


@dataclass(frozen=True, slots=True)
class Scope:
    """The revisions of each policy, by its id, the oldest first."""

    revisions: Mapping[int, Sequence[Revision]]

    def reaches(self, project: str) -> bool:
        """Whether any policy may want something of a project."""
        return any(_may_reach(one.rules, project) for one in self._pushing())

    def named(self) -> frozenset[str]:
        """Projects that some policy names outright; they may be there and not listed for us."""
        named = (named_projects(one.rules) for one in self._pushing())
        return frozenset(project for projects in named for project in projects or ())

    def of(self, repository: str) -> dict[int, list[Revision]]:
        """The revisions whose name filters let a repository pass, by policy."""
        found = {}
        for policy_id, known in self.revisions.items():
            passing = [one for one in known if one.rules.pushes and _covers(one.rules, repository)]
            if passing:
                # All of them: which one was in force is a matter of time, not of name.
                found[policy_id] = list(known)
        return found

    def places(self, repository: str) -> set[tuple[int, str]]:
        """Where a repository goes by the rules of now: (destination id, name there)."""
        found = set()
        for known in self.revisions.values():
            newest = known[-1]
            rules = newest.rules
            if not (rules.pushes and rules.enabled and newest.destination_id is not None):
                continue
            try:
                if covers(filters_of(rules), repository):
                    name = destination_repository(
                        repository, rules.namespace, rules.replace_count, rules.path_type
                    )
                    found.add((newest.destination_id, name))
            except (PatternError, FlatteningError):
                continue
        return found

    def _pushing(self) -> list[Revision]:
        return [one for known in self.revisions.values() for one in known if one.rules.pushes]


def named_projects(rules: Rules) -> frozenset[str] | None:
    """The projects that a policy names; None where it may be any."""
    for kind, value, decoration in rules.filters:
        if kind == "name" and isinstance(value, str) and value and decoration != "excludes":
            return _plain(value.partition("/")[0])
    return None


def _plain(component: str) -> frozenset[str] | None:
    listed = component[1:-1] if component[:1] == "{" and component[-1:] == "}" else component
    if _META & set(listed):
        return None
    if listed is component:
        return frozenset({component})
    return frozenset(one.strip() for one in listed.split(","))


def _may_reach(rules: Rules, project: str) -> bool:
    named = named_projects(rules)
    return named is None or project in named


def _covers(rules: Rules, repository: str) -> bool:
    try:
        return covers(filters_of(rules), repository)
    except PatternError:
        # What is malformed brings nothing now, but may be the edit of what did.
        return True
