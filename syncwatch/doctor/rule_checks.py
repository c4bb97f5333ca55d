"""Pure: what is wrong with replication rules, held against the repositories that they reach."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from syncwatch.doctor.checks import Checked, told, untold
from syncwatch.doctor.evidence import Sized, Unasked
from syncwatch.errors import FlatteningError, PatternError
from syncwatch.harbor import wire
from syncwatch.model import MINUTE, SECOND, Finding, Severity, Trigger
from syncwatch.plan.matching import (
    Artifact,
    check_pattern,
    covers,
    destination_repository,
    matches,
    select,
)
from syncwatch.plan.promises import filters_of, next_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from syncwatch.doctor.evidence import RuleSeen, ScopeSeen
    from syncwatch.model import Millis, Rules
    from syncwatch.plan.matching import Filter

MOVING = frozenset({"latest", "main", "master", "stable", "edge", "nightly", "dev", "develop"})
"""Names of tags that are made to move."""

COSIGN = "signature.cosign"

KEPT = 20
"""How many artifacts of a repository are kept whole."""

NAMED = 3
"""So many examples a message has at most."""

BYTES_PER_KILOBIT = 128
"""Harbor's kilobit a second in bytes a second (lib/iothrottler.go, KBRATE)."""


def reaches(filters: Sequence[Filter], project: str) -> bool:
    """Whether name filters may let a repository of this project pass; True where in doubt."""
    for rule in filters:
        if rule.type != "name" or not rule.value:
            continue
        pattern = str(rule.value)
        first = pattern.partition("/")[0]
        if first == project:
            continue
        if "**" in first or first.count("{") != first.count("}"):
            continue
        try:
            if not matches(first, project):
                return False
        except PatternError:
            return False
    return True


def telling(found: Sequence[Sized]) -> tuple[Sized, ...]:
    """The artifacts of a repository that tell something; all of them where they are few.

    They are kept for as long as the project is in scope, and there may be thousands of projects.
    """
    if len(found) <= KEPT:
        return tuple(found)
    special = [one for one in found if one.accessories or MOVING.intersection(one.names)]
    chosen = [*found[: KEPT // 2], *special[: KEPT // 4], max(found, key=lambda one: one.size)]
    return tuple({one.digest: one for one in chosen}.values())


def of_rules(rules: Sequence[RuleSeen], scope: ScopeSeen, now: Millis) -> Iterator[Checked]:
    """The checks of all enabled rules that push; `now` is ours."""
    reached = {one.id: _reached(one.rules, scope) for one in rules}
    for rule in rules:
        subject = f"policy {rule.name}"
        names = reached[rule.id]
        if rule.rules.trigger == Trigger.SCHEDULED:
            yield _schedule(rule, subject, now)
        if names is None:
            # A malformed filter: the check of the rule itself says so.
            continue
        yield _endpoint(rule, subject)
        yield _scope(rule, subject, names, scope)
        yield from _images(rule, subject, names, scope)
    yield from _collisions(rules, reached, scope)


def _say(subject: str, finding: str, severity: Severity, message: str, cure: str) -> Finding:
    return Finding(finding, severity, subject, message, cure)


def _reached(rules: Rules, scope: ScopeSeen) -> list[str] | None:
    """The repositories known that the name filters reach; None where Harbor fails on them."""
    filters = filters_of(rules)
    try:
        return sorted(
            name
            for project in scope.projects.values()
            if not isinstance(project.repositories, Unasked) and reaches(filters, project.name)
            for name in project.repositories
            if covers(filters, name)
        )
    except PatternError:
        return None


def _schedule(rule: RuleSeen, subject: str, now: Millis) -> Checked:
    if next_run(rule.rules.cron, now) is not None:
        return told("schedule", subject, f"Its schedule {rule.rules.cron!r} has a next run.")
    found = _say(
        subject,
        "schedule_invalid",
        Severity.ERROR,
        f"Policy {rule.name} has the schedule {rule.rules.cron!r}, which cannot be read or never "
        "comes.",
        "Write six fields, seconds first and 0, as in 0 0 * * * *.",
    )
    return told("schedule", subject, "", [found])


def _endpoint(rule: RuleSeen, subject: str) -> Checked:
    where = f"{subject}: {rule.destination}"
    if rule.endpoint_status != "unhealthy":
        return told("endpoint", where, "Harbor has no complaint about the endpoint.")
    found = _say(
        where,
        "endpoint_unhealthy",
        Severity.ERROR,
        f"Harbor itself calls the endpoint {rule.destination} of policy {rule.name} unhealthy: it "
        "cannot reach it, or its credentials are not accepted there.",
        "Test the connection under Administration > Registries; Harbor does not say why, its core "
        "log does.",
    )
    return told("endpoint", where, "", [found])


def _scope(rule: RuleSeen, subject: str, names: Sequence[str], scope: ScopeSeen) -> Checked:
    deep = _too_deep(rule, subject, names)
    if deep:
        return told("scope", subject, "", [deep])
    if not names:
        return _nothing(rule, subject, scope, "no repository")
    if _is_malformed(rule.rules):
        # The check of the rule itself says what is wrong with it.
        return untold("scope", subject, "A malformed filter selects nothing.")
    passing = _passing(rule.rules, names, scope)
    if passing is False:
        return _nothing(rule, subject, scope, "no artifact of the repositories that they reach")
    if passing is None:
        why = "Not all artifacts were looked at, and of those that were none passes its filters."
        return untold("scope", subject, why)
    shown = f"{', '.join(names[:NAMED])}{' and more' if len(names) > NAMED else ''}"
    # Harbor does not say how many projects there are that it does not show us.
    filters = filters_of(rule.rules)
    seen = sum(reaches(filters, project) for project in scope.projects)
    where = f"{seen} project{'s' * (seen != 1)} in its scope that we may see"
    return told(
        "scope", subject, f"Its filters reach {len(names)} repositories of {where}: {shown}."
    )


def _nothing(rule: RuleSeen, subject: str, scope: ScopeSeen, what: str) -> Checked:
    if not scope.complete:
        return untold("scope", subject, "Not all projects in scope could be looked at yet.")
    values = ", ".join(f"{kind} {value!r}" for kind, value, _ in rule.rules.filters)
    found = _say(
        subject,
        "matches_nothing",
        Severity.WARNING,
        f"The filters of policy {rule.name} ({values or 'none'}) match {what} today.",
        "Correct the filters, unless what they are for is still to be pushed: ** goes through "
        "slashes only as a whole component, {a, b} takes its space literally.",
    )
    return told("scope", subject, "", [found])


def _passing(rules: Rules, names: Sequence[str], scope: ScopeSeen) -> bool | None:
    """Whether an artifact passes the other filters, None where not all are known.

    True as well where there are no such filters, or no artifacts yet.
    """
    filters = _selecting(rules)
    if not any(one.type != "name" and one.value for one in filters):
        return True
    known = _samples(scope)
    artifacts = [(name, one) for name in names for one in _sized(known.get(name))]
    if any(_passes(filters, name, one) is not None for name, one in artifacts):
        return True
    cut = {name for project in scope.projects.values() for name in project.cut}
    if any(name in cut or isinstance(known.get(name), Unasked | None) for name in names):
        return None
    return not artifacts


def _is_malformed(rules: Rules) -> bool:
    try:
        for kind, value, _ in rules.filters:
            if kind in ("name", "tag") and isinstance(value, str):
                check_pattern(value, for_tags=kind == "tag")
    except PatternError:
        return True
    return False


def _selecting(rules: Rules) -> list[Filter]:
    """The filters that artifacts can be held against: a push carries no labels."""
    runs = rules.trigger != Trigger.EVENT_BASED
    return [
        one
        for one in filters_of(rules)
        if one.type in ("name", "tag") or (one.type == "label" and runs)
    ]


def _samples(scope: ScopeSeen) -> dict[str, tuple[Sized, ...] | Unasked]:
    return {
        name: found
        for project in scope.projects.values()
        for name, found in project.samples.items()
    }


def _sized(sample: tuple[Sized, ...] | Unasked | None) -> tuple[Sized, ...]:
    return () if sample is None or isinstance(sample, Unasked) else sample


def _passes(filters: Sequence[Filter], repository: str, artifact: Sized) -> tuple[str, ...] | None:
    """The tags of an artifact that pass; None where it does not pass at all."""
    labels = [one.name for one in artifact.labels or ()]
    try:
        chosen = select(filters, repository, [Artifact(artifact.digest, artifact.names, labels)])
    except PatternError:
        return None
    return tuple(chosen[0].tags) if chosen else None


def _too_deep(rule: RuleSeen, subject: str, names: Sequence[str]) -> Finding | None:
    first, why, count = "", "", 0
    for name in names:
        try:
            _destination(rule.rules, name)
        except FlatteningError as error:
            count += 1
            if not first:
                first, why = name, error.message
    if not first:
        return None
    others = f", and {count - 1} others in its scope" if count > 1 else ""
    return _say(
        f"{subject}: {first}",
        "flattening_too_deep",
        Severity.ERROR,
        f"Policy {rule.name} cannot name {first}{others} at its destination: {why}.",
        "Lower the flattening level; while it fails for one repository, a whole run fails.",
    )


def _destination(rules: Rules, repository: str) -> str:
    return destination_repository(repository, rules.namespace, rules.replace_count, rules.path_type)


def _collisions(
    rules: Sequence[RuleSeen], reached: Mapping[int, list[str] | None], scope: ScopeSeen
) -> Iterator[Checked]:
    """Names at a destination that more than one source is copied to."""
    landing: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for rule in rules:
        for source in reached[rule.id] or ():
            try:
                there = _destination(rule.rules, source)
            except FlatteningError:
                continue
            landing[rule.destination, there].setdefault(source, rule.name)
    found: dict[str, list[Finding]] = defaultdict(list)
    for (destination, there), sources in sorted(landing.items()):
        if len(sources) > 1:
            one = _collision(destination, there, sources)
            found[sources[min(sources)]].append(one)
    for rule in rules:
        if reached[rule.id] is not None:
            yield _collided(rule, found.get(rule.name, []), scope)


def _collided(rule: RuleSeen, found: list[Finding], scope: ScopeSeen) -> Checked:
    subject = f"policy {rule.name}"
    if not found and not scope.complete:
        return untold("collisions", subject, "Not all projects in scope were looked at yet.")
    return told("collisions", subject, "Each repository has a name of its own there.", found)


def _collision(destination: str, there: str, sources: Mapping[str, str]) -> Finding:
    names = sorted(sources)
    policies = sorted(set(sources.values()))
    one = len(policies) == 1
    who = f"Policy {policies[0]} brings" if one else f"Policies {' and '.join(policies)} bring"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return _say(
        f"policy {sources[names[0]]}: {there}",
        "name_collision",
        Severity.ERROR,
        f"{who} {' and '.join(names[:NAMED])}{more} to one name at {destination}: {there}. The "
        "last copy wins.",
        "Lower the flattening level, or give each source a namespace of its own.",
    )


def _images(
    rule: RuleSeen, subject: str, names: Sequence[str], scope: ScopeSeen
) -> Iterator[Checked]:
    """What a few images of its scope tell: size, moving tags, signatures."""
    filters = [one for one in filters_of(rule.rules) if one.type in ("name", "tag")]
    known = _samples(scope)
    chosen = [
        (name, artifact, passed)
        for name in names
        for artifact in _sized(known.get(name))
        if (passed := _passes(filters, name, artifact)) is not None
    ]
    if not chosen:
        for check in ("bandwidth", "moving tags", "signatures"):
            yield untold(check, subject, "There is no image in its scope to tell by.")
        return
    yield _bandwidth(rule, subject, max(chosen, key=lambda one: one[1].size))
    yield _moving(rule, subject, chosen)
    yield _signatures(rule, subject, filters, chosen)


def _bandwidth(
    rule: RuleSeen, subject: str, largest: tuple[str, Sized, tuple[str, ...]]
) -> Checked:
    name, artifact, _ = largest
    if rule.speed <= 0:
        return told("bandwidth", subject, "Its bandwidth is not limited.")
    seconds = artifact.size / (rule.speed * BYTES_PER_KILOBIT)
    words = (
        f"{rule.speed} kilobits/s a task, and {name} has an image of "
        f"{artifact.size / 1e6:.1f} MB: {_duration(seconds)} for it alone"
    )
    if seconds * SECOND <= rule.deadline:
        return told("bandwidth", subject, f"It has {words}.")
    found = _say(
        subject,
        "bandwidth_low",
        Severity.WARNING,
        f"Policy {rule.name} has {words}, longer than the deadline of "
        f"{_duration(rule.deadline / SECOND)}.",
        "Raise its bandwidth, or the deadline of the destination.",
    )
    return told("bandwidth", subject, "", [found])


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 2 * MINUTE // SECOND:
        return f"{whole} s"
    return f"{round(whole / 60)} min" if whole < 7200 else f"{whole / 3600:.1f} h"


def _moving(
    rule: RuleSeen, subject: str, chosen: Sequence[tuple[str, Sized, tuple[str, ...]]]
) -> Checked:
    if rule.rules.override:
        return told("moving tags", subject, "It overrides: a tag that moves is followed.")
    moving = sorted({f"{name}:{t}" for name, _, tags in chosen for t in tags if t in MOVING})
    if not moving:
        return told("moving tags", subject, "It does not override; no tag seen is made to move.")
    found = _say(
        f"{subject}: {moving[0]}",
        "override_off",
        Severity.WARNING,
        f"Policy {rule.name} does not override, and {', '.join(moving[:NAMED])} is made to move: "
        "the destination keeps its first digest, and Harbor calls that Succeed.",
        "Switch override on, or use tags that never move.",
    )
    return told("moving tags", subject, "", [found])


def _signatures(
    rule: RuleSeen,
    subject: str,
    filters: Sequence[Filter],
    chosen: Sequence[tuple[str, Sized, tuple[str, ...]]],
) -> Checked:
    check = "signatures"
    if rule.rules.trigger != Trigger.EVENT_BASED:
        return told(check, subject, "A run lists signatures with their images.")
    for name, artifact, tags in chosen:
        for beside in artifact.accessories or ():
            own = f"{artifact.digest.replace(':', '-', 1)}.sig"
            reference = (own,) if beside.type == COSIGN else ()
            if _passes(filters, name, Sized(beside.digest, 0, [*_tags(reference)])) is None:
                kind = "signature" if beside.type.startswith("signature") else "referrer"
                found = _say(
                    subject,
                    "signatures_filtered",
                    Severity.WARNING,
                    f"Policy {rule.name} copies {name}:{(tags or (artifact.digest,))[0]}, and its "
                    f"filters keep back its {kind} {(reference or (beside.digest,))[0]}.",
                    "Let the filters take it too: a tag filter needs sha256-* beside its own "
                    "pattern.",
                )
                return told(check, subject, "", [found])
    return told(check, subject, "No signature of the images looked at is kept back.")


def _tags(names: Sequence[str]) -> Iterator[wire.Tag]:
    yield from (wire.Tag(name) for name in names)
