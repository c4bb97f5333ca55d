"""Every metric as data: name, type, labels, meaning. docs/metrics.md is generated from it.

No image name is ever a label: image identity lives in the API and the logs.
"""

from __future__ import annotations

from dataclasses import dataclass

BY_POLICY = ("harbor", "policy", "destination")

LAG_BUCKETS = (1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600)
"""Seconds. From a copy of small layers to a bandwidth-limited one over hours."""

REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SWEEP_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
"""Seconds."""
PROBE_BUCKETS = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
"""Seconds. From a small image on an idle node to the longest that is waited for."""

READ_OUTCOMES = ("accepted", "duplicate", "ignored", "not_durable")
"""What becomes of a webhook whose body was read."""
UNREAD_OUTCOMES = ("unauthorized", "malformed", "too_large")
GATE_STATUSES = (200, 404, 409, 422, 503)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `name` is as exposed, a counter's `_total` included."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


FAMILIES = (
    Family(
        "syncwatch_expectations",
        "gauge",
        (*BY_POLICY, "state", "reason"),
        "Expectations kept, by state and reason (reason is empty when verified).",
    ),
    Family(
        "syncwatch_expectations_overdue",
        "gauge",
        BY_POLICY,
        "Expectations that are pending, failed or unknown past their deadline.",
    ),
    Family(
        "syncwatch_oldest_open_seconds",
        "gauge",
        BY_POLICY,
        "Seconds since the oldest image still owed has been behind; 0 when none is.",
    ),
    Family(
        "syncwatch_expectations_settled_total",
        "counter",
        (*BY_POLICY, "operation", "result"),
        "Expectations settled, each once: met in time, missed at the deadline, or excused.",
    ),
    Family(
        "syncwatch_lag_seconds",
        "histogram",
        BY_POLICY,
        "Seconds from when an image was expected until it was verified at the destination.",
    ),
    Family(
        "syncwatch_milestone_seconds",
        "histogram",
        ("harbor", "destination", "milestone"),
        "Seconds from when an image was expected to its webhook (notified), Harbor's claim "
        "(claimed) and a node's pull of it (pulled).",
    ),
    Family(
        "syncwatch_false_success_total",
        "counter",
        BY_POLICY,
        "Images for which Harbor said Succeed and the destination disagreed.",
    ),
    Family(
        "syncwatch_lost_total",
        "counter",
        BY_POLICY,
        "Images that were verified and then found gone, damaged or overwritten.",
    ),
    Family(
        "syncwatch_executions_total",
        "counter",
        (*BY_POLICY, "status"),
        "Harbor's executions by their final status, each counted once.",
    ),
    Family(
        "syncwatch_webhooks_total",
        "counter",
        ("harbor", "event", "outcome"),
        "Webhook deliveries received, by Harbor's event type and what became of them.",
    ),
    Family(
        "syncwatch_webhook_last_received_timestamp_seconds",
        "gauge",
        ("harbor",),
        "When the last new delivery of a harbor was stored; 0 for never.",
    ),
    Family(
        "syncwatch_events_recovered_total",
        "counter",
        ("harbor", "event", "source"),
        "Events whose webhook was due and never came, by what found them: feed or sweep.",
    ),
    Family(
        "syncwatch_sweep_last_success_timestamp_seconds",
        "gauge",
        ("harbor",),
        "When a sweep of a harbor last ended without trouble; 0 for never.",
    ),
    Family(
        "syncwatch_sweep_duration_seconds",
        "histogram",
        ("harbor",),
        "Seconds that sweeps took, from their beginning to their end.",
    ),
    Family(
        "syncwatch_findings",
        "gauge",
        ("harbor", "finding", "severity"),
        "What is wrong with the set-up now, by kind.",
    ),
    Family(
        "syncwatch_harbor_up",
        "gauge",
        ("harbor",),
        "1 while Harbor answers, accepts our credentials and shows policies and executions.",
    ),
    Family(
        "syncwatch_leases",
        "gauge",
        ("kind",),
        "Harbors and destinations that this replica does the work for (kind harbor, destination).",
    ),
    Family(
        "syncwatch_harbor_clock_skew_seconds",
        "gauge",
        ("harbor",),
        "Harbor's clock minus ours, as last measured.",
    ),
    Family(
        "syncwatch_destination_up",
        "gauge",
        ("harbor", "destination", "cluster"),
        "1 while the destination's registry answers and accepts our credentials.",
    ),
    Family(
        "syncwatch_destination_paused",
        "gauge",
        ("harbor", "destination"),
        "1 while the destination is in maintenance, by `pause_until` or by hand.",
    ),
    Family(
        "syncwatch_policy_info",
        "gauge",
        ("harbor", "policy", "policy_id", "destination", "trigger", "enabled"),
        "1 for each replication policy that Harbor has.",
    ),
    Family(
        "syncwatch_harbor_request_duration_seconds",
        "histogram",
        ("harbor", "code"),
        "Seconds that requests to Harbor took, by HTTP status or error.",
    ),
    Family(
        "syncwatch_registry_request_duration_seconds",
        "histogram",
        ("harbor", "destination", "code"),
        "Seconds that requests to a destination took, by HTTP status or error.",
    ),
    Family(
        "syncwatch_evidence_oldest_seconds",
        "gauge",
        ("harbor", "destination"),
        "Age of the oldest proof that a verified image still rests on; 0 when none.",
    ),
    Family(
        "syncwatch_policy_changes_total",
        "counter",
        ("harbor", "change"),
        "Policies created, edited, renamed, enabled, disabled or deleted in Harbor.",
    ),
    Family(
        "syncwatch_probes_total",
        "counter",
        ("cluster", "destination", "result"),
        "Pods that were to pull an image, by what their kubelet said of it.",
    ),
    Family(
        "syncwatch_probe_duration_seconds",
        "histogram",
        ("cluster", "destination", "result"),
        "Seconds from a probe's pod being made to its judgement.",
    ),
    Family(
        "syncwatch_probes_waiting",
        "gauge",
        ("cluster",),
        "Probes that are due and have not begun.",
    ),
    Family(
        "syncwatch_probes_oldest_waiting_seconds",
        "gauge",
        ("cluster",),
        "Seconds since the oldest probe that waits became due; 0 when none waits.",
    ),
    Family(
        "syncwatch_probes_under_way",
        "gauge",
        ("cluster",),
        "Pods whose kubelet has not said yet what became of the image.",
    ),
    Family(
        "syncwatch_probes_budget_left",
        "gauge",
        ("cluster",),
        "Pods that may still begin, of those that the hour allows (`per_hour`).",
    ),
    Family(
        "syncwatch_cluster_up",
        "gauge",
        ("cluster",),
        "1 while the cluster's API answers, and lets us do what probes need.",
    ),
    Family(
        "syncwatch_gate_answers_total",
        "counter",
        ("status",),
        "Answers of the gate, by the status that each had, with `always=200` too.",
    ),
    Family(
        "syncwatch_gate_waiting",
        "gauge",
        (),
        "Questions at the gate that are held back until the image is usable.",
    ),
    Family(
        "syncwatch_notifications_total",
        "counter",
        ("event", "outcome"),
        "Events for the receiver: delivered, failed (an attempt), gave_up or dropped (for good).",
    ),
    Family(
        "syncwatch_notifications_waiting",
        "gauge",
        (),
        "Events that wait to be delivered; only where a receiver is configured.",
    ),
    Family(
        "syncwatch_notifications_oldest_seconds",
        "gauge",
        (),
        "Seconds since the oldest event that waits to be delivered happened; 0 when none waits.",
    ),
    Family("syncwatch_build_info", "gauge", ("version",), "1, with the version that runs."),
)

BY_NAME = {family.name: family for family in FAMILIES}
POLICY_CHANGES = ("created", "edited", "renamed", "enabled", "disabled", "deleted")
NOTIFIED = ("delivered", "failed", "gave_up", "dropped")
