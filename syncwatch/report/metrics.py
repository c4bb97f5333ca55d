"""What is counted as it happens, and the exposition of all metrics.

Comes in: `Change`s after they are durable, and single happenings of the stages. Counters and
histograms of a policy are kept by ids and named only when scraped, so a renamed policy goes on
under its new name. They exist from 0 for every policy that Harbor has, and go some time after it.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from syncwatch import __version__
from syncwatch.harbor.wire import DELETE, PUSH, REPLICATION
from syncwatch.model import SECOND, KnownBy, Operation, Result, State, Status
from syncwatch.report.buckets import Buckets
from syncwatch.report.cluster_metrics import ClusterMetrics
from syncwatch.report.families import (
    BY_NAME,
    GATE_STATUSES,
    LAG_BUCKETS,
    NOTIFIED,
    POLICY_CHANGES,
    READ_OUTCOMES,
    REQUEST_BUCKETS,
    SWEEP_BUCKETS,
    UNREAD_OUTCOMES,
    Family,
)
from syncwatch.report.gauges import gauges
from syncwatch.runtime import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client.core import Metric

    from syncwatch.model import Change, Millis
    from syncwatch.report.gauges import Surroundings
    from syncwatch.runtime import Clock
    from syncwatch.store.policies import Destination, Policy
    from syncwatch.store.reading import Snapshot


# A second series for each counter, which Prometheus 2 stores and nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """All metrics of one daemon, on a registry of its own."""

    def __init__(self, clock: Clock, harbors: Sequence[str], gone_after: Millis) -> None:
        self._clock = clock
        self._gone_after = gone_after
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self._snapshot: Snapshot | None = None
        self._surroundings: Callable[[], Surroundings] | None = None
        self._counted: dict[str, dict[tuple[object, ...], float]] = defaultdict(dict)
        self._lag: dict[tuple[str, int, int], Buckets] = {}
        self._milestones: dict[tuple[str, int, str], Buckets] = {}
        self._notified: dict[tuple[str, str], float] = {}
        self._outbox: tuple[int, Millis | None] | None = None
        self.clusters = ClusterMetrics()
        self._webhooks = self._counter("syncwatch_webhooks_total")
        self._policy_changes = self._counter("syncwatch_policy_changes_total")
        self._recovered = self._counter("syncwatch_events_recovered_total")
        self._sweeps = self._histogram("syncwatch_sweep_duration_seconds", SWEEP_BUCKETS)
        self._gate_answers = self._counter("syncwatch_gate_answers_total")
        waiting = BY_NAME["syncwatch_gate_waiting"]
        self._gate_waiting = Gauge(waiting.name, waiting.help, registry=self.registry)
        self._harbor_requests = self._histogram("syncwatch_harbor_request_duration_seconds")
        self._registry_requests = self._histogram("syncwatch_registry_request_duration_seconds")
        for status in GATE_STATUSES:
            self._gate_answers.labels(status)
        for harbor in harbors:
            for change in POLICY_CHANGES:
                self._policy_changes.labels(harbor, change)
            # What is first counted as 1 never happened to whoever asks for the increase.
            for event, outcome in product((PUSH, DELETE, REPLICATION), READ_OUTCOMES):
                self._webhooks.labels(harbor, event, outcome)
            for outcome in UNREAD_OUTCOMES:
                self._webhooks.labels(harbor, "", outcome)
            for event, found_by in product((PUSH, DELETE), (KnownBy.FEED, KnownBy.SWEEP)):
                self._recovered.labels(harbor, event, found_by)
            self._sweeps.labels(harbor)
        self.registry.register(self)

    def _counter(self, name: str) -> Counter:
        family = BY_NAME[name]
        return Counter(
            name.removesuffix("_total"), family.help, family.labels, registry=self.registry
        )

    def _histogram(self, name: str, buckets: Sequence[float] = REQUEST_BUCKETS) -> Histogram:
        family = BY_NAME[name]
        return Histogram(name, family.help, family.labels, buckets=buckets, registry=self.registry)

    def publish(self, changes: Iterable[Change]) -> None:
        """Log and count what changed, once it is durable."""
        for change in changes:
            if change.moved:
                _log(change)
            self._count(change)

    def _count(self, change: Change) -> None:
        pair = (change.harbor, change.policy_id, change.destination_id)
        if change.settled is not None:
            self._add(
                "syncwatch_expectations_settled_total", pair, change.operation, change.settled
            )
        if change.false_success:
            self._add("syncwatch_false_success_total", pair)
        if change.lost:
            self._add("syncwatch_lost_total", pair)
        if change.lag is not None:
            self._lag.setdefault(pair, Buckets(LAG_BUCKETS)).observe(change.lag)
        for milestone, seconds in change.milestones:
            key = (change.harbor, change.destination_id, milestone)
            self._milestones.setdefault(key, Buckets(LAG_BUCKETS)).observe(seconds)

    def _add(self, name: str, pair: tuple[str, int, int], *labels: str) -> None:
        key = (*pair, *labels)
        self._counted[name][key] = self._counted[name].get(key, 0.0) + 1

    def webhook(self, harbor: str, event: str, outcome: str) -> None:
        """One request to the webhook endpoint."""
        self._webhooks.labels(harbor, event, outcome).inc()

    def recovered(self, harbor: str, event: str, found_by: KnownBy) -> None:
        """An event whose webhook never came."""
        self._recovered.labels(harbor, event, found_by).inc()

    def swept(self, harbor: str, seconds: float) -> None:
        """A sweep has ended without trouble."""
        self._sweeps.labels(harbor).observe(seconds)

    def will_notify(self, events: Iterable[str]) -> None:
        """Their counters exist from now on; without any there is nothing to be seen of it."""
        told = {(event, outcome): 0.0 for event in events for outcome in NOTIFIED}
        self._notified = told | self._notified if told else {}

    def notified(self, event: str, outcome: str) -> None:
        """An attempt to tell the receiver, or the end of them."""
        self._notified[event, outcome] = self._notified.get((event, outcome), 0.0) + 1

    def outbox(self, waiting: int | None, oldest_at: Millis | None) -> None:
        """How many events wait, and since when the oldest does; None where it is not ours."""
        self._outbox = None if waiting is None else (waiting, oldest_at)

    def policy_changed(self, harbor: str, policy_id: int, change: str) -> None:
        """A policy changed at Harbor."""
        self._policy_changes.labels(harbor, change).inc()
        log.info("policy_changed", harbor=harbor, policy_id=policy_id, change=change)

    def execution_ended(self, harbor: str, policy_id: int, status: str) -> None:
        """An execution is final."""
        key = (harbor, policy_id, status)
        counted = self._counted["syncwatch_executions_total"]
        counted[key] = counted.get(key, 0.0) + 1

    def harbor_asked(self, harbor: str) -> Callable[[str, float], None]:
        """What `Outbound` tells of each request to a Harbor."""
        return lambda code, seconds: self._harbor_requests.labels(harbor, code).observe(seconds)

    def registry_asked(self, harbor: str, destination: str) -> Callable[[str, float], None]:
        """What `Outbound` tells of each request to a destination."""
        # Finding a series by its labels takes longer than counting in it.
        series = cache(partial(self._registry_requests.labels, harbor, destination))
        return lambda code, seconds: series(code).observe(seconds)

    def gate_answered(self, status: int) -> None:
        """Count an answer of the gate."""
        self._gate_answers.labels(status).inc()

    def watch_gate(self, waiting: Callable[[], int]) -> None:
        """Whom to ask how many questions wait at the gate."""
        self._gate_waiting.set_function(waiting)

    def show(self, snapshot: Snapshot, surroundings: Callable[[], Surroundings]) -> None:
        """What gauges are made of until the next snapshot; ages go on growing meanwhile."""
        self._snapshot, self._surroundings = snapshot, surroundings

    def collect(self) -> Iterator[Metric]:
        """The families that are not prometheus_client's own; called at each scrape."""
        if self._snapshot is None or self._surroundings is None:
            return
        now = self._clock.now()
        yield from gauges(self._snapshot, self._surroundings(), now, __version__)
        yield from self._notifications(now)
        yield from self.clusters.collect(now)
        live = _live(self._snapshot, now - self._gone_after)
        yield from self._counters(live)
        yield from self._histograms(live)

    def _notifications(self, now: Millis) -> Iterator[Metric]:
        if self._notified:
            family = _family(BY_NAME["syncwatch_notifications_total"])
            for labels, value in self._notified.items():
                family.add_metric(labels, value)
            yield family
        if self._outbox is not None:
            waiting, oldest_at = self._outbox
            age = max(0.0, (now - oldest_at) / SECOND) if oldest_at is not None else 0.0
            for name, value in (("waiting", waiting), ("oldest_seconds", age)):
                told = BY_NAME[f"syncwatch_notifications_{name}"]
                yield GaugeMetricFamily(told.name, told.help, value=value)

    def _counters(self, live: _Live) -> Iterator[Metric]:
        settled = _family(BY_NAME["syncwatch_expectations_settled_total"])
        counted = self._counted["syncwatch_expectations_settled_total"]
        outcomes = [(op, result) for op in Operation for result in Result]
        for pairs, labels in live.pairs(counted, self._lag):
            for operation, result in outcomes:
                value = sum(counted.get((*pair, operation, result), 0.0) for pair in pairs)
                settled.add_metric([*labels, operation, result], value)
        yield settled
        for name in ("syncwatch_false_success_total", "syncwatch_lost_total"):
            family = _family(BY_NAME[name])
            for pairs, labels in live.pairs(counted, self._counted[name]):
                family.add_metric(labels, sum(self._counted[name].get(pair, 0.0) for pair in pairs))
            yield family
        yield self._executions(live)

    def _executions(self, live: _Live) -> Metric:
        family = _family(BY_NAME["syncwatch_executions_total"])
        counted = self._counted["syncwatch_executions_total"]
        told: dict[tuple[str, ...], float] = {}
        for policy, labels in live.policies:
            for status in (Status.SUCCEED, Status.FAILED, Status.STOPPED):
                key = (*labels, status)
                value = counted.get((policy.harbor, policy.policy_id, status), 0.0)
                told[key] = told.get(key, 0.0) + value
        for key, value in told.items():
            family.add_metric(key, value)
        return family

    def _histograms(self, live: _Live) -> Iterator[Metric]:
        lag = BY_NAME["syncwatch_lag_seconds"]
        family = HistogramMetricFamily(lag.name, lag.help, labels=lag.labels)
        for pairs, labels in live.pairs(self._lag):
            buckets, total = Buckets.together(self._lag[one] for one in pairs if one in self._lag)
            family.add_metric(labels, buckets=buckets, sum_value=total)
        yield family
        told = BY_NAME["syncwatch_milestone_seconds"]
        family = HistogramMetricFamily(told.name, told.help, labels=told.labels)
        alike: dict[tuple[str, str, str], list[Buckets]] = {}
        for (harbor, destination_id, milestone), kept in self._milestones.items():
            destination = live.destinations.get(destination_id)
            if destination is not None:
                alike.setdefault((harbor, destination.name, milestone), []).append(kept)
        for milestone_labels, counts in alike.items():
            buckets, total = Buckets.together(counts)
            family.add_metric(milestone_labels, buckets=buckets, sum_value=total)
        yield family


class _Live:
    """Policies and destinations whose counters are still exposed, with their present names."""

    def __init__(self, policies: Sequence[Policy], destinations: dict[int, Destination]) -> None:
        self.destinations = destinations
        self._by_id = {(one.harbor, one.policy_id): one for one in policies}
        self.policies = [
            (one, [one.harbor, one.name, self._destination_name(one)])
            for one in policies
            if one.rules.pushes
        ]

    def _destination_name(self, policy: Policy) -> str:
        destination = self.destinations.get(policy.destination_id or 0)
        return destination.name if destination else ""

    def pairs(
        self, *counted: Iterable[tuple[object, ...]]
    ) -> list[tuple[list[tuple[str, int, int]], list[str]]]:
        """Labels with every (harbor, policy id, destination id) that bears them.

        A policy made again under its name, or a destination whose URL was changed, is another
        row with the same labels: their counts are added up.
        """
        present = [
            (one.harbor, one.policy_id, one.destination_id or 0)
            for one, _ in self.policies
            if one.destination_id in self.destinations
        ]
        found: dict[tuple[str, ...], list[tuple[str, int, int]]] = {}
        for pair in dict.fromkeys([*present, *(key[:3] for keys in counted for key in keys)]):
            policy = self._by_id.get((str(pair[0]), int(pair[1])))  # type: ignore[call-overload]
            destination = self.destinations.get(int(pair[2]))  # type: ignore[call-overload]
            if policy is not None and destination is not None:
                labels = (policy.harbor, policy.name, destination.name)
                key = (policy.harbor, policy.policy_id, destination.id)
                found.setdefault(labels, []).append(key)
        return [(pairs, list(labels)) for labels, pairs in found.items()]


def _live(snapshot: Snapshot, since: Millis) -> _Live:
    """What is present or went after `since`, and what went before and was replaced by its like:
    a counter that others still carry on must not fall."""
    policies = {(one.harbor, one.name) for one in snapshot.policies if one.gone_at is None}
    places = {(one.harbor, one.name) for one in snapshot.destinations if one.gone_at is None}

    def kept(one: Policy | Destination, present: set[tuple[str, str]]) -> bool:
        gone_at = one.gone_at
        return gone_at is None or gone_at > since or (one.harbor, one.name) in present

    return _Live(
        [one for one in snapshot.policies if kept(one, policies)],
        {one.id: one for one in snapshot.destinations if kept(one, places)},
    )


def _family(family: Family) -> CounterMetricFamily:
    return CounterMetricFamily(
        family.name.removesuffix("_total"), family.help, labels=family.labels
    )


def _log(change: Change) -> None:
    say = log.warning if change.state is State.FAILED else log.info
    say(
        "expectation_" + ("opened" if change.before is None else change.state),
        id=change.id,
        harbor=change.harbor,
        policy_id=change.policy_id,
        repository=change.source_repository,
        reference=change.reference,
        digest=change.digest,
        before=change.before,
        state=change.state,
        reason=change.reason,
        message=change.message,
        lag_seconds=change.lag,
    )
