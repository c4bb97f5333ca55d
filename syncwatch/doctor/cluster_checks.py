"""Pure: what is wrong with a cluster whose nodes are to pull, by what was found out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.doctor.checks import told, untold
from syncwatch.model import Finding, Severity
from syncwatch.probe.trouble import findings_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syncwatch.doctor.checks import Checked
    from syncwatch.errors import ClusterError

GRANT = "Apply deploy/kubernetes/probe/ in that cluster, for the account that syncwatch has there."


@dataclass(frozen=True, slots=True)
class ClusterSeen:
    """A cluster asked once: `trouble` is why it could not be.

    `granted` and `denied` are rights, as `create pods`; `refused` is what it said of a pod that was
    tried and not made, None where it would take it, and `tried` whether that was asked.
    """

    name: str
    namespace: str
    trouble: ClusterError | None = None
    granted: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    tried: bool = False
    refused: ClusterError | None = None


def of_cluster(seen: ClusterSeen) -> Iterator[Checked]:
    """It answers, lets us do what probes need, and would take a pod."""
    subject = f"cluster {seen.name}"
    found = findings_of(seen.name, [seen.trouble]) if seen.trouble else []
    yield told("cluster", subject, "Its API server answers, and knows us.", found)
    if seen.trouble is not None:
        yield untold("cluster permission", subject, seen.trouble.message)
        yield untold("probe pod", subject, seen.trouble.message)
        return
    yield told("cluster permission", subject, _granted(seen), _denied(seen, subject))
    if not seen.tried:
        yield untold("probe pod", subject, "Pods may not be created, so none could be tried.")
        return
    good = f"A pod would be taken in {seen.namespace} (tried without making one)."
    yield told("probe pod", subject, good, _refused(seen))


def _granted(seen: ClusterSeen) -> str:
    return f"Probes may do what they need in {seen.namespace}: {', '.join(seen.granted)}."


def _denied(seen: ClusterSeen, subject: str) -> list[Finding]:
    if not seen.denied:
        return []
    message = f"syncwatch may not {', '.join(seen.denied)} in {seen.namespace}."
    return [Finding("cluster_forbidden", Severity.ERROR, subject, message, GRANT)]


def _refused(seen: ClusterSeen) -> list[Finding]:
    if seen.refused is None:
        return []
    return findings_of(seen.name, [seen.refused])
