"""Policies with their findings, and all other findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from syncwatch.model import Severity, State
from syncwatch.report.page.asking import href
from syncwatch.report.page.rows import OVERDUE
from syncwatch.store import reading

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection, Row

    from syncwatch.report.page.rows import Names
    from syncwatch.store.policies import Policy
    from syncwatch.store.reading import Snapshot

_SEVERITIES = tuple(Severity)


@dataclass(frozen=True, slots=True)
class Counted:
    """How many of a policy's expectations carry a mark, and where they are listed."""

    mark: str
    n: int
    href: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy, its newest execution known, what became of its images, and its findings."""

    policy: Policy
    destination: str
    execution: Row[Any] | None
    counted: Sequence[Counted]
    findings: Sequence[Row[Any]]


@dataclass(frozen=True, slots=True)
class Rules:
    """All policies that are present, and the findings that are about something else."""

    rules: Sequence[Rule]
    others: Sequence[Row[Any]]


def rules(
    connection: Connection, snapshot: Snapshot, names: Names, watched: Collection[str]
) -> Rules:
    """All of it, policies by name."""
    runs = reading.last_executions(connection)
    findings = sorted(reading.list_findings(connection, watched), key=_severity)
    present = [one for one in snapshot.policies if one.gone_at is None]
    present.sort(key=lambda one: (one.harbor, one.name))
    told: list[Rule] = []
    placed: set[tuple[str, ...]] = set()
    for policy in present:
        own = [one for one in findings if _is_about(one, policy)]
        placed.update(map(_identity, own))
        destination = names.destinations.get(policy.destination_id or 0)
        told.append(
            Rule(
                policy=policy,
                destination=destination.name if destination else "",
                execution=runs.get((policy.harbor, policy.policy_id)),
                counted=_counted(snapshot, policy),
                findings=own,
            )
        )
    return Rules(told, [one for one in findings if _identity(one) not in placed])


def _severity(finding: Row[Any]) -> tuple[int, int]:
    return (_SEVERITIES.index(finding.severity), finding.since)


def _identity(finding: Row[Any]) -> tuple[str, ...]:
    return (finding.harbor, finding.source, finding.finding, finding.subject)


def _is_about(finding: Row[Any], policy: Policy) -> bool:
    """A finding's subject is "policy NAME", maybe with ": " and a part of it."""
    about = f"policy {policy.name}"
    subject: str = finding.subject
    named = subject == about or subject.startswith(f"{about}: ")
    return named and bool(finding.harbor == policy.harbor)


def _counted(snapshot: Snapshot, policy: Policy) -> list[Counted]:
    """What is, and how much of it is overdue; states without images are left out."""
    found: dict[str, int] = dict.fromkeys((*map(str, State), OVERDUE), 0)
    for one in snapshot.counts:
        if (one.harbor, one.policy_id) == (policy.harbor, policy.policy_id):
            found[one.state] += one.n
            found[OVERDUE] += one.n if one.overdue and one.state != State.CLOSED else 0
    return [Counted(mark, n, _link(policy, mark)) for mark, n in found.items() if n]


def _link(policy: Policy, mark: str) -> str:
    asked: Mapping[str, object] = {"harbor": policy.harbor, "policy": policy.name}
    narrow = {"overdue": "1"} if mark == OVERDUE else {"state": mark}
    return href("/", {**asked, **narrow}) + "#list"
