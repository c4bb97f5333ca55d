"""The row of probes: do the nodes of each cluster pull, and do we get round to asking them?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from building import GREEN, PURPLE, Query, Row, lines, switches
from queries import CLUSTERS_UP, PROBED, WINDOW, increase, of_clusters, quantile

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import statetimeline, timeseries

PROBES = "syncwatch_probes_total"
TOOK = "syncwatch_probe_duration_seconds"
OPEN = f'{PROBED},result="inconclusive"'
PULLED = f'{PROBED},result="pulled"'
NO_CLUSTER = "no cluster"
"""What panels say where none is configured: probes are optional."""


def pulling_row() -> Row:
    """Clusters, what their nodes said, and what waits."""
    return Row(
        "Do the clusters' nodes pull?",
        8,
        [
            (_which_clusters_can_be_asked(), 6),
            (_what_nodes_said(), 6),
            (_probes_that_proved_nothing(), 6),
            (_how_long_a_pull_takes(), 6),
            (_probes_waiting(), 8),
            (_oldest_probe_that_waits(), 8),
            (_pods_that_may_still_begin(), 8),
        ],
    )


def _which_clusters_can_be_asked() -> statetimeline.Panel:
    return switches(
        "Which clusters can be asked?",
        "Whether the cluster's API answers, and lets us do what probes need. While it does not,"
        " its probes wait and nothing else does; the finding says which of the two it is.",
        Query(CLUSTERS_UP, "{{cluster}}"),
        words={"1": ("can be asked", GREEN), "0": ("cannot be asked", PURPLE)},
        nothing=NO_CLUSTER,
        docs="findings.md#cluster_unreachable",
    )


def _what_nodes_said() -> timeseries.Panel:
    return lines(
        "What nodes said, in the last $window",
        "Pods by what their kubelet said of the image. All but `pulled` and `inconclusive` is a"
        " node that cannot pull what the registry serves to us: the table of results says where"
        " to look.",
        Query(increase(PROBES, PROBED, WINDOW, "result"), "{{result}}"),
        stacked=True,
        nothing=NO_CLUSTER,
        docs="probe.md#what-a-probe-can-say",
    )


def _probes_that_proved_nothing() -> timeseries.Panel:
    return lines(
        "Probes that proved nothing, by cluster",
        "The share of pods that were `inconclusive`, over the last $window, with gaps where"
        " there was none. Much of it: no node has room, a quota refuses the pods, pulls hang, or"
        " all nodes held the images already.",
        Query(
            f"{increase(PROBES, OPEN, WINDOW, 'cluster')}"
            f" / ({increase(PROBES, PROBED, WINDOW, 'cluster')} > 0)",
            "{{cluster}}",
        ),
        unit="percentunit",
        most=1,
        nothing="none ended",
        docs="probe.md#when-it-proves-nothing",
    )


def _how_long_a_pull_takes() -> timeseries.Panel:
    return lines(
        "How long a pull takes, by destination",
        "From a pod being made until it was judged, of those that pulled: half of them (p50) and"
        " 95 % (p95) took at most so long, over the last $window. Near `timeout` (2 min) large"
        " images prove nothing: raise it.",
        Query(quantile(0.5, TOOK, PULLED, WINDOW, "destination"), "{{destination}} p50"),
        Query(quantile(0.95, TOOK, PULLED, WINDOW, "destination"), "{{destination}} p95"),
        unit="s",
        nothing="none pulled",
        docs="probe.md#manners",
    )


def _probes_waiting() -> timeseries.Panel:
    return lines(
        "Probes waiting and under way, by cluster",
        "Probes that are due and have no pod yet, and pods whose kubelet has not spoken. A heap"
        " after many pushes is normal, if it shrinks.",
        Query(of_clusters("syncwatch_probes_waiting"), "{{cluster}} waiting"),
        Query(of_clusters("syncwatch_probes_under_way"), "{{cluster}} under way"),
        nothing=NO_CLUSTER,
        docs="probe.md#manners",
    )


def _oldest_probe_that_waits() -> timeseries.Panel:
    return lines(
        "Oldest probe that waits, by cluster",
        "For how long the one that waits longest has been due; 0 when none waits. If it climbs:"
        " the hour's budget is used up (beside this), the cluster cannot be asked, or it is left"
        " alone after a pull that hung.",
        Query(of_clusters("syncwatch_probes_oldest_waiting_seconds"), "{{cluster}}"),
        unit="s",
        nothing=NO_CLUSTER,
        docs="probe.md#manners",
    )


def _pods_that_may_still_begin() -> timeseries.Panel:
    return lines(
        "Pods that may still begin, by cluster",
        "What is left of `per_hour`. At 0 all others wait until the first of them is an hour"
        " ago: raise it, or have less pulled (`images: required`, `sample`, `policies`).",
        Query(of_clusters("syncwatch_probes_budget_left"), "{{cluster}}"),
        nothing=NO_CLUSTER,
        docs="configuration.md#clustersprobe",
    )
