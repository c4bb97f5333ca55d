"""Pure: what the doctor's checks are called, and how they end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from syncwatch.model import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

MANY = 10
"""So many projects with one and the same finding are told as one."""

FINDINGS_OF: Mapping[str, frozenset[str]] = {
    "harbor": frozenset({"harbor_unreachable", "credential_rejected"}),
    "clock": frozenset({"clock_skew"}),
    "notifications": frozenset({"notification_off"}),
    "version": frozenset({"version_old"}),
    "account": frozenset({"password_user"}),
    "permission": frozenset({"permission_missing"}),
    "permissions in excess": frozenset({"permission_excessive"}),
    "job queues": frozenset({"queue_paused", "queue_long"}),
    "webhook": frozenset(
        {"webhook_missing", "webhook_disabled", "webhook_wrong_target", "webhook_events_missing"}
        | {"webhook_wrong_authorization", "webhook_deliveries_failing"}
    ),
    "project permissions": frozenset({"permission_missing"}),
    "retention": frozenset({"retention_on"}),
    "round trip": frozenset({"webhook_not_taken"}),
    "rule": frozenset(
        {"malformed_pattern", "remote_source", "policy_disabled", "labels_never_match"}
        | {"override_off", "deletion_unsupported"}
    ),
    "schedule": frozenset({"schedule_invalid"}),
    "scope": frozenset({"matches_nothing", "flattening_too_deep"}),
    "collisions": frozenset({"name_collision"}),
    "moving tags": frozenset({"override_off"}),
    "bandwidth": frozenset({"bandwidth_low"}),
    "signatures": frozenset({"signatures_filtered"}),
    "endpoint": frozenset({"endpoint_unhealthy"}),
    "destination": frozenset(
        {"destination_unreachable", "destination_tls", "destination_unauthorized"}
    ),
    "pull-through": frozenset({"pull_through"}),
    "blocked by policy": frozenset({"destination_policy"}),
    "accept trap": frozenset({"accept_trap"}),
    "address": frozenset({"destination_url_changed", "destination_unknown"}),
    "deadline": frozenset({"deadline_short"}),
    "cluster": frozenset({"cluster_unreachable", "cluster_forbidden", "cluster_misconfigured"}),
    "cluster permission": frozenset({"cluster_forbidden"}),
    "probe pod": frozenset({"probe_pod_refused", "cluster_misconfigured"}),
    "store": frozenset({"store_unwritable"}),
    "disk": frozenset({"disk_low"}),
    "own clock": frozenset({"clock_implausible"}),
    "secrets": frozenset({"secret_unreadable"}),
    "token": frozenset({"token_missing"}),
    "open webhook": frozenset({"webhook_open"}),
}
"""Every check by its name, with the findings that it may have."""


class Outcome(StrEnum):
    """How a check ended; what could not be told is never `ok`."""

    OK = "ok"
    WRONG = "wrong"
    CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True, slots=True)
class Checked:
    """One check of one thing: how it ended, the evidence in words, and what is wrong.

    A finding of severity info alone leaves a check `ok`, or `cannot_tell` where it is about what
    may not be asked. The subject of each finding is that of
    the check, or begins with it and a colon.
    """

    check: str
    subject: str
    outcome: Outcome
    message: str
    findings: tuple[Finding, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """What tells one check from another."""
        return (self.check, self.subject)

    def owns(self, finding: Finding) -> bool:
        """Whether an earlier finding was this check's, and is replaced by it."""
        same = finding.subject == self.subject or finding.subject.startswith(f"{self.subject}:")
        return same and finding.finding in FINDINGS_OF[self.check]


def told(check: str, subject: str, good: str, found: Sequence[Finding] = ()) -> Checked:
    """A check that could be made; `good` is what to say where nothing is wrong."""
    wrong = any(one.severity is not Severity.INFO for one in found)
    message = " ".join(one.message for one in found) if found else good
    return Checked(check, subject, Outcome.WRONG if wrong else Outcome.OK, message, tuple(found))


def untold(check: str, subject: str, why: str, found: Sequence[Finding] = ()) -> Checked:
    """A check that could not be made, and why."""
    return Checked(check, subject, Outcome.CANNOT_TELL, why, tuple(found))


def folded(harbor: str, found: Iterable[Finding]) -> list[Finding]:
    """Findings that many projects share, told once; the others as they are."""
    groups: dict[str, list[Finding]] = {}
    for one in found:
        groups.setdefault(one.finding, []).append(one)
    result = []
    for group in groups.values():
        of_projects = [one for one in group if one.subject.startswith("project ")]
        if len(of_projects) < MANY:
            result += group
            continue
        result += [one for one in group if one not in of_projects]
        result.append(_together(harbor, sorted(of_projects, key=lambda one: one.subject)))
    return sorted(result, key=_worst_first)


def _together(harbor: str, group: Sequence[Finding]) -> Finding:
    names = [one.subject.removeprefix("project ") for one in group]
    first, finding = group[0], group[0].finding
    shown = f"{', '.join(names[:5])} and {len(names) - 5} more"
    worst = min((one.severity for one in group), key=list(Severity).index)
    return Finding(
        finding,
        worst,
        f"harbor {harbor}: projects",
        f"{len(names)} projects ({shown}) have the same trouble; the first: {first.message}",
        first.cure,
    )


def findings_of(checked: Iterable[Checked]) -> list[Finding]:
    """All findings, the worst first, each (finding, subject) once."""
    found: dict[tuple[str, str], Finding] = {}
    for check in checked:
        for one in check.findings:
            known = found.get((one.finding, one.subject))
            if known is None or _worst_first(one) < _worst_first(known):
                found[one.finding, one.subject] = one
    return sorted(found.values(), key=_worst_first)


def _worst_first(one: Finding) -> tuple[int, str, str]:
    return (list(Severity).index(one.severity), one.subject, one.finding)


def without(found: Iterable[Finding], told_elsewhere: Collection[tuple[str, str]]) -> list[Finding]:
    """What no other source says of the same subject."""
    return [one for one in found if (one.finding, one.subject) not in told_elsewhere]
