"""Pure: what trouble with a cluster is called, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncwatch.model import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from syncwatch.errors import ClusterError

_AWAY = "Check its API server and the network; probes wait meanwhile."
_MAY_NOT = "Apply the Role for probes in its namespace, or renew the credential."
_FINDINGS = {
    "unreachable": ("cluster_unreachable", _AWAY),
    "server": ("cluster_unreachable", _AWAY),
    "throttled": ("cluster_unreachable", _AWAY),
    "unauthorized": ("cluster_forbidden", _MAY_NOT),
    "forbidden": ("cluster_forbidden", _MAY_NOT),
    "misconfigured": (
        "cluster_misconfigured",
        "Correct the kubeconfig or context of the cluster, and reload.",
    ),
    "refused": (
        "probe_pod_refused",
        "Let it in: raise the quota, or make an exception for it in the policy that refuses it.",
    ),
    "left": (
        "probe_pods_left",
        "Look at it with kubectl get pod -o yaml: a finalizer or a node that is gone holds it.",
    ),
}
"""The finding for each kind of trouble with a cluster."""

OF_PODS = frozenset({"refused", "left"})
"""Kinds that are about single pods, whatever the cluster does otherwise."""


def is_away(error: ClusterError) -> bool:
    """Whether the cluster as such does not answer, or does not let us do what probes need."""
    return error.kind not in OF_PODS


def findings_of(cluster: str, errors: Iterable[ClusterError]) -> list[Finding]:
    """One finding for each kind of trouble that is the cluster's."""
    by_name: dict[str, list[ClusterError]] = {}
    for error in errors:
        if error.kind in _FINDINGS:
            by_name.setdefault(_FINDINGS[error.kind][0], []).append(error)
    return [_together(cluster, name, group) for name, group in by_name.items()]


def _together(cluster: str, finding: str, errors: Sequence[ClusterError]) -> Finding:
    # One sentence for each thing that is refused, however often it was asked for.
    message = " ".join(dict.fromkeys(error.message for error in errors))
    cure = errors[0].cure or _FINDINGS[errors[0].kind][1]
    return Finding(finding, Severity.ERROR, f"cluster {cluster}", message, cure)
