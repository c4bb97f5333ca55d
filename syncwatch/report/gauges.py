"""Pure: a snapshot of the store as gauges. Ages are computed here, so an outage makes them grow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily

from syncwatch.model import SECOND, Reason, State
from syncwatch.report.families import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from prometheus_client.core import Metric

    from syncwatch.model import Millis
    from syncwatch.store.policies import Destination, Policy
    from syncwatch.store.reading import Snapshot

ALWAYS = ((State.VERIFIED, ""), (State.PENDING, Reason.WAITING))
"""States whose gauge a policy has from the start, at 0."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the store does not know: which destinations can be asked, and their clusters' names.

    `pauses` is until when the configuration has each in maintenance, 0 for not at all.
    Of several replicas each shows the gauges of the `harbors` (names) and `destinations` (ids)
    whose leases it holds, so that their sum is right; None is all. `leases` are how many it holds,
    by kind.
    """

    up: Mapping[int, bool]
    clusters: Mapping[int, str]
    pauses: Mapping[int, Millis]
    store_trouble: str = ""
    harbors: Collection[str] | None = None
    destinations: Collection[int] | None = None
    leases: Mapping[str, int] | None = None


def gauges(snapshot: Snapshot, around: Surroundings, now: Millis, version: str) -> Iterator[Metric]:
    """All gauges that are this replica's to show."""
    of_harbors, of_destinations = _of_harbors(snapshot, around), _of_destinations(snapshot, around)
    names = _Names(of_destinations)
    yield from _expectations(of_destinations, names)
    yield _oldest_open(of_destinations, names, now)
    yield from _harbors(of_harbors)
    yield from _destinations(of_destinations, around, now)
    yield _policy_info(of_harbors, _Names(of_harbors))
    found = _gauge("syncwatch_findings")
    for labels, count in of_harbors.findings.items():
        found.add_metric(labels, count)
    if around.store_trouble:
        found.add_metric(("", "store_unwritable", "error"), 1)
    yield found
    yield _leases(snapshot, around)
    build = _gauge("syncwatch_build_info")
    build.add_metric([version], 1)
    yield build


def _of_harbors(snapshot: Snapshot, around: Surroundings) -> Snapshot:
    """Without the harbors, their policies and findings that another replica shows."""
    shown = around.harbors
    if shown is None:
        return snapshot
    return replace(
        snapshot,
        harbors=[one for one in snapshot.harbors if one.name in shown],
        policies=[one for one in snapshot.policies if one.harbor in shown],
        findings={labels: n for labels, n in snapshot.findings.items() if labels[0] in shown},
    )


def _of_destinations(snapshot: Snapshot, around: Surroundings) -> Snapshot:
    """Without the destinations that another replica shows."""
    shown = around.destinations
    if shown is None:
        return snapshot
    return replace(snapshot, destinations=[one for one in snapshot.destinations if one.id in shown])


def _leases(snapshot: Snapshot, around: Surroundings) -> Metric:
    family = _gauge("syncwatch_leases")
    present = sum(one.gone_at is None for one in snapshot.destinations)
    all_of_them = {"harbor": len(snapshot.harbors), "destination": present}
    held = all_of_them if around.leases is None else around.leases
    for kind in all_of_them:
        family.add_metric([kind], held.get(kind, 0))
    return family


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
    paused = _gauge("syncwatch_destination_paused")
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
        if one.id in around.pauses:
            until = max(around.pauses[one.id], one.paused_until or 0)
            paused.add_metric([one.harbor, one.name], float(until > now))
    yield from (up, paused, evidence)


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
