"""Pure: which rules, projects, repositories and images one comparison is about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from syncwatch.errors import ConfigError, PatternError
from syncwatch.harbor.wire import RegistryEndpoint, millis_or_none
from syncwatch.model import Trigger
from syncwatch.plan.matching import check_pattern, matches
from syncwatch.plan.promises import filters_of
from syncwatch.plan.rules import rules_of
from syncwatch.reference import Hosts, meant

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from syncwatch.config import Settings
    from syncwatch.harbor import wire
    from syncwatch.model import Millis, Rules
    from syncwatch.plan.matching import Filter
    from syncwatch.reference import Reference

_SPECIAL = frozenset("*?[]{}\\^")


@dataclass(frozen=True, slots=True)
class Scope:
    """What was asked for; what is empty leaves nothing out.

    `repositories` and `tags` are patterns as in Harbor's filters, any of which may match.
    """

    harbors: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()

    def check(self, settings: Settings) -> None:
        """Raises ConfigError for a Harbor that is not configured, and for a malformed pattern."""
        _known("--harbor", self.harbors, [one.name for one in settings.harbors], "configured")
        problems = []
        for option, patterns in (("--repository", self.repositories), ("--tag", self.tags)):
            for pattern in patterns:
                try:
                    check_pattern(pattern)
                except PatternError as error:
                    problems.append(f"{option} {pattern!r} is malformed: {error.message}")
        if problems:
            raise ConfigError(problems)

    def takes_repository(self, name: str) -> bool:
        """Whether a repository of the source is asked for."""
        return _any(self.repositories, name)

    def takes_tag(self, tag: str) -> bool:
        """Whether a tag is asked for; "" is an image without one."""
        return _any(self.tags, tag)


@dataclass(frozen=True, slots=True)
class Destination:
    """A registry endpoint of a Harbor, as it lists it now."""

    harbor: str
    registry_id: int
    name: str
    url: str
    type: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A replication rule of one Harbor, and where it copies to.

    `updated_at` (Harbor's clock) is when it was last edited: an event-based rule was never told of
    what is older.
    """

    harbor: str
    policy_id: int
    name: str
    destination: Destination
    rules: Rules
    filters: tuple[Filter, ...]
    updated_at: Millis | None

    @property
    def runs(self) -> bool:
        """Whether it copies by listing all that is there, and so what has no tag as well."""
        return self.rules.trigger != Trigger.EVENT_BASED

    @property
    def malformed(self) -> str:
        """The filter that Harbor cannot read, with which the rule copies nothing; "" for none."""
        for one in self.filters:
            if one.type not in ("name", "tag") or not isinstance(one.value, str):
                continue
            try:
                check_pattern(one.value, for_tags=one.type == "tag")
            except PatternError as error:
                return f"its {one.type} filter {one.value!r} is malformed: {error.message}"
        return ""


@dataclass(frozen=True, slots=True)
class Wish:
    """An image, and one place where it has to be, by all the `rules` that bring it there.

    `reference` is the tag, or the digest of what has none; `repository` the source's name, `there`
    the destination's. `pushed_at` is Harbor's clock, `listed_at` ours.
    """

    repository: str
    reference: str
    digest: str
    pushed_at: Millis | None
    listed_at: Millis
    there: str
    rules: tuple[Rule, ...]

    @property
    def destination(self) -> Destination:
        """Where it has to be."""
        return self.rules[0].destination

    @property
    def harbor(self) -> str:
        """Whose image it is."""
        return self.rules[0].harbor

    @property
    def policy(self) -> str:
        """The names of the rules."""
        return ", ".join(one.name for one in self.rules)

    @property
    def image(self) -> str:
        """`repository:tag`, or `repository@digest`."""
        return f"{self.repository}{'@' if ':' in self.reference else ':'}{self.reference}"

    @property
    def is_older(self) -> bool:
        """Whether no rule that brings it was in force when it was pushed, and none runs by itself.

        Harbor copies it only when such a rule is run by hand.
        """
        at = self.pushed_at
        return at is not None and not any(
            one.rules.trigger == Trigger.SCHEDULED or one.updated_at is None or one.updated_at <= at
            for one in self.rules
        )

    def renewed(self, digest: str, pushed_at: Millis | None, read_at: Millis) -> Wish:
        """The same name with what it was just read to name."""
        return replace(self, digest=digest, pushed_at=pushed_at, listed_at=read_at)


@dataclass(frozen=True, slots=True)
class Named:
    """One REF, understood. `repository` is the source's name, or the name at one of `places`."""

    asked: Reference
    repository: str
    tag: str
    digest: str
    here: bool
    places: frozenset[Destination]

    def takes(self, wish: Wish) -> bool:
        """Whether the REF means that image there."""
        if not self.may_take(wish.repository, wish.destination, wish.there):
            return False
        return self.tag in ("", wish.reference) and self.digest in ("", wish.digest)

    def may_take(self, source: str, destination: Destination, there: str) -> bool:
        """Whether the REF names that repository, at the source or there."""
        if destination in self.places:
            return there == self.repository
        return self.here and source == self.repository


def understood(
    references: Iterable[Reference], settings: Settings, harbor: str, rules: Sequence[Rule]
) -> list[Named]:
    """What REFs mean at one Harbor and the destinations of its rules."""
    places = list(dict.fromkeys(one.destination for one in rules))
    hosts = Hosts.of(
        {one.name: one.url for one in settings.harbors},
        {number: _hosts_of(settings, one) for number, one in enumerate(places)},
    )
    found = []
    for reference in references:
        one = meant(reference, hosts)
        here = one.harbors is None or harbor in one.harbors
        there = frozenset(places[number] for number in one.destinations)
        if here or there:
            found.append(Named(reference, one.repository, one.tag, one.digest, here, there))
    return found


def strangers(
    references: Iterable[Reference],
    settings: Settings,
    harbor: str,
    endpoints: Sequence[RegistryEndpoint],
) -> set[Reference]:
    """The REFs whose host is nobody's, as far as one Harbor and all its endpoints go."""
    there = [_destination(harbor, one) for one in endpoints]
    hosts = Hosts.of(
        {one.name: one.url for one in settings.harbors},
        {number: _hosts_of(settings, one) for number, one in enumerate(there)},
    )
    return {one for one in references if meant(one, hosts).stranger}


def meant_by(rules: Sequence[Rule], named: Sequence[Named]) -> list[Rule]:
    """The rules that may bring what REFs name."""
    return [one for one in rules if _projects_meant(one, named) != set()]


def _projects_meant(rule: Rule, named: Sequence[Named]) -> set[str] | None:
    """The projects from which a rule may bring what REFs name; None where that may be any."""
    found = set()
    for one in named:
        project = one.repository.partition("/")[0]
        if one.here:
            found.add(project)
        if rule.destination not in one.places:
            continue
        if not rule.rules.namespace:
            found.add(project)
        elif _in_namespace(rule.rules.namespace, one.repository):
            return None
    return found


def _in_namespace(namespace: str, repository: str) -> bool:
    parts = [part for part in namespace.split("/") if part]
    # Harbor resolves dots as in a path (plan.matching): such a namespace may lead anywhere.
    return not {".", ".."}.isdisjoint(parts) or repository.startswith(f"{'/'.join(parts)}/")


def _hosts_of(settings: Settings, destination: Destination) -> tuple[str, str | None]:
    entry = settings.destination(destination.harbor, destination.name)
    return entry.url or destination.url, entry.pull_host


def rules_in(
    harbor: str,
    policies: Sequence[wire.Policy],
    endpoints: Sequence[RegistryEndpoint],
    scope: Scope,
) -> list[Rule]:
    """The rules that are asked for: those named, else all that are enabled and copy by themselves.

    Names in the scope that only another Harbor has select nothing here (`demand_known`).
    """
    found = []
    by_id = {one.id: one for one in endpoints}
    for policy in policies:
        rules = rules_of(policy)
        wanted = rules.enabled and rules.trigger != Trigger.MANUAL
        if not rules.pushes or not (policy.name in scope.policies if scope.policies else wanted):
            continue
        listed = policy.dest_registry or RegistryEndpoint()
        endpoint = by_id.get(listed.id, listed)
        if scope.destinations and endpoint.name not in scope.destinations:
            continue
        found.append(
            Rule(
                harbor,
                policy.id,
                policy.name,
                _destination(harbor, endpoint),
                rules,
                tuple(filters_of(rules)),
                millis_or_none(policy.update_time) or millis_or_none(policy.creation_time),
            )
        )
    return found


def _destination(harbor: str, endpoint: RegistryEndpoint) -> Destination:
    return Destination(harbor, endpoint.id, endpoint.name, endpoint.url.rstrip("/"), endpoint.type)


def demand_known(
    scope: Scope, policies: Collection[wire.Policy], endpoints: Collection[RegistryEndpoint]
) -> None:
    """Raises ConfigError for rules and endpoints that no Harbor asked has, or that pull."""
    _known("--policy", scope.policies, [one.name for one in policies], "a rule of Harbor's")
    _known("--on", scope.destinations, [one.name for one in endpoints], "an endpoint of Harbor's")
    pulling = [one.name for one in policies if one.name in scope.policies and not one.pushes]
    if pulling:
        raise ConfigError([f"--policy {one} copies into Harbor, not out of it" for one in pulling])


def _known(option: str, given: Iterable[str], known: Collection[str], what: str) -> None:
    problems = []
    for name in given:
        if name in known:
            continue
        close = get_close_matches(name, known, n=1)
        known_words = ", ".join(sorted(set(known))[:10]) or "none"
        cure = f"did you mean {close[0]}?" if close else f"known: {known_words}"
        problems.append(f"{option} {name} is not {what}; {cure}")
    if problems:
        raise ConfigError(problems)


def _any(patterns: Sequence[str], name: str) -> bool:
    return not patterns or any(matches(one, name) for one in patterns)


def projects_named(rules: Sequence[Rule], scope: Scope, named: Sequence[Named]) -> set[str] | None:
    """The projects that can be meant, where all are written out; None where they must be listed."""
    if scope.repositories and all(map(_literal, scope.repositories)):
        return set(map(_literal, scope.repositories))
    found = set()
    for rule in rules:
        wanted = _projects_meant(rule, named) if scope.references else None
        literals = [project for one in _names(rule) if (project := _literal(one))]
        if wanted is not None:
            found |= wanted
        elif literals:
            found.add(literals[0])
        else:
            return None
    return found


def reaches(rule: Rule, scope: Scope, named: Sequence[Named], project: str) -> bool:
    """Whether anything in a project can be meant: its repositories are worth listing."""
    wanted = _projects_meant(rule, named) if scope.references else None
    if wanted is not None and project not in wanted:
        return False
    by_rule = all(could_match(one, project) for one in _names(rule))
    asked = scope.repositories
    return by_rule and (not asked or any(could_match(one, project) for one in asked))


def could_match(pattern: str, project: str) -> bool:
    """Whether a name filter may match any repository of a project."""
    first = pattern.partition("/")[0]
    try:
        return first == "**" or matches(first, project)
    except PatternError:
        # An alternative with a slash in it: {a,b/c}/**.
        return True


def _names(rule: Rule) -> list[str]:
    return [str(one.value) for one in rule.filters if one.type == "name" and one.value]


def _literal(pattern: str) -> str:
    """The project that a pattern names, "" where it may be any."""
    first = pattern.partition("/")[0]
    return "" if _SPECIAL & set(first) else first
