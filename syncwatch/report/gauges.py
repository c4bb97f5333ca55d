"""Pure: a snapshot of the store as gauges. Ages are computed here, so an outage makes them grow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily

from syncwatch.model import SECOND, Reason, State
from syncwatch.report.families import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.core import Metric

    from syncwatch.model import Millis
    from syncwatch.store.policies import Destination, Policy
    from syncwatch.store.reading import Snapshot

ALWAYS = ((State.VERIFIED, ""), (State.PENDING, Reason.WAITING))
"""States whose gauge a policy has from the start, at 0."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the store does not know: which destinations can be asked, and their clusters' names."""

    up: Mapping[int, bool]
    clusters: Mapping[int, str]
    store_trouble: str = ""


def gauges(snapshot: Snapshot, around: Surroundings, now: Millis, version: str) -> Iterator[Metric]:
    """All gauges."""
    names = _Names(snapshot)
    yield from _expectations(snapshot, names)
    yield _oldest_open(snapshot, names, now)
    yield from _harbors(snapshot)
    yield from _destinations(snapshot, around, now)
    yield _policy_info(snapshot, names)
    found = _gauge("syncwatch_findings")
    for labels, count in snapshot.findings.items():
        found.add_metric(labels, count)
    if around.store_trouble:
        found.add_metric(("", "store_unwritable", "error"), 1)
    yield found
    build = _gauge("syncwatch_build_info")
    build.add_metric([version], 1)
    yield build


class _Names:
    """Present policies and destinations by id, and the labels of their pairs."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.policies = {
            (one.harbor, one.policy_id): one for one in snapshot.policies if one.gone_at is None
        }
        self.destinations: dict[int, Destination] = {
            one.id: one for one in snapshot.destinations if one.gone_at is None
        }

    def destination_of(self, policy: Policy) -> str:
        destination = self.destinations.get(policy.destination_id or 0)
        return destination.name if destination else ""

    def labels(self, harbor: str, policy_id: int, destination_id: int) -> tuple[str, ...] | None:
        policy = self.policies.get((harbor, policy_id))
        destination = self.destinations.get(destination_id)
        return (harbor, policy.name, destination.name) if policy and destination else None

    def pairs(self) -> list[tuple[str, ...]]:
        return [
            (one.harbor, one.name, self.destination_of(one))
            for one in self.policies.values()
            if one.rules.pushes and one.destination_id in self.destinations
        ]


def _gauge(name: str) -> GaugeMetricFamily:
    family = BY_NAME[name]
    return GaugeMetricFamily(family.name, family.help, labels=family.labels)


def _expectations(snapshot: Snapshot, names: _Names) -> Iterator[Metric]:
    kept: dict[tuple[str, ...], float] = {}
    overdue: dict[tuple[str, ...], float] = dict.fromkeys(names.pairs(), 0.0)
    for labels in names.pairs():
        kept |= {(*labels, state, reason): 0.0 for state, reason in ALWAYS}
    for one in snapshot.counts:
        labels_or_none = names.labels(one.harbor, one.policy_id, one.destination_id)
        if labels_or_none is None:
            continue
        key = (*labels_or_none, one.state, one.reason)
        kept[key] = kept.get(key, 0.0) + one.n
        if one.overdue:
            overdue[labels_or_none] = overdue.get(labels_or_none, 0.0) + one.n
    for name, values in (
        ("syncwatch_expectations", kept),
        ("syncwatch_expectations_overdue", overdue),
    ):
        family = _gauge(name)
        for labels, value in values.items():
            family.add_metric(labels, value)
        yield family


def _oldest_open(snapshot: Snapshot, names: _Names, now: Millis) -> Metric:
    oldest: dict[tuple[str, ...], float] = dict.fromkeys(names.pairs(), 0.0)
    for key, since in snapshot.behind.items():
        labels = names.labels(*key)
        if labels is not None:
            oldest[labels] = max(oldest.get(labels, 0.0), (now - since) / SECOND)
    family = _gauge("syncwatch_oldest_open_seconds")
    for labels, age in oldest.items():
        family.add_metric(labels, max(0.0, age))
    return family


def _harbors(snapshot: Snapshot) -> Iterator[Metric]:
    up = _gauge("syncwatch_harbor_up")
    skew = _gauge("syncwatch_harbor_clock_skew_seconds")
    heard = _gauge("syncwatch_webhook_last_received_timestamp_seconds")
    swept = _gauge("syncwatch_sweep_last_success_timestamp_seconds")
    for one in snapshot.harbors:
        up.add_metric([one.name], float(one.up and one.feed_ok))
        skew.add_metric([one.name], one.skew / SECOND)
        heard.add_metric([one.name], (one.last_webhook_at or 0) / SECOND)
        swept.add_metric([one.name], (one.last_sweep_at or 0) / SECOND)
    yield from (up, skew, heard, swept)


def _destinations(snapshot: Snapshot, around: Surroundings, now: Millis) -> Iterator[Metric]:
    up = _gauge("syncwatch_destination_up")
    evidence = _gauge("syncwatch_evidence_oldest_seconds")
    for one in snapshot.destinations:
        if one.gone_at is not None:
            continue
        oldest = snapshot.evidence.get(one.id)
        age = (now - oldest) / SECOND if oldest is not None else 0.0
        evidence.add_metric([one.harbor, one.name], max(0.0, age))
        if one.id in around.up:
            labels = [one.harbor, one.name, around.clusters.get(one.id, "")]
            up.add_metric(labels, float(around.up[one.id]))
    yield from (up, evidence)


def _policy_info(snapshot: Snapshot, names: _Names) -> Metric:
    family = _gauge("syncwatch_policy_info")
    for policy in names.policies.values():
        family.add_metric(
            [
                policy.harbor,
                policy.name,
                str(policy.policy_id),
                names.destination_of(policy),
                policy.rules.trigger,
                "true" if policy.rules.enabled else "false",
            ],
            1,
        )
    return family
