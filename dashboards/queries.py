"""PromQL of the dashboards: what is chosen above, and the few shapes that all queries have.

Gauges of a harbor or a destination are shown by one replica, and for a moment by two when its
lease changes hands: `max by` of all their labels is that one. Counters are each replica's own,
so they are summed.
"""

from __future__ import annotations

DATASOURCE = "datasource"
HARBORS = 'harbor=~"$harbor"'
DESTINATIONS = f'{HARBORS},destination=~"$destination"'
POLICIES = f'{HARBORS},policy=~"$policy",destination=~"$destination"'
PROBED = 'destination=~"$destination"'
"""What is counted of probes has no harbor: a cluster pulls for all of them."""

WINDOW = "[$window]"
"""What counts and quantiles are taken over: pushes may be seldom."""

RANGE = "[$__range]"
"""All that the time picker shows."""

NOW = "[$__rate_interval]"
"""As short as the scrapes allow: for what happens all the time."""

OWED = 'state=~"pending|failed|unknown"'
LAG = "syncwatch_lag_seconds"
LAST_WEBHOOK = "syncwatch_webhook_last_received_timestamp_seconds"
LAST_SWEEP = "syncwatch_sweep_last_success_timestamp_seconds"

_PAIR = "harbor, policy, destination"


def expectations(more: str, *by: str) -> str:
    """How many expectations there are with these labels, by some of them."""
    one = f"max by ({_PAIR}, state, reason) (syncwatch_expectations{{{POLICIES},{more}}})"
    return f"{_sum(*by)} ({one})"


def of_policies(name: str) -> str:
    """A gauge of policies at destinations, one series a pair."""
    return f"max by ({_PAIR}) ({name}{{{POLICIES}}})"


def of_clusters(name: str) -> str:
    """A gauge of clusters, of those that the chosen destinations serve."""
    served = f"max by (cluster) (syncwatch_destination_up{{{DESTINATIONS}}})"
    return f"max by (cluster) ({name}) and on (cluster) {served}"


def increase(name: str, labels: str, window: str, *by: str) -> str:
    """By how much a counter grew."""
    return f"{_sum(*by)} (increase({name}{{{labels}}}{window}))"


def rate(name: str, labels: str, *by: str) -> str:
    """By how much a counter grows in a second."""
    return f"{_sum(*by)} (rate({name}{{{labels}}}{NOW}))"


def settled(result: str, window: str, *by: str) -> str:
    """Copies that settled so. Deletions are not part of the objective: nobody waits for them."""
    labels = f'{POLICIES},operation="copy",result=~"{result}"'
    return increase("syncwatch_expectations_settled_total", labels, window, *by)


def in_time(window: str, *by: str) -> str:
    """The share of copies that were proven before their deadline; nothing where none settled."""
    return f"{settled('met', window, *by)} / ({settled('met|missed', window, *by)} > 0)"


def missed(window: str, *by: str) -> str:
    """The share of copies that were not."""
    return f"{settled('missed', window, *by)} / ({settled('met|missed', window, *by)} > 0)"


def budget_left(window: str, *by: str) -> str:
    """What is left of the misses that the objective allows: 1 is all, below 0 it is overspent."""
    return f"1 - ({missed(window, *by)}) / (1 - $objective)"


def burn(window: str, *by: str) -> str:
    """How many times too fast the error budget is used; 1 uses it up just in time."""
    return f"({missed(window, *by)}) / (1 - $objective)"


def quantile(share: float, name: str, labels: str, window: str, *by: str) -> str:
    """That share of a histogram's values is at most this; nothing where there was none."""
    groups = ", ".join(("le", *by))
    buckets = f"sum by ({groups}) (rate({name}_bucket{{{labels}}}{window}))"
    # Not a number, where there was none, is no more than 0 either.
    return f"histogram_quantile({share}, {buckets}) >= 0"


def age(name: str) -> str:
    """Seconds since a timestamp of each harbor; nothing where it never was."""
    return f"time() - (max by (harbor) ({name}{{{HARBORS}}}) > 0)"


def of_processes(name: str) -> str:
    """What Prometheus itself says of its scrapes of syncwatch."""
    seen = "max by (job, instance) (last_over_time(syncwatch_build_info[1d]))"
    return f"{name} and on (job, instance) {seen}"


SEVERITIES = ("error", "warning", "info")
"""The gravest first."""


def ranked(severity: str) -> str:
    """A severity as the queries here have it, so that a table sorted by it begins with errors."""
    return f"{SEVERITIES.index(severity) + 1} {severity}"


def findings(more: str = "") -> str:
    """How many findings there are, by what they are; `severity` is `ranked`."""
    labels = f"{HARBORS},{more}" if more else HARBORS
    one = f"max by (harbor, finding, severity) (syncwatch_findings{{{labels}}})"
    told = f"sum by (severity, finding, harbor) ({one}) > 0"
    for word in SEVERITIES:
        told = f'label_replace({told}, "severity", "{ranked(word)}", "severity", "{word}")'
    return told


def _sum(*by: str) -> str:
    return f"sum by ({', '.join(by)})" if by else "sum"


OVERDUE = of_policies("syncwatch_expectations_overdue")
OLDEST_OPEN = of_policies("syncwatch_oldest_open_seconds")
DESTINATIONS_UP = f"max by (harbor, destination) (syncwatch_destination_up{{{DESTINATIONS}}})"
DESTINATIONS_PAUSED = (
    f"max by (harbor, destination) (syncwatch_destination_paused{{{DESTINATIONS}}}) == 1"
)
HARBORS_UP = f"max by (harbor) (syncwatch_harbor_up{{{HARBORS}}})"
CLUSTERS_UP = of_clusters("syncwatch_cluster_up")
